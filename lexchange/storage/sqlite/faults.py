"""Whose fault an error is, and what may be said of it."""

import sqlite3

from lexchange.errors import StorageError

# Errors that are the statement's own; all others are the database's and concern whoever writes now.
UNIT_FAULTS = {
    *(sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH),
    *(sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE),
}


def primary_code(error: Exception) -> int | None:
    """SQLite's code without its details; None where it is not SQLite that refused."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_busy(error: Exception) -> bool:
    """Whether somebody else has the lock."""
    return primary_code(error) == sqlite3.SQLITE_BUSY


def is_unit_fault(error: Exception) -> bool:
    """Whether one unit is to blame. Without a code it is Python that refused: a parameter, or a guard too late."""
    return primary_code(error) in UNIT_FAULTS | {None}


def failure(error: Exception) -> StorageError:
    """What a caller gets; SQLite's texts name tables and columns, never values."""
    text = f": {error}" if isinstance(error, sqlite3.Error) else ""
    told = StorageError(f"{type(error).__name__}{text}")
    told.__cause__ = error
    return told
