from typing import Any

import pytest

from lexchange.explain import as_text, explain_lead, explain_ping, line_of_lead, line_of_ping
from lexchange.lead import Attempt, AttemptOutcome, BuyerPing, Lead, LeadState, Ping, PingOutcome, PingState, SkipReason
from lexchange.reasons import Reason
from tests.unit.examples import NOW_MS, a_bid, a_lead, a_ping

WON = a_bid("acme", 7_000_000, latency_us=12_345, http_status=200, answer='{"bid":7}', asked_ms=NOW_MS)


def part(outcome: PingOutcome, **changes: Any) -> BuyerPing:
    return BuyerPing(buyer="beta", outcome=outcome, **changes)


def sold(**changes: Any) -> Lead:
    attempt = Attempt(
        delivery_id="DEL-1",
        buyer="acme",
        bid_micros=7_000_000,
        outcome=AttemptOutcome.ACCEPTED,
        started_ms=NOW_MS,
        latency_us=1_500,
        is_sent=True,
    )
    filled: dict[str, Any] = {
        "state": LeadState.DELIVERED,
        "buyer": "acme",
        "delivery_id": "DEL-1",
        "price_micros": 7_000_000,
        "payout_micros": 5_950_000,
        "payout_rule": "revenue_share 0.85",
        "attempts": [attempt],
    }
    return a_lead(**(filled | changes))


@pytest.mark.parametrize(
    ("ping", "expected"),
    [
        (a_ping(WON), "accepted at a payout of 5.95, won by acme"),
        (a_ping(WON, state=PingState.CLAIMED), "accepted at a payout of 5.95, won by acme"),
        (a_ping(is_test=True, winner=None), "accepted at a payout of 5.95, a test, no buyer was asked"),
        (a_ping(state=PingState.NO_SALE, reason=Reason.NO_ELIGIBLE_BUYER), "rejected: no_eligible_buyer"),
    ],
)
def test_ping_is_told_as_it_was_answered(ping: Ping, expected: str) -> None:
    """The first line is what the source heard."""
    assert explain_ping(ping, None)["answer"] == expected
    assert line_of_ping(ping)["text"].endswith(f"PING-1  home/SRC_MAIN  {expected}")


@pytest.mark.parametrize(
    ("lead", "expected"),
    [
        (sold(), "delivered to acme"),
        (sold(buyer=None, attempts=[]), "delivered: a test, no buyer was called"),
        (sold(state=LeadState.SENDING), "in progress at acme"),
        (sold(state=LeadState.REJECTED, reason=Reason.BUYER_REJECTED), "rejected: buyer_rejected"),
        (sold(state=LeadState.FAILED, reason=Reason.BUYER_DELIVERY_FAILED), "failed: buyer_delivery_failed"),
        (
            sold(state=LeadState.UNKNOWN, reason=Reason.DOWNSTREAM_TIMEOUT, attempts=[]),
            "failed: downstream_timeout; whether the buyer has it is not known, see lexchange reconcile",
        ),
        (
            sold(state=LeadState.UNKNOWN),
            "delivered to acme; whether another has it is not known, see lexchange reconcile",
        ),
    ],
)
def test_lead_is_told_as_it_ended(lead: Lead, expected: str) -> None:
    """An unknown outcome says who settles it."""
    assert explain_lead(lead)["answer"] == expected
    assert line_of_lead(lead)["text"].endswith(f"L-1  home/SRC_MAIN  {expected}")


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        (part(PingOutcome.BID, bid_micros=6_500_000), "lost with 6.50 to 7.00 of acme"),
        (
            part(PingOutcome.BID, bid_micros=7_000_000),
            "lost with 7.00 to the same bid of acme: lower priority number first, then the id",
        ),
        (
            part(PingOutcome.BID, bid_micros=9_000_000, skip=SkipReason.CAP_REACHED, detail="its cap filled up"),
            "lost with 9.00: its cap filled up",
        ),
        (part(PingOutcome.NOT_ASKED, skip=SkipReason.PAUSED), "not asked: paused"),
        (
            part(PingOutcome.NOT_ASKED, skip=SkipReason.FILTERED, detail="state in [CA]"),
            "not asked: filtered, state in [CA]",
        ),
        (part(PingOutcome.NO_BID, detail="too old"), "did not bid: too old"),
        (part(PingOutcome.NO_BID), "did not bid: no reason given"),
        (part(PingOutcome.BELOW_FLOOR, bid_micros=100_000, detail="under min_bid 0.5"), "bid 0.10, under min_bid 0.5"),
        (part(PingOutcome.INVALID_ANSWER, detail="broken JSON"), "answer not understood: broken JSON"),
        (part(PingOutcome.UNREACHABLE, detail="connect: refused"), "not reached: connect: refused"),
        (part(PingOutcome.TIMED_OUT), "timed out"),
        (part(PingOutcome.OPEN), "asked, but the auction was decided before he answered"),
        (part(PingOutcome.LATE, bid_micros=9_000_000), "answered too late, bidding 9.00"),
        (part(PingOutcome.LATE), "answered too late"),
    ],
)
def test_every_buyer_has_his_verdict(beta: BuyerPing, expected: str) -> None:
    """In one sentence: why he won, lost, failed or was not asked."""
    won, told = explain_ping(a_ping(WON, beta), None)["buyers"]
    assert won["verdict"] == "won with 7.00"
    assert told["verdict"] == expected


