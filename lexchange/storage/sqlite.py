"""One SQLite file, shared by all worker processes. Knows the engine, neither pings nor leads.

Writes: units that wait when the writer is free share one `BEGIN IMMEDIATE … COMMIT`, synced to disk before any of their
callers resumes. The writer has a thread of its own: it keeps the event loop turning while the disk syncs or another
process writes, at about the throughput of committing on the loop (measured with 50 and more calls in flight: 0.87 to
0.98 of it when they come in step, 1.03 to 1.11 when they come as buyers answer).
A batch crosses threads once each way, and rows of equal inserts become one statement, because at every statement
the thread has to win the interpreter lock back from a busy loop, with the write lock of all processes in its hand.
A guard goes by the count of changed rows: for RETURNING, as for a list of more than two, SQLite builds a table.

Reads: hot ones are look-ups by key and run on the loop: such a one takes less than the hop to a thread and back. In WAL
mode no writer makes a reader wait. Operators' scans go through aiosqlite, where they may take their time.
"""

import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from urllib.parse import quote

import aiosqlite

from lexchange import failpoints
from lexchange.errors import ConfigError, StorageError
from lexchange.storage.connector import LateGuard, Room, Row, Statement, Unit, UnitResult, Value, bulk_insert
from lexchange.storage.lane import Lane
from lexchange.storage.schema import Opening, pending

IN_MEMORY = ":memory:"
INSERT_ROWS = 64  # in one statement at most: 15 columns each, far below SQLite's 32,766 parameters
# SQLite's own busy handler sleeps up to 100 ms: four workers on one file starved each other for seconds (p99 0.96 s,
# with this 0.10 s, and 1.4 times the throughput).
BUSY_POLL_S = 0.0004
READ_BUSY_MS = 20  # another process may be opening or closing the file; the loop waits no longer for it
LOG_BYTES = 64 << 20  # what a log that a long read has let grow is cut to, as soon as it begins anew
PAGE_BYTES = 8_192  # a ping with 20 buyers takes three quarters of the CPU that it takes on pages of 4,096

# Errors that are the statement's own; all others are the database's and concern whoever writes now.
UNIT_FAULTS = {
    *(sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH),
    *(sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE),
}


class SqliteConnector:
    """A Connector over one SQLite file; `open` makes it, `aclose` ends it."""

    def __init__(self, *, writer: "Writer", reader: "Reader", scanner: aiosqlite.Connection, waiting: int):
        self._writer = writer
        self._reader = reader
        self._scanner = scanner
        self._writes = Lane("lexchange-write", writer.commit, waiting)
        self._read_this_turn: dict[tuple[Value, ...], Sequence[Row]] = {}
        self._is_closed = False
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.applied: Sequence[str] = ()

    @classmethod
    async def open(
        cls, path: str, *, busy_timeout_ms: int, waiting_units: int, opening: Opening = Opening.MIGRATE
    ) -> "SqliteConnector":
        """Open and migrate the file, made where it is missing; `:memory:` is a temporary one.

        Raises ConfigError when the file cannot be ours, StorageError when it cannot be opened now.
        """
        folder = tempfile.TemporaryDirectory(prefix="lexchange-") if path == IN_MEMORY else None
        file = _absolute(f"{folder.name}/lexchange.db" if folder else path)
        if not Path(file).parent.is_dir():
            raise ConfigError(f"{file}: expected an existing folder for the database, got {Path(file).parent}")
        try:
            applied = await asyncio.to_thread(prepare, file, busy_timeout_ms, opening)
            scanner = await aiosqlite.connect(_uri(file), uri=True, isolation_level=None)
            await scanner.execute_fetchall("PRAGMA query_only = 1")
        except (sqlite3.Error, OSError) as error:
            if _primary_code(error) == sqlite3.SQLITE_NOTADB:
                raise ConfigError(f"{file}: expected an SQLite database, got another kind of file") from error
            raise _failure(error) from error
        opened = cls(
            writer=Writer(file, busy_timeout_ms),
            reader=Reader(file),
            scanner=scanner,
            waiting=waiting_units,
        )
        opened._folder, opened.applied = folder, applied
        return opened

    @property
    def commit_count(self) -> int:
        """Commits so far, each of many units under load."""
        return self._writer.commit_count

    async def read(self, sql: str, params: Sequence[Value] = ()) -> Sequence[Row]:
        """Rows of a short query. Within a turn of the loop no write returns, so equal queries of one are asked once."""
        if self._is_closed:
            raise StorageError("the store is closed")
        query = (sql, *params)
        rows = self._read_this_turn.get(query)
        if rows is None:
            if not self._read_this_turn:
                asyncio.get_running_loop().call_soon(self._read_this_turn.clear)
            rows = self._read_this_turn[query] = self._reader.rows(sql, params)
        return rows

    async def scan(self, sql: str, params: Sequence[Value] = ()) -> Sequence[Row]:
        """Rows of an operator's query."""
        try:
            return [tuple(row) for row in await self._scanner.execute_fetchall(sql, params)]
        except (sqlite3.Error, ValueError) as error:  # aiosqlite: ValueError once it is closed
            raise _failure(error) from error

    def write(self, unit: Unit) -> Awaitable[UnitResult]:
        """Apply a unit; return once it is on disk."""
        return self._writes.ask(unit)

    async def make_room(self, now_ms: int) -> None:
        """Nothing: a file grows."""

    async def rooms(self, table: str) -> Sequence[Room]:
        """None: what is deleted makes room for what comes."""
        return ()

    async def drop_room(self, room: Room) -> bool:
        """There is none."""
        return False

    async def aclose(self) -> None:
        """Commit what waits, then close."""
        self._is_closed = True
        await self._writes.aclose()
        await self._scanner.close()
        self._reader.close()
        self._writer.close()
        if self._folder:
            self._folder.cleanup()


