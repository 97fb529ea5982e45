"""A batch as one transaction. A batch crosses threads once each way.

Rows of equal inserts become one statement, because at every statement the thread has to win the interpreter lock back
from a busy loop, with the write lock of all processes in its hand. A guard goes by the count of changed rows: for
RETURNING, as for a list of more than two, SQLite builds a table.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain

from lexchange import failpoints
from lexchange.errors import StorageError
from lexchange.storage.connector import LateGuard, Row, Statement, Unit, UnitResult, bulk_insert
from lexchange.storage.sqlite.faults import failure, is_busy, is_unit_fault
from lexchange.storage.sqlite.file import connect, patiently

INSERT_ROWS = 64  # in one statement at most: 15 columns each, far below SQLite's 32,766 parameters


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
            if not is_unit_fault(error):
                return [failure(error) for _ in units]
        try:
            return self._transaction(units, _apply_each)
        except Exception as error:  # noqa: BLE001 - as above
            self._undo(error)
            return [failure(error) for _ in units]

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
        self._connection = self._connection or connect(self._file, self._busy_timeout_ms)
        patiently(self._connection, "BEGIN IMMEDIATE", self._busy_timeout_ms)
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
        if not (is_unit_fault(error) or is_busy(error)):
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
            if not is_unit_fault(error):
                raise
            connection.execute("ROLLBACK TO unit")
            results.append(UnitResult(failed_guard=error.guard) if isinstance(error, LateGuard) else failure(error))
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
