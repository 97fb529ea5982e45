"""Pings and leads to store, complete enough that a lost field shows."""

from dataclasses import replace
from typing import Any

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

NOW_MS = 1_764_000_000_000
TTL_MS = 900_000

BID = BuyerPing(
    buyer="acme",
    outcome=PingOutcome.BID,
    bid_micros=7_000_000,
    asked_ms=NOW_MS,
    latency_us=1_234,
    http_status=200,
    answer='{"status":"accepted","price":7,"name":"Łukasz \\u0000"}',
    content_type="application/json",
)
SKIPPED = BuyerPing(buyer="beta", outcome=PingOutcome.NOT_ASKED, skip=SkipReason.FILTERED, detail="state in [CA]")
OPEN = BuyerPing(buyer="gamma", outcome=PingOutcome.OPEN, asked_ms=NOW_MS)
LATE = replace(OPEN, outcome=PingOutcome.LATE, bid_micros=9_000_000, latency_us=2_000_000, answer="<bid>9</bid>")


def a_ping(number: int = 1, **changes: Any) -> Ping:
    """An offered ping; everything is filled that can be."""
    ping = Ping(
        ping_id=f"PING-{number:032X}",
        campaign="home",
        src="SRC_MAIN",
        is_test=False,
        created_ms=NOW_MS,
        expires_ms=NOW_MS + TTL_MS,
        state=PingState.OFFERED,
        config_version="v1",
        reason="",
        detail="two of three answered",
        winner="acme",
        bid_micros=7_000_000,
        payout_micros=5_950_000,
        payout_rule="revenue_share 0.85",
        routing_mode="round_robin",
        seed=2**63,
        turns={"acme": NOW_MS - 5, "beta": 0},
        data={"zipcode": "90210", "first_name": "Zoë", "note": 'quote " and \x00 and 𝄞'},
        dropped=["favourite_colour"],
        problems=[{"field": "email", "code": "wrong_type", "message": "expected an address"}],
        buyers=[BID, SKIPPED, OPEN],
    )
    return replace(ping, **changes)


def an_attempt(number: int = 1, **changes: Any) -> Attempt:
    """An attempt that is being sent."""
    attempt = Attempt(delivery_id=f"DEL-{number:032X}", buyer="acme", bid_micros=7_000_000, started_ms=NOW_MS + 10)
    return replace(attempt, **changes)


def a_lead(number: int = 1, ping_id: str | None = None, **changes: Any) -> Lead:
    """A lead on its way to its first buyer; a direct post unless it names a ping."""
    attempt = an_attempt(number)
    lead = Lead(
        lead_id=f"L-{number:032X}",
        ping_id=ping_id,
        campaign="home",
        src="SRC_MAIN",
        is_test=False,
        created_ms=NOW_MS + 10,
        updated_ms=NOW_MS + 10,
        state=LeadState.SENDING,
        config_version="v1",
        delivery_id=attempt.delivery_id,
        buyer="acme",
        payout_micros=5_950_000,
        payout_rule="revenue_share 0.85",
        routing_mode="highest_bid",
        seed=7,
        data={"zipcode": "90210", "email": "zoe@example.com"},
        dropped=["favourite_colour"],
        buyers=[BID, SKIPPED, OPEN],
        attempts=[attempt],
    )
    return replace(lead, **changes)


def ended(lead: Lead, state: LeadState, **changes: Any) -> Lead:
    """The lead as its delivery leaves it."""
    outcome = {
        LeadState.DELIVERED: AttemptOutcome.ACCEPTED,
        LeadState.REJECTED: AttemptOutcome.REJECTED,
        LeadState.FAILED: AttemptOutcome.NOT_SENT,
        LeadState.UNKNOWN: AttemptOutcome.TIMED_OUT,
    }[state]
    last = replace(lead.attempts[-1], outcome=outcome, latency_us=55, is_sent=outcome is not AttemptOutcome.NOT_SENT)
    return replace(lead, state=state, updated_ms=lead.updated_ms + 100, attempts=[*lead.attempts[:-1], last], **changes)


def slot(counter: str, limit: int = 10, amount: int = 1) -> CapTake:
    """One slot of a cap."""
    return CapTake(counter=counter, amount=amount, limit=limit)
