from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexchange.campaign import PayoutMode, PayoutRule
from lexchange.money import MAX_MICROS
from lexchange.payout import Split, describe_rule, least_bid_micros, source_payout

SHARE = PayoutRule(mode=PayoutMode.REVENUE_SHARE, share=Fraction(17, 20))
FIXED = PayoutRule(mode=PayoutMode.FIXED, amount_micros=4_000_000)
MARGIN = PayoutRule(mode=PayoutMode.MARGIN, amount_micros=1_000_000)

BOUNDED = PayoutRule(
    mode=PayoutMode.REVENUE_SHARE,
    share=Fraction(17, 20),
    min_micros=2_000_000,
    max_micros=6_000_000,
    min_margin_micros=500_000,
)

bids = st.integers(0, MAX_MICROS)
bounds = {"min_micros": bids, "max_micros": st.none() | bids, "min_margin_micros": bids}
rules = st.one_of(
    st.builds(PayoutRule, mode=st.just(PayoutMode.REVENUE_SHARE), share=st.fractions(0, 1)),
    st.builds(PayoutRule, mode=st.sampled_from([PayoutMode.FIXED, PayoutMode.MARGIN]), amount_micros=bids),
    st.builds(PayoutRule, mode=st.just(PayoutMode.REVENUE_SHARE), share=st.fractions(0, 1), **bounds),
    st.builds(
        PayoutRule, mode=st.just(PayoutMode.MARGIN), amount_micros=bids, min_micros=bids, max_micros=st.none() | bids
    ),
).filter(lambda rule: rule.max_micros is None or rule.min_micros <= rule.max_micros)


@pytest.mark.parametrize(
    ("rule", "bid_micros", "payout_micros", "margin_micros"),
    [
        (SHARE, 7_000_000, 5_950_000, 1_050_000),
        (SHARE, 8_500_000, 7_225_000, 1_275_000),
        (SHARE, 0, 0, 0),
        (SHARE, 1, 0, 1),
        (SHARE, 3, 2, 1),
        (PayoutRule(mode=PayoutMode.REVENUE_SHARE, share=Fraction(0)), 7_000_000, 0, 7_000_000),
        (PayoutRule(mode=PayoutMode.REVENUE_SHARE, share=Fraction(1)), 7_000_000, 7_000_000, 0),
        (PayoutRule(mode=PayoutMode.REVENUE_SHARE, share=Fraction(2, 3)), 10, 6, 4),
        (FIXED, 4_000_000, 4_000_000, 0),
        (FIXED, 4_000_001, 4_000_000, 1),
        (FIXED, 9_000_000, 4_000_000, 5_000_000),
        (MARGIN, 1_000_000, 0, 1_000_000),
        (MARGIN, 1_000_001, 1, 1_000_000),
        (MARGIN, 7_000_000, 6_000_000, 1_000_000),
    ],
)
def test_source_payout_splits_the_bid_when_it_covers_the_rule(rule, bid_micros, payout_micros, margin_micros) -> None:
    """Each mode gives the source its part, rounded down to a micro, and keeps the rest."""
    assert source_payout(rule, bid_micros) == Split(payout_micros=payout_micros, margin_micros=margin_micros)


@pytest.mark.parametrize(
    ("bid_micros", "payout_micros"),
    [
        (2_600_000, None),
        (3_333_326, None),
        (3_333_327, 2_833_327),
        (4_000_000, 3_400_000),
        (7_058_823, 5_999_999),
        (7_058_824, 6_000_000),
        (20_000_000, 6_000_000),
    ],
)
def test_source_payout_keeps_its_bounds_when_it_has_some(bid_micros, payout_micros) -> None:
    """Never under min, never over max; a bid that leaves less than the least margin is not taken."""
    split = source_payout(BOUNDED, bid_micros)
    assert (split.payout_micros if split else None) == payout_micros


@pytest.mark.parametrize(("rule", "bid_micros"), [(FIXED, 3_999_999), (FIXED, 0), (MARGIN, 999_999)])
def test_source_payout_is_none_when_the_bid_does_not_cover_the_amount(rule, bid_micros) -> None:
    """One micro too little is no sale: nothing is sold at a loss."""
    assert source_payout(rule, bid_micros) is None


@given(rules, bids)
def test_source_payout_adds_up_when_there_is_a_split(rule, bid_micros) -> None:
    """Payout and margin are the bid, and neither is negative."""
    split = source_payout(rule, bid_micros)
    if split is None:
        assert rule.amount_micros + rule.min_micros + rule.min_margin_micros > bid_micros * (1 - rule.share)
    else:
        assert rule.min_micros <= split.payout_micros
        assert rule.max_micros is None or split.payout_micros <= rule.max_micros
        assert rule.min_margin_micros <= split.margin_micros
        assert split.payout_micros + split.margin_micros == bid_micros
        assert split.payout_micros >= 0
        assert split.margin_micros >= 0


@given(rules, bids, bids)
def test_source_payout_never_falls_when_the_bid_rises(rule, one, other) -> None:
    """A higher bid pays the source at least as much."""
    low, high = (source_payout(rule, bid) for bid in sorted([one, other]))
    if low is not None:
        assert high is not None
        assert low.payout_micros <= high.payout_micros


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (SHARE, "revenue_share 0.85"),
        (FIXED, "fixed 4.00"),
        (MARGIN, "margin 1.00"),
        (BOUNDED, "revenue_share 0.85, at least 2.00, at most 6.00, margin at least 0.50"),
    ],
)
def test_describe_rule_names_mode_and_amount_when_asked(rule, text) -> None:
    """The audit keeps the rule that a payout came from."""
    assert describe_rule(rule) == text


@given(rules, bids, st.integers(-2, 2))
def test_least_bid_parts_the_bids_that_can_be_split_from_those_that_cannot(rule, bid_micros, beside) -> None:
    """Any bid, and those just beside the least one."""
    least = least_bid_micros(rule)
    for each in (bid_micros, min(max(0, least + beside), MAX_MICROS)):
        assert (source_payout(rule, each) is not None) is (each >= least)