def test_other_modes_are_named_as_what_decided() -> None:
    """Where a higher bid can lose, the bids alone explain nothing."""
    beta = a_bid("beta", 9_000_000)
    told = explain_ping(a_ping(WON, beta, routing_mode="weighted", seed=42), None)
    assert told["routing"] == "weighted, drawn with seed 42"
    assert told["buyers"][1]["verdict"] == "lost with 9.00: acme stood before him by weighted"


def test_shared_lead_names_all_who_have_it() -> None:
    """Each with his price and the source's part of it; who came behind them lost to all of them."""
    parts = [
        a_bid("acme", 7_000_000, payout_micros=5_950_000),
        a_bid("beta", 6_000_000, payout_micros=5_100_000, worth_micros=6_500_000),
        a_bid("gamma", 6_200_000),
    ]
    facts = explain_ping(a_ping(*parts, winners=["acme", "beta"], payout_micros=11_050_000), None)
    assert facts["answer"] == "accepted at a payout of 11.05, won by acme, beta"
    assert [each["verdict"] for each in facts["buyers"]] == [
        "won with 7.00, 5.95 of it to the source",
        "won with 6.00 (counted as 6.50), 5.10 of it to the source",
        "lost with 6.20: acme, beta stood before him by highest_bid",
    ]
    attempts = [
        Attempt(delivery_id="D", buyer=buyer, bid_micros=1, outcome=outcome, started_ms=NOW_MS)
        for buyer, outcome in (
            ("acme", AttemptOutcome.REJECTED),
            ("beta", AttemptOutcome.ACCEPTED),
            ("gamma", AttemptOutcome.ACCEPTED),
        )
    ]
    assert explain_lead(sold(attempts=attempts))["answer"] == "delivered to beta, gamma"


def test_adjusted_bid_is_told_with_what_it_counted_for() -> None:
    """A higher bid may lose; the price is still the bid."""
    facts = explain_ping(a_ping(WON, a_bid("beta", 7_500_000, worth_micros=6_750_000)), None)
    assert facts["buyers"][1]["verdict"] == "lost with 7.50 (counted as 6.75) to 7.00 of acme"


def test_bid_without_a_winner_is_only_a_bid() -> None:
    """Nobody has lost to nobody."""
    told = explain_ping(a_ping(a_bid("beta", 9_000_000), winner=None, state=PingState.NO_SALE), None)
    assert told["buyers"][0]["verdict"] == "bid 9.00"


@pytest.mark.parametrize(
    ("price_micros", "expected"),
    [
        (7_000_000, "7.00 by revenue_share 0.85 = 5.95 to the source, margin 1.05"),
        (5_000_000, "5.00 by revenue_share 0.85 = 5.95 to the source, margin -0.95"),
        (5_950_000, "5.95 by revenue_share 0.85 = 5.95 to the source, margin 0.00"),
    ],
)
def test_payout_shows_its_arithmetic(price_micros: int, expected: str) -> None:
    """Price, payout and margin add up, a loss included."""
    assert explain_lead(sold(price_micros=price_micros))["payout"]["text"] == expected


@pytest.mark.parametrize(
    ("value", "expected"), [("sam.carter@example.com", "s…(22)"), ("abcd", "a…(4)"), ("abc", "…"), ("", "…")]
)
def test_values_of_a_lead_are_masked_unless_asked_for(value: str, expected: str) -> None:
    """A short value would be recognised by its first letter."""
    ping = a_ping(WON, data={"email": value})
    assert explain_ping(ping, None)["data"] == {"email": expected}
    assert explain_ping(ping, None, shows_data=True)["data"] == {"email": value}


def test_text_holds_the_whole_story() -> None:
    """What a terminal shows: the answer, the arithmetic, each buyer on a line, and the lead that came of it."""
    beta = part(PingOutcome.NOT_ASKED, skip=SkipReason.CLOSED)
    problem = {"field": "email", "code": "required", "message": "expected a value"}
    ping = a_ping(WON, beta, data={"zipcode": "90210"}, dropped=["colour"], problems=[problem])
    lead = sold(data={}, detail="called them, says Ann")
    assert as_text(explain_ping(ping, lead)).splitlines() == [
        "PING-1  accepted at a payout of 5.95, won by acme",
        "  campaign   home, source SRC_MAIN",
        "  time       2025-11-24 16:00:00.000 UTC, configuration v1",
        "  routing    highest_bid",
        "  payout     7.00 by revenue_share 0.85 = 5.95 to the source, margin 1.05",
        "  problem    email: expected a value",
        "  buyers",
        "    acme  12.3 ms  won with 7.00",
        "    beta           not asked: closed",
        "  data",
        "    zipcode  9…(5)",
        "  dropped    colour: not in the schema, not forwarded",
        "",
        "L-1  delivered to acme",
        "  campaign   home, source SRC_MAIN",
        "  time       2025-11-24 16:00:00.000 UTC, configuration v1",
        "  payout     7.00 by revenue_share 0.85 = 5.95 to the source, margin 1.05",
        "  attempts",
        "    acme  1.5 ms  accepted at 7.00  DEL-1",
        "  detail     called them, says Ann",
    ]
