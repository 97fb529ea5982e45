"""Blocks: which slots of a hot cap a process takes ahead, and from where each of its takes is met. Pure.

A cap that many processes sell against is one row that their transactions wait for in turn. A process that takes from
it often leases a block of it: one take for many leads. Nothing here is trusted: each take is guarded in the store, and
what this view of things gets wrong is met in the next way, `SHARED` after `LEASE` and `BLOCK`, `RECALL` after `SHARED`.
Only where that fails too the cap is full.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from lexchange.frozen import frozen
from lexchange.lead import CapTake

SECOND = 1.0
"""How long takes are counted."""


class Way(Enum):
    """From where a take is met."""

    LEASE = auto()  # from this process's own lease
    BLOCK = auto()  # from the shared counter, with a block for the lease
    SHARED = auto()  # from the shared counter
    RECALL = auto()  # from the shared counter, once everybody's leases are given back to it


@frozen
class Draw:
    """One take, and the way to meet it. `block` is what the lease gets besides.

    `worker` is the process that leases, and so wants to hear what is used of the counter; empty for one that does not.
    """

    take: CapTake
    way: Way = Way.SHARED
    worker: str = ""
    block: int = 0


@frozen
class BlockRule:
    """When a counter is hot, and how much of what is left of it may be leased at once."""

    hot_per_s: int = 50  # takes in this process
    seconds: int = 4  # a block is what so many take,
    share: int = 8  # at most so big a part of what is left,
    fewest: int = 8  # and worth at least so many takes, else it is not taken
    idle_s: float = 1.0  # without a take; then the lease is given back


@dataclass(slots=True, kw_only=True)
class _Counter:
    """What this process knows of a counter: how often it takes from it, what is left of it, and of its own lease."""

    since: float
    takes: int = 0
    amount: int = 0
    past_takes: int = 0
    past_amount: int = 0
    last_take: float = 0.0
    remaining: int | None = None
    lease: int = 0

    def count(self, amount: int, now: float) -> None:
        """One more take."""
        if now - self.since >= SECOND:
            is_adjacent = now - self.since < 2 * SECOND
            self.past_takes, self.past_amount = (self.takes, self.amount) if is_adjacent else (0, 0)
            self.takes = self.amount = 0
            self.since = now
        self.takes += 1
        self.amount += amount
        self.last_take = now


class Blocks:
    """One process's view of the counters that it takes from. `now` is on any clock that never goes back."""

    def __init__(self, worker: str, rule: BlockRule) -> None:
        self.worker = worker
        self._rule = rule
        self._counters: dict[str, _Counter] = {}

    def draws(self, takes: Iterable[CapTake], kept: Collection[str], now: float) -> list[Draw]:
        """How to meet these takes. Of `kept` counters nothing is leased."""
        return [self._shared(take) if take.counter in kept else self._draw(take, now) for take in takes]

    def undone(self, draws: Iterable[Draw]) -> None:
        """Their unit changed nothing."""
        for draw in draws:
            counter = self._counters.get(draw.take.counter)
            if counter is None:
                continue
            if draw.way is Way.LEASE:
                counter.lease += draw.take.amount
            elif draw.way is Way.BLOCK:
                self.missed(draw)

    def missed(self, draw: Draw) -> None:
        """Its lease had less than we thought, or the counter no room for its block."""
        counter = self._counters.get(draw.take.counter)
        if counter is not None:
            counter.lease, counter.remaining = 0, None

    def stands(self, take: CapTake, used: int) -> None:
        """What was used of a counter, leases included, right after this take."""
        counter = self._counters.get(take.counter)
        if counter is not None:
            counter.remaining = take.limit - used

    def busy(self, now: float) -> set[str]:
        """The counters that are not idle; the others are forgotten."""
        idle_s = self._rule.idle_s
        self._counters = {name: each for name, each in self._counters.items() if now - each.last_take < idle_s}
        return set(self._counters)

    def _draw(self, take: CapTake, now: float) -> Draw:
        counter = self._counters.get(take.counter)
        if counter is None:
            counter = self._counters[take.counter] = _Counter(since=now)
        counter.count(take.amount, now)
        if counter.lease >= take.amount > 0:
            counter.lease -= take.amount
            return Draw(take=take, way=Way.LEASE, worker=self.worker)
        block = self._block(counter, take)
        if block == 0:
            return self._shared(take)
        counter.lease += block
        return Draw(take=take, way=Way.BLOCK, worker=self.worker, block=block)

    def _shared(self, take: CapTake) -> Draw:
        return Draw(take=take, worker=self.worker)

    def _block(self, counter: _Counter, take: CapTake) -> int:
        """As much as some seconds take, while that is a small part of what is left; 0 where it does not pay."""
        takes = max(counter.takes, counter.past_takes)
        if takes < self._rule.hot_per_s or counter.remaining is None:
            return 0
        wanted = max(counter.amount, counter.past_amount) * self._rule.seconds
        block = min(wanted, (counter.remaining - take.amount) // self._rule.share)
        return block if block >= self._rule.fewest * max(take.amount, 1) else 0


def first_way(draws: Sequence[Draw], missed: Draw) -> list[Draw]:
    """The draws, with the one that has missed met from the shared counter, where there is more by now."""
    return [replace(draw, way=Way.SHARED) if draw == missed else draw for draw in draws]


def next_way(draws: Sequence[Draw], missed: Draw) -> list[Draw]:
    """The draws with the one that has missed met in its next way."""
    way = Way.RECALL if missed.way is Way.SHARED else Way.SHARED
    return [replace(draw, way=way, block=0) if draw == missed else draw for draw in draws]
