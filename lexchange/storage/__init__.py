"""What the exchange remembers: open a Store, use its verbs; operators ask its `audit`, copies take its `contents`."""

from lexchange.storage.audit import Audit
from lexchange.storage.connector import Connector, Room
from lexchange.storage.copies import Copied, Copy
from lexchange.storage.purges import Page, Step
from lexchange.storage.schema import Opening
from lexchange.storage.store import ABANDONED_MS, Store, back_up, file_of, place_of
from lexchange.storage.values import (
    ANY_GENERATION,
    BreakerRow,
    CallMark,
    CallOutcome,
    CallStart,
    ClaimOutcome,
    ClaimResult,
    ConfigVersion,
    CurrentConfig,
    StartOutcome,
    StartResult,
)

__all__ = [
    "ABANDONED_MS",
    "ANY_GENERATION",
    "Audit",
    "BreakerRow",
    "CallMark",
    "CallOutcome",
    "CallStart",
    "ClaimOutcome",
    "ClaimResult",
    "ConfigVersion",
    "Connector",
    "Copied",
    "Copy",
    "CurrentConfig",
    "Opening",
    "Page",
    "Room",
    "StartOutcome",
    "StartResult",
    "Step",
    "Store",
    "back_up",
    "file_of",
    "place_of",
]
