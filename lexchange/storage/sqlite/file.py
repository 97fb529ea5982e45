"""The file: opened by whoever reads or writes, made where it is missing, migrated, backed up while it is served."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from lexchange.errors import ConfigError, StorageError
from lexchange.storage.connector import Row
from lexchange.storage.schema import Opening, pending
from lexchange.storage.sqlite.faults import failure, is_busy

# SQLite's own busy handler sleeps up to 100 ms: four workers on one file starved each other for seconds (p99 0.96 s,
# with this 0.10 s, and 1.4 times the throughput).
BUSY_POLL_S = 0.0004
LOG_BYTES = 64 << 20  # what a log that a long read has let grow is cut to, as soon as it begins anew
PAGE_BYTES = 8_192  # a ping with 20 buyers takes three quarters of the CPU that it takes on pages of 4,096


def connect(file: str, busy_timeout_ms: int) -> sqlite3.Connection:
    """A connection in autocommit mode, to a file that is there. Waiting for locks is `patiently`'s part."""
    connection = sqlite3.connect(
        uri(file), uri=True, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        # In WAL, the level at which a commit survives a power loss.
        patiently(connection, "PRAGMA synchronous = FULL", busy_timeout_ms)
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        connection.execute("PRAGMA temp_store = MEMORY")  # else savepoints write the pages that they keep to a file
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def patiently(connection: sqlite3.Connection, sql: str, busy_timeout_ms: int) -> list[Row]:
    """Execute a statement that needs a lock, waiting for it a bounded time."""
    deadline = time.monotonic() + busy_timeout_ms / 1000
    while True:
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
            time.sleep(BUSY_POLL_S)


def absolute(path: str) -> str:
    """Connections are opened anew after faults, wherever the process works by then."""
    return os.path.abspath(path)


def uri(file: str) -> str:
    """For a connection to a file that has to be there."""
    return f"file://{quote(file)}?mode=rw"


def prepare(file: str, busy_timeout_ms: int, opening: Opening = Opening.MIGRATE) -> list[str]:
    """Make the file where it is missing, bring its schema up to date, one process at a time; by which migrations."""
    Path(file).touch(mode=0o600)  # it holds people's data; SQLite gives its side files the same mode
    with closing(connect(file, busy_timeout_ms)) as connection:
        tables = patiently(connection, "SELECT name FROM sqlite_schema WHERE type = 'table'", busy_timeout_ms)
        if tables and ("migrations",) not in tables:
            raise ConfigError(f"{file}: expected a store, or no file yet; got the database of another program")
        patiently(connection, f"PRAGMA page_size = {PAGE_BYTES}", busy_timeout_ms)
        journal = patiently(connection, "PRAGMA journal_mode = WAL", busy_timeout_ms)
        if journal != [("wal",)]:
            raise ConfigError(f"{file}: expected a local file system, which write-ahead logging needs")
        patiently(connection, "BEGIN IMMEDIATE", busy_timeout_ms)
        applied = list(_migrate(connection, opening))
        connection.execute("COMMIT")
    return applied


def back_up_file(file: str, to: Path) -> None:
    """Write what a file holds at this moment to another one, whole or not at all; whoever writes goes on meanwhile.

    One read transaction holds the moment: without it every commit would have the backup begin again.
    """
    if to.exists() or not to.parent.is_dir():
        raise ConfigError(f"{to}: expected a path where nothing is, in a folder that is there")
    partial = to.with_name(f"{to.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        with closing(connect(absolute(file), 0)) as source, closing(connect(absolute(str(partial)), 0)) as target:
            source.execute("BEGIN")
            source.execute("SELECT 1 FROM migrations").fetchone()
            source.backup(target)
            if (found := target.execute("PRAGMA quick_check(1)").fetchall()) != [("ok",)]:
                raise StorageError(f"{to}: the backup is damaged: {found[0][0]}")
        partial.rename(to)
        folder = os.open(to.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except sqlite3.Error as error:
        raise failure(error) from error
    except OSError as error:
        raise ConfigError(f"{to}: cannot write there: {error.strerror}") from error
    finally:
        with suppress(OSError):
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
