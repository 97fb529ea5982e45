"""What the store asks of a database engine. Knows neither pings nor leads."""

from collections.abc import Awaitable, Sequence
from functools import lru_cache
from typing import Any, Protocol

from lexchange.frozen import frozen

Value = str | int | bytes | None
Row = tuple[Any, ...]


@frozen
class Statement:
    """One SQL statement with `?` for its parameters.

    With a `guard` it has to change or return a row, else its whole unit is undone and `guard` is handed back. A bulk
    statement reads `INSERT … VALUES (?, …) …`, returns nothing, and ends its unit or is followed by others of its kind:
    it may be written later, as one statement with equal ones of other units.

    An engine with many writers keeps units apart by what they contend for: of two units of which one `locks` what the
    other locks or `shares`, the second begins when the first is durable. Needed where a statement relies on rows that
    it does not itself change, and where two units touch the same rows in an order of their own.
    """

    sql: str
    params: tuple[Value, ...] = ()
    guard: object = None
    is_bulk: bool = False
    locks: str = ""
    shares: str = ""


Unit = tuple[Statement, ...]
"""Statements that happen together or not at all."""


@lru_cache(maxsize=64)
def bulk_insert(sql: str, count: int) -> str:
    """A bulk statement's SQL as one of that many."""
    head, _, rest = sql.partition("VALUES (")
    marks, _, tail = rest.partition(")")
    return f"{head}VALUES {', '.join([f'({marks})'] * count)}{tail}"


class LateGuard(Exception):
    """A guard has failed with statements of its unit before it, which have to be undone."""

    def __init__(self, guard: object) -> None:
        super().__init__()
        self.guard = guard


@frozen
class UnitResult:
    """What a unit did: the rows of each of its statements, or the guard that undid it."""

    rows: tuple[Sequence[Row], ...] = ()
    failed_guard: object = None


@frozen
class Room:
    """A part of a table that can be dropped at once: it holds the rows whose keys are in `begin` to before `end`."""

    name: str
    begin: str
    end: str


class Connector(Protocol):
    """One database. Every method raises StorageError when the engine cannot do what it is asked now."""

    async def read(self, sql: str, params: Sequence[Value] = ()) -> Sequence[Row]:
        """Rows of a short query, on the way of a call. Sees every unit whose `write` has returned."""
        ...

    async def scan(self, sql: str, params: Sequence[Value] = ()) -> Sequence[Row]:
        """Rows of an operator's query, which may take long and never makes a `read` wait."""
        ...

    def write(self, unit: Unit) -> Awaitable[UnitResult]:
        """Apply a unit as if all units of all processes ran one after another; return once it is durable.

        A failed guard is an answer, not an error. A caller that is cancelled leaves its unit to be applied.
        """
        ...

    async def make_room(self, now_ms: int) -> None:
        """Prepare the tables for the rows of the time that follows; to be called every now and then."""
        ...

    async def rooms(self, table: str) -> Sequence[Room]:
        """The parts of a table that can be dropped, the oldest first; none where an engine has none."""
        ...

    async def drop_room(self, room: Room) -> bool:
        """Drop it with all its rows; False when it is in use, and then nobody has waited for it for long."""
        ...

    async def aclose(self) -> None:
        """Finish the units that wait, then close."""
        ...
