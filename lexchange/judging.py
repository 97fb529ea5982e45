"""Judging: what a buyer's answer to a ping amounts to: a bid that counts, or why there is none. Pure."""

from typing import TypeAlias

from lexchange.buyers.answers import Reading, Verdict
from lexchange.lead import PingOutcome
from lexchange.money import format_micros

ACCEPTED = Verdict.ACCEPTED
BID = PingOutcome.BID

Judged: TypeAlias = tuple[PingOutcome, str, int | None]
"""The outcome, the detail, and the bid in micros."""


def judge(
    reading: Reading,
    fixed_bid_micros: int | None,
    min_bid_micros: int,
    least_bid_micros: int,
    left_micros: int | None,
) -> Judged:
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
    return weigh(bid_micros, reading.reason, min_bid_micros, least_bid_micros, left_micros)


def weigh(bid_micros: int, detail: str, min_bid_micros: int, least_bid_micros: int, left_micros: int | None) -> Judged:
    """A bid counts when it reaches the floor, covers the source's payout and fits in what is left of the budget."""
    if bid_micros < min_bid_micros:
        return PingOutcome.BELOW_FLOOR, f"under min_bid {format_micros(min_bid_micros)}", bid_micros
    if bid_micros < least_bid_micros:
        return PingOutcome.BELOW_FLOOR, "does not cover the source's payout", bid_micros
    if left_micros is not None and bid_micros > left_micros:
        left, bid = format_micros(max(left_micros, 0)), format_micros(bid_micros)
        return PingOutcome.NO_BID, f"{bid} is more than what is left of his budget, {left}", bid_micros
    return BID, detail, bid_micros
