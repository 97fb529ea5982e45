"""PostgresConnector: units gather in a queue, and a few writers commit what waits, each a batch at a time.

No timer: a batch is whatever came while the writers were busy. They share the loop with everybody else, so a writer
begins when the loop has heard all who ask at this moment.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lexchange.background import Background
from lexchange.errors import StorageError
from lexchange.storage.connector import Room, Row, Unit, UnitResult, Value
from lexchange.storage.postgres.faults import Fault, failure, is_lost
from lexchange.storage.postgres.queue import Batch, Job, Queue, locks_of
from lexchange.storage.postgres.schema import Months, drop, prepare, rooms
from lexchange.storage.postgres.sessions import Database, Sessions
from lexchange.storage.postgres.sql import numbered
from lexchange.storage.postgres.writer import Writer
from lexchange.storage.schema import Opening

READERS = 4  # hot reads are look-ups by key: a fraction of a millisecond each
SCANNERS = 2
SCAN_MS = 30_000  # an operator's query at most
RETRY_S = 0.05
BUSY_TIMES = 4  # that long what waits may take when the store is closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long a call waits for the database, how many wait, and how many write at once."""

    busy_timeout_ms: int
    waiting_units: int
    writers: int
    scan_ms: int = SCAN_MS

    @property
    def busy_s(self) -> float:
        """The wait in seconds."""
        return self.busy_timeout_ms / 1000


class PostgresConnector:
    """A Connector over one PostgreSQL database; `open` makes it, `aclose` ends it."""

    def __init__(self, database: Database, bounds: Bounds) -> None:
        busy_ms = bounds.busy_timeout_ms
        self._bounds = bounds
        self._writers = Sessions(database, bounds.writers, _writing(busy_ms))
        self._readers = Sessions(database, READERS, _reading(busy_ms))
        self._scanners = Sessions(database, SCANNERS, _reading(bounds.scan_ms))
        self._writer = Writer(self._writers, self._readers, bounds.busy_s)
        self._queue = Queue(bounds.waiting_units)
        self._months = Months()
        self._work = Background()
        self._begins = False
        self._is_closed = False
        self.applied: Sequence[str] = ()

    @classmethod
    async def open(cls, url: str, bounds: Bounds, opening: Opening = Opening.MIGRATE) -> "PostgresConnector":
        """Connect and bring the schema up to date.

        Raises ConfigError when the URL or the database cannot be used, StorageError when it cannot be opened now.
        """
        database = Database.at(url)
        applied = await prepare(database, _now() + bounds.busy_s, opening)
        opened = cls(database, bounds)
        opened.applied = applied
        return opened

    @property
    def commit_count(self) -> int:
        """Commits so far, each of many units under load."""
        return self._writer.commit_count

    async def read(self, sql: str, params: Sequence[Value] = ()) -> Sequence[Row]:
        """Rows of a short query."""
        return await self._rows(self._readers, sql, params, self._bounds.busy_s)

    async def scan(self, sql: str, params: Sequence[Value] = ()) -> Sequence[Row]:
        """Rows of an operator's query."""
        return await self._rows(self._scanners, sql, params, self._bounds.busy_s + self._bounds.scan_ms / 1000)

    async def write(self, unit: Unit) -> UnitResult:
        """Apply a unit; return once it is durable."""
        self._check_open()
        loop = asyncio.get_running_loop()
        job = Job(unit=unit, locks=locks_of(unit), since=loop.time(), answer=loop.create_future())
        self._queue.add(job)
        if not self._begins:
            self._begins = True
            loop.call_soon(self._begin)
        return await job.answer

    async def make_room(self, now_ms: int) -> None:
        """Make the partitions of this month and the next ones, where they are missing."""
        self._check_open()
        if self._months.are_there(now_ms):
            return
        try:
            async with self._writers.one(_now() + self._bounds.busy_s) as connection:
                await self._months.make(connection, now_ms)
        except Fault as error:
            raise failure(error) from None

    async def rooms(self, table: str) -> Sequence[Room]:
        """The months of a table."""
        self._check_open()
        try:
            async with self._scanners.one(_now() + self._bounds.busy_s) as connection:
                return await rooms(connection, table)
        except Fault as error:
            raise failure(error) from None

    async def drop_room(self, room: Room) -> bool:
        """Drop a month, if nobody is reading it."""
        self._check_open()
        try:
            async with self._writers.one(_now() + self._bounds.busy_s) as connection:
                return await drop(connection, room)
        except Fault as error:
            raise failure(error) from None

    async def aclose(self) -> None:
        """Commit what waits, then close."""
        self._is_closed = True
        self._begin()
        await self._work.drain(grace_s=BUSY_TIMES * self._bounds.busy_s)
        for job in self._queue.give_up():
            _answer(job, StorageError("the store is closed"))
        for sessions in (self._writers, self._readers, self._scanners):
            await sessions.aclose()

    async def _rows(self, sessions: Sessions, sql: str, params: Sequence[Value], within_s: float) -> Sequence[Row]:
        """A query whose connection breaks is asked again on another."""
        self._check_open()
        until = _now() + within_s
        while True:
            try:
                async with sessions.one(until) as connection:
                    return [tuple(row) for row in await connection.fetch(numbered(sql), *params)]
            except Fault as error:
                if not is_lost(error) or _now() + RETRY_S >= until:
                    raise failure(error) from None
            await asyncio.sleep(RETRY_S)

    def _begin(self) -> None:
        self._begins = False
        while self._queue.batches_under_way < self._bounds.writers and (batch := self._queue.take()):
            self._work.spawn(self._commit(batch))

    async def _commit(self, batch: Batch) -> None:
        answers = await self._writer.apply(batch)
        self._queue.end(batch)
        for job, answer in zip(batch.jobs, answers, strict=True):
            _answer(job, answer)
        self._begin()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StorageError("the store is closed")


def _answer(job: Job, answer: UnitResult | StorageError) -> None:
    if job.answer.done():  # its caller was cancelled; the unit was applied all the same
        return
    if isinstance(answer, StorageError):
        job.answer.set_exception(answer)
    else:
        job.answer.set_result(answer)


def _writing(busy_ms: int) -> Mapping[str, str]:
    """No statement_timeout: it would end a COMMIT's wait for the standby, and have it acknowledged all the same."""
    return {
        "default_transaction_isolation": "read committed",
        "lock_timeout": str(busy_ms),
        "idle_in_transaction_session_timeout": str(2 * busy_ms),  # a process that froze frees its locks
        "jit": "off",
    }


def _reading(timeout_ms: int) -> Mapping[str, str]:
    return {"default_transaction_read_only": "on", "statement_timeout": str(timeout_ms), "jit": "off"}


def _now() -> float:
    return asyncio.get_running_loop().time()
