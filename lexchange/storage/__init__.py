"""What the exchange remembers: open a Store, use its verbs; operators ask its `audit`."""

from lexchange.storage.audit import Audit
from lexchange.storage.connector import Connector
from lexchange.storage.store import ABANDONED_MS, Store, place_of
from lexchange.storage.values import (
    BreakerRow,
    CallMark,
    CallOutcome,
    CallStart,
    ClaimOutcome,
    ClaimResult,
    StartOutcome,
    StartResult,
)

__all__ = [
    "ABANDONED_MS",
    "Audit",
    "BreakerRow",
    "CallMark",
    "CallOutcome",
    "CallStart",
    "ClaimOutcome",
    "ClaimResult",
    "Connector",
    "StartOutcome",
    "StartResult",
    "Store",
    "place_of",
]