class Writer:
    """The connection that writes, used by the writing thread only. After a fault it is opened anew."""

    def __init__(self, file: str, busy_timeout_ms: int):
        self._file = file
        self._busy_timeout_ms = busy_timeout_ms
        self._connection: sqlite3.Connection | None = None
        self.commit_count = 0

    def commit(self, units: list[Unit]) -> Sequence[UnitResult | StorageError]:
        """Apply units in one transaction; each keeps its own outcome, a fault of the database is everybody's.

        The first run trusts every unit: callers look before they claim, so that a guard which is not its unit's first
        statement fails in a race only, and what a savepoint keeps of the pages is a fifth of what a claim costs. If one
        breaks, or such a guard fails, all is undone and applied again, each unit behind a savepoint.
        """
        try:
            return self._transaction(units, _apply_all)
        except Exception as error:  # noqa: BLE001 - whatever breaks, every caller gets an answer
            self._undo(error)
            if not _is_unit_fault(error):
                return [_failure(error) for _ in units]
        try:
            return self._transaction(units, _apply_each)
        except Exception as error:  # noqa: BLE001 - as above
            self._undo(error)
            return [_failure(error) for _ in units]

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def _transaction(
        self,
        units: list[Unit],
        apply: Callable[[sqlite3.Connection, list[Unit]], list[UnitResult | StorageError]],
    ) -> list[UnitResult | StorageError]:
        self._connection = self._connection or _connect(self._file, self._busy_timeout_ms)
        _patiently(self._connection, "BEGIN IMMEDIATE", self._busy_timeout_ms)
        results = apply(self._connection, units)
        failpoints.reach("commit_before")
        self._connection.execute("COMMIT")
        failpoints.reach("commit_after")
        self.commit_count += 1
        return results

    def _undo(self, error: Exception) -> None:
        """Leave nothing of a failed batch; a broken connection goes with it."""
        with suppress(sqlite3.Error):
            if self._connection and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        if not (_is_unit_fault(error) or _is_busy(error)):
            self.close()


def _apply_all(connection: sqlite3.Connection, units: list[Unit]) -> list[UnitResult | StorageError]:
    """Without savepoints; equal bulk statements are written together, after all others."""
    results: list[UnitResult | StorageError] = []
    bulks: dict[str, list[Statement]] = {}
    for unit in units:
        rows: list[Sequence[Row]] = []
        for statement in unit:
            if statement.is_bulk:
                bulks.setdefault(statement.sql, []).append(statement)
                rows.append(())
                continue
            cursor = connection.execute(statement.sql, statement.params)
            found = cursor.fetchall()
            if found or statement.guard is None or cursor.rowcount > 0:
                rows.append(found)
            elif rows:
                raise LateGuard(statement.guard)
            else:
                results.append(UnitResult(failed_guard=statement.guard))
                break
        else:
            results.append(UnitResult(rows=tuple(rows)))
    for sql, statements in bulks.items():
        _insert(connection, sql, statements)
    return results


def _apply_each(connection: sqlite3.Connection, units: list[Unit]) -> list[UnitResult | StorageError]:
    """Each unit behind a savepoint, which it is undone to if it breaks or a guard of it fails."""
    results: list[UnitResult | StorageError] = []
    for unit in units:
        connection.execute("SAVEPOINT unit")
        try:
            results += _apply_all(connection, [unit])
        except Exception as error:
            if not _is_unit_fault(error):
                raise
            connection.execute("ROLLBACK TO unit")
            results.append(UnitResult(failed_guard=error.guard) if isinstance(error, LateGuard) else _failure(error))
        connection.execute("RELEASE unit")
    return results


def _insert(connection: sqlite3.Connection, sql: str, statements: Sequence[Statement]) -> None:
    """Write rows in powers of two, so that few different statements have to be kept prepared."""
    start = 0
    while start < len(statements):
        count = min(INSERT_ROWS, 1 << ((len(statements) - start).bit_length() - 1))
        values = list(chain.from_iterable(statement.params for statement in statements[start : start + count]))
        connection.execute(bulk_insert(sql, count), values)
        start += count


