"""Payout: what the source is told for a buyer's bid, and the margin that stays. Together they are the bid.

It never sells at a loss by itself; it knows no buyer and no floor.
"""

from bisect import bisect_left
from fractions import Fraction

from lexchange.campaign import PayoutMode, PayoutRule
from lexchange.frozen import frozen
from lexchange.money import MAX_MICROS, MICROS, format_micros


@frozen
class Split:
    """A bid, shared between the source and the exchange."""

    payout_micros: int
    margin_micros: int


def source_payout(rule: PayoutRule, bid_micros: int) -> Split | None:
    """Split a bid by the rule, a share rounded down; None when it does not cover the payout and the least margin."""
    assert bid_micros >= 0
    payout_micros = _payout(rule, bid_micros)
    if payout_micros is None:
        return None
    payout_micros = max(payout_micros, rule.min_micros)
    if rule.max_micros is not None:
        payout_micros = min(payout_micros, rule.max_micros)
    if payout_micros > bid_micros - rule.min_margin_micros:
        return None
    split = Split(payout_micros=payout_micros, margin_micros=bid_micros - payout_micros)
    assert split.payout_micros >= 0
    assert split.margin_micros >= 0
    assert split.payout_micros + split.margin_micros == bid_micros
    return split


def least_bid_micros(rule: PayoutRule) -> int:
    """The smallest bid that can be split by the rule; MAX_MICROS + 1 when none can. Every larger one can be split, too.

    For what a bid leaves beside its payout never gets less as it grows.
    """
    return bisect_left(range(MAX_MICROS + 1), True, key=lambda bid_micros: source_payout(rule, bid_micros) is not None)


def _payout(rule: PayoutRule, bid_micros: int) -> int | None:
    if rule.mode is PayoutMode.REVENUE_SHARE:
        return bid_micros * rule.share.numerator // rule.share.denominator
    if bid_micros < rule.amount_micros:
        return None
    return rule.amount_micros if rule.mode is PayoutMode.FIXED else bid_micros - rule.amount_micros


def describe_rule(rule: PayoutRule) -> str:
    """The rule for people: `revenue_share 0.85, at least 2.00`, `fixed 4.00`, `margin 1.00`."""
    is_share = rule.mode is PayoutMode.REVENUE_SHARE
    parts = [f"{rule.mode} {_share(rule.share) if is_share else format_micros(rule.amount_micros, 2)}"]
    if rule.min_micros:
        parts.append(f"at least {format_micros(rule.min_micros, 2)}")
    if rule.max_micros is not None:
        parts.append(f"at most {format_micros(rule.max_micros, 2)}")
    if rule.min_margin_micros:
        parts.append(f"margin at least {format_micros(rule.min_margin_micros, 2)}")
    return ", ".join(parts)


def _share(share: Fraction) -> str:
    """`0.85`; a share that six decimal places cannot hold stays a fraction, `1/3`."""
    micros = share * MICROS
    return format_micros(micros.numerator, 2) if micros.denominator == 1 else str(share)
