"""Judging: what a buyer's answer to a ping amounts to: a bid that counts, or why there is none. Pure."""

from typing import TypeAlias

from lexchange.buyers.answers import Reading, Verdict
from lexchange.lead import PingOutcome
from lexchange.money import format_micros

ACCEPTED = Verdict.ACCEPTED
BID = PingOutcome.BID

Judged: TypeAlias = tuple[PingOutcome, str, int | None]
"""The outcome, the detail, and the bid in micros."""


def judge(reading: Reading, fixed_bid_micros: int | None, min_bid_micros: int, least_bid_micros: int) -> Judged:
    """Judge an answer as it reads; who accepts without a bid offers his fixed one, where he has one."""
    if reading.verdict is not ACCEPTED:
        if reading.verdict is Verdict.UNREADABLE:
            return PingOutcome.INVALID_ANSWER, reading.reason or "the answer could not be read", None
        return PingOutcome.NO_BID, reading.reason, None
    if reading.bid_problem:
        return PingOutcome.NO_BID, reading.bid_problem, None
    bid_micros = fixed_bid_micros if reading.bid_micros is None else reading.bid_micros
    if bid_micros is None:
        return PingOutcome.NO_BID, "accepted without a bid", None
    return weigh(bid_micros, reading.reason, min_bid_micros, least_bid_micros)


def weigh(bid_micros: int, detail: str, min_bid_micros: int, least_bid_micros: int) -> Judged:
    """A bid counts when it reaches the floor and covers the source's payout."""
    if bid_micros < min_bid_micros:
        return PingOutcome.BELOW_FLOOR, f"under min_bid {format_micros(min_bid_micros)}", bid_micros
    if bid_micros < least_bid_micros:
        return PingOutcome.BELOW_FLOOR, "does not cover the source's payout", bid_micros
    return BID, detail, bid_micros