class Reader:
    """The connection of hot reads. After an error it is opened anew."""

    def __init__(self, file: str):
        self._file = file
        self._connection: sqlite3.Connection | None = None

    def rows(self, sql: str, params: Sequence[Value]) -> Sequence[Row]:
        """The rows of a query; raises StorageError."""
        try:
            if self._connection is None:
                self._connection = _connect(self._file, READ_BUSY_MS)
                self._connection.execute("PRAGMA query_only = 1")
                self._connection.execute(f"PRAGMA busy_timeout = {READ_BUSY_MS}")
            return self._connection.execute(sql, params).fetchall()
        except Exception as error:
            self.close()
            raise _failure(error) from error

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._connection:
            self._connection.close()
            self._connection = None


def _connect(file: str, busy_timeout_ms: int) -> sqlite3.Connection:
    """A connection in autocommit mode, to a file that is there. Waiting for locks is `_patiently`'s part."""
    connection = sqlite3.connect(
        _uri(file), uri=True, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        # In WAL, the level at which a commit survives a power loss.
        _patiently(connection, "PRAGMA synchronous = FULL", busy_timeout_ms)
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        connection.execute("PRAGMA temp_store = MEMORY")  # else savepoints write the pages that they keep to a file
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _absolute(path: str) -> str:
    """Connections are opened anew after faults, wherever the process works by then."""
    return os.path.abspath(path)


def _uri(file: str) -> str:
    return f"file://{quote(file)}?mode=rw"


def _patiently(connection: sqlite3.Connection, sql: str, busy_timeout_ms: int) -> list[Row]:
    """Execute a statement that needs a lock, waiting for it a bounded time."""
    deadline = time.monotonic() + busy_timeout_ms / 1000
    while True:
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() >= deadline:
                raise
            time.sleep(BUSY_POLL_S)


def prepare(file: str, busy_timeout_ms: int, opening: Opening = Opening.MIGRATE) -> list[str]:
    """Make the file where it is missing, bring its schema up to date, one process at a time; by which migrations."""
    Path(file).touch(mode=0o600)  # it holds people's data; SQLite gives its side files the same mode
    with closing(_connect(file, busy_timeout_ms)) as connection:
        _patiently(connection, f"PRAGMA page_size = {PAGE_BYTES}", busy_timeout_ms)
        journal = _patiently(connection, "PRAGMA journal_mode = WAL", busy_timeout_ms)
        if journal != [("wal",)]:
            raise ConfigError(f"{file}: expected a local file system, which write-ahead logging needs")
        _patiently(connection, "BEGIN IMMEDIATE", busy_timeout_ms)
        applied = list(_migrate(connection, opening))
        connection.execute("COMMIT")
    return applied


def back_up_file(file: str, to: Path) -> None:
    """Write what a file holds at this moment to another one, whole or not at all; whoever writes goes on meanwhile.

    One read transaction holds the moment: without it every commit would have the backup begin again.
    """
    if to.exists():
        raise ConfigError(f"{to}: expected a path where nothing is")
    partial = to.with_name(f"{to.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        with closing(_connect(_absolute(file), 0)) as source, closing(_connect(_absolute(str(partial)), 0)) as target:
            source.execute("BEGIN")
            source.execute("SELECT 1 FROM migrations").fetchone()
            source.backup(target)
            if (found := target.execute("PRAGMA quick_check(1)").fetchall()) != [("ok",)]:
                raise StorageError(f"{to}: the backup is damaged: {found[0][0]}")
        partial.rename(to)
        folder = os.open(to.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except (sqlite3.Error, OSError) as error:
        raise _failure(error) from error
    finally:
        partial.unlink(missing_ok=True)


def _migrate(connection: sqlite3.Connection, opening: Opening) -> Iterator[str]:
    connection.execute("CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT")
    versions = [version for (version,) in connection.execute("SELECT version FROM migrations").fetchall()]
    for number, name, script in pending("sqlite", versions, opening):
        for statement in _statements(script):  # not `executescript`, which commits first
            connection.execute(statement)
        connection.execute("INSERT INTO migrations (version, name) VALUES (?, ?)", (number, name))
        yield name


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _primary_code(error: Exception) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _is_busy(error: Exception) -> bool:
    return _primary_code(error) == sqlite3.SQLITE_BUSY


def _is_unit_fault(error: Exception) -> bool:
    """Whether one unit is to blame. Without a code it is Python that refused: a parameter, or a guard too late."""
    return _primary_code(error) in UNIT_FAULTS | {None}


def _failure(error: Exception) -> StorageError:
    """What a caller gets; SQLite's texts name tables and columns, never values."""
    text = f": {error}" if isinstance(error, sqlite3.Error) else ""
    failure = StorageError(f"{type(error).__name__}{text}")
    failure.__cause__ = error
    return failure
