"""Whose fault an error is, and what may be said of it."""

import asyncpg

from lexchange.errors import StorageError, raised_at

# Classes of SQLSTATE that are the statement's own: no data, cardinality, data, constraints, syntax and names.
UNIT_CLASSES = ("02", "0A", "21", "22", "23", "42")
COLLISIONS = ("40001", "40P01")  # the transaction has been undone and may succeed when it is made again
LOST = ("08", "57P")
DATA_CLASS = "22"

Fault = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What the driver raises for a statement, a server or a network that fails."""


def state_of(error: BaseException) -> str:
    """The SQLSTATE, empty where there is none."""
    return getattr(error, "sqlstate", None) or ""


def is_unit_fault(error: BaseException) -> bool:
    """Whether one statement is to blame; all else is the database's and concerns everybody in the batch."""
    return state_of(error).startswith(UNIT_CLASSES)


def is_collision(error: BaseException) -> bool:
    """Whether other transactions were in the way."""
    return state_of(error) in COLLISIONS


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone, so that another may do better: broken here, or ended by the server."""
    return not state_of(error) or state_of(error).startswith(LOST)


def failure(error: BaseException) -> StorageError:
    """What a caller gets. Never the server's detail, nor a text about data: both repeat values of the rows."""
    if isinstance(error, StorageError):
        return StorageError(*error.args)
    if not isinstance(error, Fault):
        place = raised_at(error) or "an unknown place"
        return StorageError(f"{type(error).__name__} in {place}")  # a mistake of ours or of the driver's
    state = state_of(error)
    text = getattr(error, "message", None) if state and not state.startswith(DATA_CLASS) else None
    return StorageError(": ".join(filter(None, [type(error).__name__, state, text])))
