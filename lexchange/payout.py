"""Payout: what the source is told for a buyer's bid, and the margin that stays. Together they are the bid.

It never sells at a loss by itself; it knows no buyer and no floor.
"""

from dataclasses import dataclass
from fractions import Fraction

from lexchange.campaign import PayoutMode, PayoutRule
from lexchange.money import MICROS, format_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A bid, shared between the source and the exchange."""

    payout_micros: int
    margin_micros: int


def source_payout(rule: PayoutRule, bid_micros: int) -> Split | None:
    """Split a bid by the rule, a share rounded down; None when it does not cover the rule's amount."""
    assert bid_micros >= 0
    payout_micros = _payout(rule, bid_micros)
    if payout_micros is None:
        return None
    split = Split(payout_micros=payout_micros, margin_micros=bid_micros - payout_micros)
    assert split.payout_micros >= 0
    assert split.margin_micros >= 0
    assert split.payout_micros + split.margin_micros == bid_micros
    return split


def _payout(rule: PayoutRule, bid_micros: int) -> int | None:
    if rule.mode is PayoutMode.REVENUE_SHARE:
        return bid_micros * rule.share.numerator // rule.share.denominator
    if bid_micros < rule.amount_micros:
        return None
    return rule.amount_micros if rule.mode is PayoutMode.FIXED else bid_micros - rule.amount_micros


def explain(rule: PayoutRule, bid_micros: int) -> str:
    """The arithmetic for people: `7.00 x 0.85 = 5.95, margin 1.05`."""
    bid, amount = format_micros(bid_micros, 2), format_micros(rule.amount_micros, 2)
    split = source_payout(rule, bid_micros)
    if split is None:
        return f"{bid} does not cover the {rule.mode} of {amount}"
    payout, margin = format_micros(split.payout_micros, 2), format_micros(split.margin_micros, 2)
    if rule.mode is PayoutMode.FIXED:
        return f"{bid} pays a fixed {payout}, margin {margin}"
    if rule.mode is PayoutMode.MARGIN:
        return f"{bid} - {amount} = {payout}, margin {margin}"
    rounded = "" if split.payout_micros == bid_micros * rule.share else " rounded down"
    return f"{bid} x {_share(rule.share)} = {payout}{rounded}, margin {margin}"


def describe_rule(rule: PayoutRule) -> str:
    """The rule for people: `revenue_share 0.85`, `fixed 4.00`, `margin 1.00`."""
    if rule.mode is PayoutMode.REVENUE_SHARE:
        return f"{rule.mode} {_share(rule.share)}"
    return f"{rule.mode} {format_micros(rule.amount_micros, 2)}"


def _share(share: Fraction) -> str:
    """`0.85`; a share that six decimal places cannot hold stays a fraction, `1/3`."""
    micros = share * MICROS
    return format_micros(micros.numerator, 2) if micros.denominator == 1 else str(share)
