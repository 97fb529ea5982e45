"""Routing: puts the bids of an auction in order, best first. The same bids and seed give the same winner.

A mode is one function from a bid to its place, smaller is better; a higher bid never makes a place worse. A
buyer's place depends on nobody else's, so an auction can end before the last answer. Ids break the last tie.
"""

import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from lexchange.campaign import BidAdjustment, Buyer, RoutingMode
from lexchange.frozen import frozen, maker
from lexchange.money import MAX_MICROS


@frozen
class Bidder:
    """A buyer in an auction, with what the modes look at. `turn_ms` is his last sale, epoch ms; 0: never."""

    buyer: str
    bid_micros: int
    priority: int
    weight: int
    turn_ms: int
    adjustment: BidAdjustment | None = None
    is_exclusive: bool = False

    @classmethod
    def of(cls, buyer: Buyer, bid_micros: int, turns: Mapping[str, int]) -> "Bidder":
        """A buyer with his bid; `turns` are the last sales of all."""
        return _make_bidder(
            buyer=buyer.buyer,
            bid_micros=bid_micros,
            priority=buyer.priority,
            weight=buyer.weight,
            turn_ms=turns.get(buyer.buyer, 0),
            adjustment=buyer.bid_adjustment,
            is_exclusive=buyer.is_exclusive,
        )

    def worth(self, bid_micros: int) -> int:
        """What such a bid of his counts for among the others, in micros; never less for a higher bid."""
        if self.adjustment is None:
            return bid_micros
        factor = self.adjustment.factor
        return bid_micros * factor.numerator // factor.denominator + self.adjustment.amount_micros


_make_bidder = maker(Bidder)

Place: TypeAlias = tuple[int | float | str, ...]
PlaceOf: TypeAlias = Callable[[Bidder, int, int], Place]  # buyer, bid in micros, seed


def place(mode: RoutingMode, bidder: Bidder, seed: int) -> Place:
    """Where a bid stands, smaller is better, and no two buyers' alike; only `weighted` looks at the seed."""
    return ROUTING_MODES[mode](bidder, bidder.bid_micros, seed)


def rank(mode: RoutingMode, bidders: Iterable[Bidder], seed: int) -> list[Bidder]:
    """The bidders, best first. Their order in does not matter."""
    return sorted(bidders, key=lambda bidder: place(mode, bidder, seed))


def bar_of(mode: RoutingMode, bids: Sequence[tuple[Place, Bidder]], sell_to: int) -> Place | None:
    """What a further bid has to stand before to change who is chosen, of the bids best first; None: any bid might.

    An exclusive buyer takes no place among those who share. Where he stands first and has it alone, only who stands
    before him matters; by highest_bid it takes all of them to tell.
    """
    if sell_to == 1:
        return bids[0][0] if bids else None
    if mode is not RoutingMode.HIGHEST_BID and bids and bids[0][1].is_exclusive:
        return bids[0][0]
    shared = [place for place, bidder in bids if not bidder.is_exclusive]
    return shared[sell_to - 1] if len(shared) >= sell_to else None


def can_still_win(mode: RoutingMode, open_buyer: Bidder, bar: Place | None, seed: int) -> bool:
    """Whether a buyer who has not answered could still stand before `bar`. His `bid_micros` does not count."""
    return bar is None or ROUTING_MODES[mode](open_buyer, MAX_MICROS, seed) < bar


def choose(mode: RoutingMode, ranked: Sequence[Bidder], sell_to: int) -> list[Bidder]:
    """Who gets the lead, of the bidders best first: one alone, or up to `sell_to` who share it.

    By highest_bid an exclusive buyer has it when his bid is worth more than theirs together, in the other modes when he
    stands before all of them.
    """
    if sell_to == 1:
        return list(ranked[:1])
    shared = [bidder for bidder in ranked if not bidder.is_exclusive][:sell_to]
    alone = next((bidder for bidder in ranked if bidder.is_exclusive), None)
    if alone is None or not shared:
        return shared or [alone] if alone else shared
    if mode is RoutingMode.HIGHEST_BID:
        is_alone = alone.worth(alone.bid_micros) > sum(each.worth(each.bid_micros) for each in shared)
    else:
        is_alone = alone is ranked[0]
    return [alone] if is_alone else shared


def _by_bid(bidder: Bidder, bid_micros: int, seed: int) -> Place:
    """Highest bid, then lowest priority number."""
    return -bidder.worth(bid_micros), bidder.priority, bidder.buyer


def _by_priority(bidder: Bidder, bid_micros: int, seed: int) -> Place:
    """Lowest priority number, then highest bid."""
    return bidder.priority, -bidder.worth(bid_micros), bidder.buyer


def _by_turn(bidder: Bidder, bid_micros: int, seed: int) -> Place:
    """Longest since the last sale; who never sold stands first. Then lowest priority number."""
    return bidder.turn_ms, bidder.priority, bidder.buyer


def _by_weight(bidder: Bidder, bid_micros: int, seed: int) -> Place:
    """A draw in which a buyer's chance to be next is his weight's share among those still in."""
    return _draw(seed, bidder.buyer, bidder.weight), bidder.priority, bidder.buyer


ROUTING_MODES: dict[RoutingMode, PlaceOf] = {
    RoutingMode.HIGHEST_BID: _by_bid,
    RoutingMode.PRIORITY: _by_priority,
    RoutingMode.WEIGHTED: _by_weight,
    RoutingMode.ROUND_ROBIN: _by_turn,
}

_HASH_BYTES = 8
_LN_2 = 0.6931471805599453
_ATANH_TERMS = tuple(1 / odd for odd in range(21, 0, -2))


@functools.lru_cache(maxsize=4096)
def _draw(seed: int, buyer: str, weight: int) -> float:
    """An exponential waiting time with rate `weight`, drawn from (seed, buyer) alone; the shortest wins.

    Efraimidis and Spirakis' sampling without replacement: the largest u ** (1 / weight) is the smallest
    -ln(u) / weight. Kept for a while, because an auction asks again with every answer.
    """
    if weight <= 0:
        return math.inf
    digest = hashlib.blake2b(f"{seed}:{buyer}".encode(), digest_size=_HASH_BYTES).digest()
    uniform = (int.from_bytes(digest) + 1) / 2 ** (8 * _HASH_BYTES)  # above 0, at most 1
    return -_ln(uniform) / weight


def _ln(number: float) -> float:
    """The natural logarithm, made of + - * / alone, so that a stored auction replays alike on every machine.

    IEEE 754 fixes those to the last bit; math.log is the platform's. With z = (m - 1) / (m + 1) the logarithm of
    m is 2 (z + z³/3 + z⁵/5 + …); for m from √½ to √2, 11 terms are exact to a few last bits.
    """
    mantissa, exponent = math.frexp(number)
    if mantissa < 0.7071:
        mantissa, exponent = mantissa * 2, exponent - 1
    ratio = (mantissa - 1) / (mantissa + 1)
    square = ratio * ratio
    total = 0.0
    for term in _ATANH_TERMS:
        total = total * square + term
    return 2 * ratio * total + exponent * _LN_2
