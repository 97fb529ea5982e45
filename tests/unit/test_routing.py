import itertools
import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexchange.campaign import BidAdjustment, RoutingMode
from lexchange.money import MAX_MICROS
from lexchange.routing import ROUTING_MODES, Bidder, _draw, _ln, bar_of, can_still_win, choose, place, rank

HIGHEST, PRIORITY = RoutingMode.HIGHEST_BID, RoutingMode.PRIORITY
WEIGHTED, ROUND_ROBIN = RoutingMode.WEIGHTED, RoutingMode.ROUND_ROBIN


def bidder(buyer: str, bid: int = 0, *, priority: int = 1, weight: int = 1, turn: int = 0) -> Bidder:
    return Bidder(buyer=buyer, bid_micros=bid, priority=priority, weight=weight, turn_ms=turn)


def order(mode: RoutingMode, bidders: list[Bidder], seed: int = 0) -> str:
    return "".join(found.buyer for found in rank(mode, bidders, seed))


@pytest.mark.parametrize(
    ("mode", "bidders", "expected"),
    [
        (HIGHEST, [bidder("a", 5), bidder("b", 7), bidder("c", 6)], "bca"),
        (HIGHEST, [bidder("a", 7, priority=2), bidder("b", 7, priority=1)], "ba"),
        (HIGHEST, [bidder("b", 7), bidder("a", 7)], "ab"),
        (HIGHEST, [bidder("a", 6, priority=1), bidder("b", 7, priority=9)], "ba"),
        (HIGHEST, [bidder("a", 7, turn=1, weight=1), bidder("b", 7, turn=0, weight=9)], "ab"),
        (PRIORITY, [bidder("a", 9, priority=2), bidder("b", 1, priority=1)], "ba"),
        (PRIORITY, [bidder("a", 5), bidder("b", 7)], "ba"),
        (PRIORITY, [bidder("b", 7), bidder("a", 7)], "ab"),
        (ROUND_ROBIN, [bidder("a", 9, turn=200), bidder("b", 1, turn=100)], "ba"),
        (ROUND_ROBIN, [bidder("a", turn=100), bidder("b", turn=0)], "ba"),
        (ROUND_ROBIN, [bidder("a", priority=2, turn=100), bidder("b", priority=1, turn=100)], "ba"),
        (ROUND_ROBIN, [bidder("b", 1, turn=100), bidder("a", 9, turn=100)], "ab"),
        (ROUND_ROBIN, [bidder("b"), bidder("a")], "ab"),
        (WEIGHTED, [bidder("b", weight=0), bidder("a", weight=0), bidder("c", weight=1)], "cab"),
        (WEIGHTED, [bidder("a", priority=2, weight=0), bidder("b", priority=1, weight=0)], "ba"),
        (HIGHEST, [], ""),
    ],
)
def test_rank_orders_by_the_mode_when_bids_differ_or_tie(mode, bidders, expected) -> None:
    """Every mode is a total order; the last tie is broken by the buyer's id."""
    assert order(mode, bidders) == expected


def test_routing_modes_are_complete_when_a_campaign_may_name_them() -> None:
    """Every mode a file may name has its function."""
    assert set(ROUTING_MODES) == set(RoutingMode)


