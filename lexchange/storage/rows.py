"""Pings and leads as rows and back, exactly.

A field of lead.py that is no column is part of the `record`, so a new one is stored without a change here.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import lru_cache
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, TypeVar

import orjson

from lexchange.frozen import as_dict, replace
from lexchange.lead import (
    Attempt,
    AttemptOutcome,
    BuyerPing,
    CapTake,
    Lead,
    LeadState,
    Ping,
    PingOutcome,
    PingState,
    SkipReason,
)
from lexchange.storage.connector import Row, Value
from lexchange.storage.values import BreakerRow, ConfigVersion, CurrentConfig
from lexchange.telemetry import log_event

Record = TypeVar("Record", Ping, Lead)

# The order is that of the inserts in statements.py and of the views in migrations/.
PING_COLUMNS = (
    *("ping_id", "campaign", "src", "is_test", "created_ms", "expires_ms", "state", "reason", "winner"),
    *("bid_micros", "payout_micros", "config_version", "repeat_key", "lead_id"),
)
LEAD_COLUMNS = (
    *("lead_id", "ping_id", "campaign", "src", "is_test", "created_ms", "updated_ms", "state", "reason"),
    *("delivery_id", "buyer", "price_micros", "payout_micros", "config_version"),
)
PING_RECORD = tuple(each.name for each in fields(Ping) if each.name not in PING_COLUMNS)
LEAD_RECORD = tuple(each.name for each in fields(Lead) if each.name not in LEAD_COLUMNS)

PING_STATES = {state.value: state for state in PingState}  # Python's own look-up takes four times as long
PING_OUTCOMES = {outcome.value: outcome for outcome in PingOutcome}

_ping_values = attrgetter(*PING_COLUMNS)
_lead_values = attrgetter(*LEAD_COLUMNS)
_ping_record = attrgetter(*PING_RECORD)
_lead_record = attrgetter(*LEAD_RECORD)


def ping_row(ping: Ping) -> tuple[Value, ...]:
    """The columns of `pings`."""
    return (*_ping_values(ping), _json(dict(zip(PING_RECORD, _ping_record(ping), strict=True))))


def pings(rows: Sequence[Row]) -> list[Ping]:
    """Pings of `ping_rows`, in their order, with late answers in their places."""
    return [_ping(of_one) for of_one in _of_each(rows)]


def lead_row(lead: Lead) -> tuple[Value, ...]:
    """The columns of `leads`."""
    return (*_lead_values(lead), lead_record(lead))


def lead_record(lead: Lead) -> str:
    """The `record` of a lead."""
    return _json(dict(zip(LEAD_RECORD, _lead_record(lead), strict=True)))


def leads(rows: Sequence[Row]) -> list[Lead]:
    """Leads of `lead_rows`, in their order, with late answers in their places."""
    return [_lead(of_one) for of_one in _of_each(rows)]


def readable(rows: Sequence[Row], read: Callable[[Sequence[Row]], list[Record]]) -> list[Record]:
    """Those that `read`, which is `pings` or `leads`, makes of rows; one that it cannot read is told and left out.

    A later lexchange may have written it, in a store that both serve for a while: the others must not wait for that.
    """
    found: list[Record] = []
    for of_one in _of_each(rows):
        try:
            found += read(of_one)
        except (ValueError, LookupError, TypeError) as error:
            _tell_unreadable(of_one[0][0], type(error).__name__)
    return found


@lru_cache(maxsize=1_000)  # which has each told once
def _tell_unreadable(row_id: str, error: str) -> None:
    log_event("row_not_read", id=row_id, error=error)


def late_answer_row(owner_id: str, answer: BuyerPing) -> tuple[Value, ...]:
    """The columns of `late_answers`."""
    return owner_id, answer.buyer, _json(answer)


_BREAKER_COLUMNS = tuple(each.name for each in fields(BreakerRow))
_breaker_values = attrgetter(*_BREAKER_COLUMNS)


def breaker_row(row: BreakerRow) -> tuple[Value, ...]:
    """The columns of `breakers` but an operator's."""
    return tuple(_breaker_values(row))


def breakers(rows: Iterable[Row]) -> list[BreakerRow]:
    """Rows of `breakers`, in their order."""
    found = (BreakerRow(**dict(zip(_BREAKER_COLUMNS, row, strict=True))) for row in rows)
    return [replace(row, is_enforced=bool(row.is_enforced)) for row in found]


_CURRENT_COLUMNS = tuple(each.name for each in fields(CurrentConfig))


def current_config(rows: Sequence[Row]) -> CurrentConfig | None:
    """The row of `current_configuration`."""
    return CurrentConfig(**dict(zip(_CURRENT_COLUMNS, rows[0], strict=True))) if rows else None


def config_versions(rows: Iterable[Row]) -> list[ConfigVersion]:
    """Rows of `config_versions`, in their order."""
    return [
        ConfigVersion(version=version, loaded_ms=loaded_ms, summary=summary, has_documents=bool(has_documents))
        for version, loaded_ms, summary, has_documents in rows
    ]


def _of_each(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """The rows of each ping or lead; mostly there is one, of one."""
    return [rows] if len(rows) == 1 else [list(of_one) for _, of_one in groupby(rows, key=itemgetter(0))]


def _json(value: object) -> str:
    return orjson.dumps(value, as_dict, orjson.OPT_PASSTHROUGH_DATACLASS).decode()


def _ping(rows: Sequence[Row]) -> Ping:
    stored = _stored(PING_COLUMNS, rows)
    stored["state"] = PING_STATES[stored["state"]]
    return Ping(**stored)


def _lead(rows: Sequence[Row]) -> Lead:
    stored = _stored(LEAD_COLUMNS, rows)
    stored["state"] = LeadState(stored["state"])
    stored["attempts"] = [_attempt(attempt) for attempt in stored["attempts"]]
    stored["takes"] = [CapTake(**take) for take in stored["takes"]]
    return Lead(**stored)


def _stored(columns: Sequence[str], rows: Sequence[Row]) -> dict[str, Any]:
    """The fields of one ping or lead; its rows differ in their late answers only."""
    *values, record, _ = rows[0]
    stored: dict[str, Any] = orjson.loads(record)
    stored.update(zip(columns, values, strict=True))
    stored["is_test"] = bool(stored["is_test"])
    buyers = [_buyer_ping(buyer) for buyer in stored["buyers"]]
    late = {answer.buyer: answer for row in rows if row[-1] for answer in [_buyer_ping(orjson.loads(row[-1]))]}
    stored["buyers"] = [late.pop(buyer.buyer, buyer) for buyer in buyers] + list(late.values()) if late else buyers
    return stored


def _buyer_ping(stored: dict[str, Any]) -> BuyerPing:
    stored["outcome"] = PING_OUTCOMES[stored["outcome"]]
    if stored["skip"] is not None:
        stored["skip"] = SkipReason(stored["skip"])
    return BuyerPing(**stored)


def _attempt(stored: dict[str, Any]) -> Attempt:
    stored["outcome"] = AttemptOutcome(stored["outcome"])
    return Attempt(**stored)
