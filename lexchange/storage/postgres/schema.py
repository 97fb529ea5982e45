"""The tables: migrated by one process at a time, and the months that pings and leads are kept in."""

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import asyncpg

from lexchange.errors import ConfigError
from lexchange.storage.connector import Room
from lexchange.storage.postgres.faults import Fault, failure, is_unit_fault
from lexchange.storage.postgres.queue import key_of
from lexchange.storage.postgres.sessions import Connection, Database, close
from lexchange.storage.schema import Opening, pending
from lexchange.telemetry import log_event

OLDEST = 150_000  # the oldest server that the tests run on, as server_version_num
MIGRATE_S = 300.0  # longer than any migration
AHEAD = 2  # months that are made before they begin
AT_ONCE_MS = 1_000  # a new partition waits no longer for its table, because all others would wait behind it
DROP_WAIT_MS = 100  # nor does one that is dropped
PARTITIONED = {"pings": "PING-", "leads": "L-"}
MONTH = re.compile(r"[a-z]+_(\d{4})_(\d{2})")
PARTITIONS = """
SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = to_regclass($1) ORDER BY relname"""

FACTS = """
SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), current_setting('fsync')"""


async def prepare(database: Database, until: float, opening: Opening) -> list[str]:
    """Check that the database can be ours and bring its schema up to date: by which migrations.

    Raises ConfigError and StorageError.
    """
    connection = await database.connect_first(until)
    fuse = asyncio.get_running_loop().call_later(MIGRATE_S, connection.terminate)
    try:
        await _check(database, connection)
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", key_of("migrations"))
            return await _migrate(connection, opening)
    except ConfigError as error:
        raise ConfigError(f"{database.place}: {error}") from None
    except Fault as error:
        if is_unit_fault(error):  # no right to make tables, or others of these names
            raise ConfigError(f"{database.place}: {failure(error)}; expected a database of our own") from None
        raise failure(error) from None
    finally:
        fuse.cancel()
        await close(connection)


async def _check(database: Database, connection: Connection) -> None:
    version, encoding, fsync = await connection.fetchrow(FACTS)
    if version < OLDEST:
        raise ConfigError(f"expected PostgreSQL {OLDEST // 10_000} or newer, got {version // 10_000}")
    if encoding != "UTF8":
        raise ConfigError(f"expected a database with encoding UTF8, got {encoding}")
    if fsync != "on":
        log_event("store_not_durable", store=database.place, setting="fsync = off")


async def _migrate(connection: Connection, opening: Opening) -> list[str]:
    await connection.execute("CREATE TABLE IF NOT EXISTS migrations (version BIGINT PRIMARY KEY, name TEXT NOT NULL)")
    versions = [version for (version,) in await connection.fetch("SELECT version FROM migrations")]
    applied = []
    for number, name, script in pending("postgres", versions, opening):
        await connection.execute(script)
        await connection.execute("INSERT INTO migrations (version, name) VALUES ($1, $2)", number, name)
        applied.append(name)
    return applied


class Months:
    """The partitions of pings and leads."""

    def __init__(self) -> None:
        self._seen_to: set[datetime] = set()

    def are_there(self, now_ms: int) -> bool:
        """Whether nothing is to do before another month begins."""
        return next(_months(now_ms, 1)) in self._seen_to

    async def make(self, connection: Connection, now_ms: int) -> None:
        """Make this month and those ahead; any number of processes may."""
        first, *ahead = _months(now_ms, 1 + AHEAD)
        for month in (first, *ahead):
            for table in PARTITIONED:
                await _make(connection, table, month)
        self._seen_to.add(first)


async def _make(connection: Connection, table: str, month: datetime) -> None:
    name = f"{table}_{month:%Y_%m}"
    if await connection.fetchval("SELECT to_regclass($1)", name):
        return
    begin, end = _bounds(table, month)
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", key_of("months"))
            await connection.execute(f"SET LOCAL lock_timeout = {AT_ONCE_MS}")
            await connection.execute(
                f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table} FOR VALUES FROM ('{begin}') TO ('{end}')"
            )
    except asyncpg.CheckViolationError:  # rows of it came before it was made; they are well where they are
        log_event("month_in_default", table=name)


async def rooms(connection: Connection, table: str) -> list[Room]:
    """The months of a table, the oldest first."""
    found = []
    for (name,) in await connection.fetch(PARTITIONS, table):
        if match := MONTH.fullmatch(name):
            month = datetime(int(match[1]), int(match[2]), 1, tzinfo=UTC)
            begin, end = _bounds(table, month)
            found.append(Room(name=name, begin=begin, end=end))
    return found


async def drop(connection: Connection, room: Room) -> bool:
    """Drop a month. Whoever comes meanwhile waits behind us for the table, so we wait a moment only."""
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", key_of("months"))
            await connection.execute(f"SET LOCAL lock_timeout = {DROP_WAIT_MS}")
            await connection.execute(f"DROP TABLE IF EXISTS {room.name}")
    except asyncpg.LockNotAvailableError:
        return False
    return True


def _bounds(table: str, month: datetime) -> tuple[str, str]:
    begin, end = (f"{PARTITIONED[table]}{_ms(each):012X}" for each in (month, _next(month)))
    return begin, end


def _months(now_ms: int, count: int) -> Iterator[datetime]:
    month = datetime.fromtimestamp(now_ms / 1000, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(count):
        yield month
        month = _next(month)


def _next(month: datetime) -> datetime:
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