bidders_lists = st.lists(
    st.builds(
        Bidder,
        buyer=st.text("abc", min_size=1, max_size=2),
        bid_micros=st.integers(0, 3) | st.just(MAX_MICROS),
        priority=st.integers(1, 3),
        weight=st.integers(0, 3),
        turn_ms=st.integers(0, 3),
        adjustment=st.none()
        | st.builds(
            BidAdjustment, factor=st.sampled_from([Fraction(1, 2), Fraction(2)]), amount_micros=st.integers(-2, 2)
        ),
        is_exclusive=st.booleans(),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda found: found.buyer,
)
modes = st.sampled_from(RoutingMode)
seeds = st.integers(0, 2**63)


@given(modes, bidders_lists, seeds, st.randoms())
def test_rank_is_the_same_when_the_bids_come_in_another_order(mode, bidders, seed, random) -> None:
    """Who answers first does not matter; the same bids and seed give the same winner."""
    shuffled = list(bidders)
    random.shuffle(shuffled)
    assert rank(mode, shuffled, seed) == rank(mode, bidders, seed)


@given(modes, bidders_lists, seeds)
def test_rank_keeps_the_rest_in_place_when_a_buyer_drops_out(mode, bidders, seed) -> None:
    """A buyer's place depends on nobody else's bid."""
    ranked = rank(mode, bidders, seed)
    for gone in ranked:
        assert rank(mode, [left for left in bidders if left != gone], seed) == [left for left in ranked if left != gone]


@given(modes, bidders_lists, seeds, st.integers(0, MAX_MICROS))
def test_rank_never_places_worse_when_a_bid_rises(mode, bidders, seed, bid_micros) -> None:
    """A higher bid is never a disadvantage; `can_still_win` rests on that."""
    raised = replace(bidders[0], bid_micros=max(bidders[0].bid_micros, bid_micros))
    before = rank(mode, bidders, seed).index(bidders[0])
    assert rank(mode, [raised, *bidders[1:]], seed).index(raised) <= before


@given(modes, bidders_lists, seeds, st.integers(0, MAX_MICROS))
def test_can_still_win_is_right_when_a_late_bid_arrives(mode, bidders, seed, bid_micros) -> None:
    """Who cannot win any more does not win whatever he bids; who can, wins with the largest bid."""
    late, *answered = bidders
    best = rank(mode, answered, seed)[0] if answered else None
    may_win = can_still_win(mode, late, place(mode, best, seed) if best else None, seed)
    assert (rank(mode, [*answered, replace(late, bid_micros=MAX_MICROS)], seed)[0].buyer == late.buyer) is may_win
    if not may_win:
        late = replace(late, bid_micros=bid_micros)
        assert rank(mode, [*answered, late], seed)[0] == best


@given(
    mode=modes,
    bidders=bidders_lists,
    seed=seeds,
    sell_to=st.integers(1, 3),
    answers=st.lists(st.none() | st.integers(0, 4) | st.just(MAX_MICROS), min_size=6, max_size=6),
)
def test_nobody_behind_the_bar_changes_who_is_chosen(mode, bidders, seed, sell_to, answers) -> None:
    """Whatever those bid who cannot win any more, and whether they bid at all, the same ones get the lead."""
    half = len(bidders) // 2
    heard = rank(mode, bidders[:half], seed)
    bar = bar_of(mode, [(place(mode, each, seed), each) for each in heard], sell_to)
    late = [
        replace(each, bid_micros=bid_micros)
        for each, bid_micros in zip(bidders[half:], answers, strict=False)
        if bid_micros is not None and not can_still_win(mode, each, bar, seed)
    ]
    assert choose(mode, rank(mode, [*heard, *late], seed), sell_to) == choose(mode, heard, sell_to)


@pytest.mark.parametrize(
    ("mode", "open_buyer", "best", "expected"),
    [
        (HIGHEST, bidder("z", priority=9), bidder("a", 999_999_999_999_999), True),
        (HIGHEST, bidder("z", priority=1), bidder("a", 1_000_000_000_000_000, priority=1), False),
        (HIGHEST, bidder("a", priority=1), bidder("z", 1_000_000_000_000_000, priority=1), True),
        (PRIORITY, bidder("a", priority=1), bidder("z", 5, priority=2), True),
        (PRIORITY, bidder("z", priority=2), bidder("a", 5, priority=2), True),
        (PRIORITY, bidder("a", priority=3), bidder("z", 5, priority=2), False),
        (ROUND_ROBIN, bidder("z", turn=99), bidder("a", turn=100), True),
        (ROUND_ROBIN, bidder("z", turn=100), bidder("a", turn=100), False),
        (ROUND_ROBIN, bidder("a", turn=100), bidder("z", turn=100), True),
        (ROUND_ROBIN, bidder("a", turn=101), bidder("z", turn=100), False),
        (WEIGHTED, bidder("a", weight=0), bidder("z", weight=1), False),
        (WEIGHTED, bidder("a", weight=1), bidder("z", weight=0), True),
    ],
)
def test_can_still_win_compares_the_best_case_when_a_buyer_is_open(mode, open_buyer, best, expected) -> None:
    """An open buyer is thought of with the largest bid there is."""
    assert can_still_win(mode, open_buyer, place(mode, best, 0), 0) is expected


@pytest.mark.parametrize("mode", list(RoutingMode))
def test_can_still_win_is_true_when_nobody_has_bid(mode) -> None:
    """Without a bid anybody open may win."""
    assert can_still_win(mode, bidder("z", priority=9, weight=0, turn=9), None, 0)


def test_weighted_order_is_pinned_when_the_seed_is() -> None:
    """A stored auction replays alike in every release and on every machine."""
    bidders = [bidder("acme", weight=1), bidder("best", weight=2), bidder("corp", weight=3)]
    orders = [" ".join(found.buyer for found in rank(WEIGHTED, bidders, seed)) for seed in range(4)]
    assert orders == ["best corp acme", "corp acme best", "corp best acme", "corp best acme"]


def test_draw_is_the_same_to_the_last_bit_when_repeated() -> None:
    """The draw is hashing and + - * / alone, which every machine does alike."""
    assert _draw(0, "acme", 3).hex() == "0x1.1f7d11f73f42fp-2"
    assert _draw(1, "acme", 3).hex() == "0x1.ee437d9e5d717p-4"


def test_weighted_shares_follow_the_weights_when_drawn_often() -> None:
    """First places come as 1 : 2 : 5, within four standard deviations of 20,000 draws."""
    bidders = [bidder("a", weight=1), bidder("b", weight=2), bidder("c", weight=5)]
    firsts = Counter(order(WEIGHTED, bidders, seed)[0] for seed in range(20_000))
    for buyer, share in (("a", 1 / 8), ("b", 2 / 8), ("c", 5 / 8)):
        deviation = math.sqrt(20_000 * share * (1 - share))
        assert abs(firsts[buyer] - 20_000 * share) < 4 * deviation


def test_weighted_order_is_without_replacement_when_drawn_often() -> None:
    """All six orders of three buyers have the chance that drawing one after the other by weight gives them."""
    weights = {"a": 1, "b": 2, "c": 5}
    bidders = [bidder(name, weight=weight) for name, weight in weights.items()]
    found = Counter(order(WEIGHTED, bidders, seed) for seed in range(20_000))
    for first, second, third in itertools.permutations("abc"):
        share = weights[first] / 8 * weights[second] / (8 - weights[first])
        deviation = math.sqrt(20_000 * share * (1 - share))
        assert abs(found[first + second + third] - 20_000 * share) < 4 * deviation


def test_weighted_shares_are_even_when_weights_are_equal() -> None:
    """Ten buyers of one weight each win about a tenth; no id is favoured."""
    bidders = [bidder(f"{number}", weight=7) for number in range(10)]
    firsts = Counter(order(WEIGHTED, bidders, seed)[0] for seed in range(20_000))
    assert all(abs(firsts[found.buyer] - 2_000) < 4 * math.sqrt(1_800) for found in bidders)


@given(st.integers(1, 2**64))
def test_ln_agrees_with_the_platform_when_it_draws(numerator) -> None:
    """Our logarithm, made of exact operations, is right to a few last bits."""
    number = numerator / 2**64
    assert math.isclose(_ln(number), math.log(number), rel_tol=1e-14, abs_tol=1e-17)


# ------------------------------------------------------------------------------------------- adjustments and sharing


def adjusted(buyer: str, bid: int, percent: int = 0, amount: int = 0) -> Bidder:
    return replace(
        bidder(buyer, bid), adjustment=BidAdjustment(factor=1 + Fraction(percent, 100), amount_micros=amount)
    )


@pytest.mark.parametrize(
    ("one", "worth"),
    [
        (adjusted("a", 7_000_000, percent=-10), 6_300_000),
        (adjusted("a", 7_000_000, amount=-250_000), 6_750_000),
        (adjusted("a", 7_000_000, percent=50, amount=1), 10_500_001),
        (adjusted("a", 1, percent=-10), 0),
        (adjusted("a", 0, amount=-5), -5),
        (bidder("a", 7), 7),
    ],
)
def test_adjusted_bid_counts_for_its_worth(one: Bidder, worth: int) -> None:
    """Percent first, then the amount; a fraction of a micro is dropped."""
    assert one.worth(one.bid_micros) == worth


def test_adjustment_decides_who_wins() -> None:
    """In the modes that look at bids; the price is no part of it."""
    bids = [adjusted("a", 7_000_000, percent=-10), bidder("b", 6_500_000), adjusted("c", 6_000_000, amount=400_000)]
    assert order(HIGHEST, bids) == "bca"
    assert order(PRIORITY, bids) == "bca"


def alone(buyer: str, bid: int) -> Bidder:
    return replace(bidder(buyer, bid), is_exclusive=True)


@pytest.mark.parametrize(
    ("mode", "bidders", "sell_to", "expected"),
    [
        (HIGHEST, [], 3, ""),
        (HIGHEST, [bidder("a", 3), bidder("b", 2)], 1, "a"),
        (HIGHEST, [bidder("a", 3), bidder("b", 2)], 3, "ab"),
        (HIGHEST, [bidder("a", 3), bidder("b", 2), bidder("c", 1)], 2, "ab"),
        (HIGHEST, [alone("x", 9)], 2, "x"),
        (HIGHEST, [alone("x", 5), bidder("a", 3), bidder("b", 2)], 2, "ab"),
        (HIGHEST, [alone("x", 6), bidder("a", 3), bidder("b", 2)], 2, "x"),
        (HIGHEST, [alone("x", 6), alone("y", 7), bidder("a", 3), bidder("b", 3)], 2, "y"),
        (HIGHEST, [alone("x", 9), bidder("a", 3)], 1, "x"),
        (PRIORITY, [replace(alone("x", 1), priority=0), bidder("a", 9)], 2, "x"),
        (PRIORITY, [replace(alone("x", 99), priority=2), bidder("a", 1)], 2, "a"),
    ],
)
def test_choose_sells_to_one_alone_or_to_several(
    mode: RoutingMode, bidders: list[Bidder], sell_to: int, expected: str
) -> None:
    """An exclusive bid stands against the sum of the others that would share."""
    assert "".join(each.buyer for each in choose(mode, rank(mode, bidders, 0), sell_to)) == expected


@given(mode=modes, bidders=bidders_lists, seed=st.integers(0, 2**63), sell_to=st.integers(1, 4), random=st.randoms())
def test_choice_is_the_same_whatever_order_bids_came_in(mode, bidders, seed, sell_to, random) -> None:
    """It is made of what is stored, never of when an answer came; and it is never nobody while somebody bid."""
    shuffled = list(bidders)
    random.shuffle(shuffled)
    chosen = choose(mode, rank(mode, bidders, seed), sell_to)
    assert chosen == choose(mode, rank(mode, shuffled, seed), sell_to)
    assert 1 <= len(chosen) <= sell_to
    assert len(chosen) == 1 or not any(each.is_exclusive for each in chosen)
