"""A store that fails when a test says so: the real one of a running exchange, behind a count of what it is asked."""

from collections.abc import Sequence
from dataclasses import dataclass

from lexchange.errors import StorageError
from lexchange.server import Server
from lexchange.storage import statements
from lexchange.storage.connector import Connector, Room, Row, Unit, UnitResult, Value


@dataclass(frozen=True, kw_only=True)
class Fault:
    """How the store fails. What is `applied` has happened and is only reported as failed; what `lasts` waits for us."""

    is_applied: bool
    lasts: bool

    def __str__(self) -> str:
        return f"{'applied' if self.is_applied else 'lost'}, {'and all after it' if self.lasts else 'once'}"


FAULTS = [Fault(is_applied=is_applied, lasts=lasts) for is_applied in (False, True) for lasts in (False, True)]


class FailingConnector:
    """A Connector in front of another: from `fail` to `heal` its n-th operation raises StorageError."""

    def __init__(self, real: Connector) -> None:
        self._real = real
        self._fault: Fault | None = None
        self._left = 0
        self.failed: list[str] = []  # what was asked and failed since `fail`

    def fail(self, fault: Fault, nth: int) -> None:
        """Fail the n-th operation from now."""
        self._fault, self._left, self.failed = fault, nth, []

    def heal(self) -> None:
        """Fail no more."""
        self._fault = None

    async def read(self, sql: str, params: Sequence[Value] = ()) -> Sequence[Row]:
        """Rows, or the fault; what is looked up beside all calls is not counted."""
        if sql != statements.CURRENT_CONFIG and self._fails("read"):
            raise StorageError("the read failed")
        return await self._real.read(sql, params)

    async def scan(self, sql: str, params: Sequence[Value] = ()) -> Sequence[Row]:
        """Rows, or the fault."""
        if self._fails("scan"):
            raise StorageError("the scan failed")
        return await self._real.scan(sql, params)

    async def write(self, unit: Unit) -> UnitResult:
        """What the unit did, or the fault, after it or instead of it."""
        fault = self._fault
        if not self._fails("write"):
            return await self._real.write(unit)
        if fault is not None and fault.is_applied:
            await self._real.write(unit)
        raise StorageError("the write failed, or its answer was lost")

    async def make_room(self, now_ms: int) -> None:
        """Nothing that a sale waits for."""
        await self._real.make_room(now_ms)

    async def rooms(self, table: str) -> Sequence[Room]:
        """As they are."""
        return await self._real.rooms(table)

    async def drop_room(self, room: Room) -> bool:
        """As it is."""
        return await self._real.drop_room(room)

    async def aclose(self) -> None:
        """Close."""
        await self._real.aclose()

    def _fails(self, what: str) -> bool:
        if self._fault is None:
            return False
        self._left -= 1
        fails = self._left == 0 or (self._left < 0 and self._fault.lasts)
        if fails:
            self.failed.append(what)
        return fails


def failing_store_of(server: Server) -> FailingConnector:
    """Put one in front of a running exchange's store."""
    store = server.store
    failing = FailingConnector(store._connector)
    store._connector = store._takes._connector = store.audit._connector = failing
    return failing
