"""Auction: pings the eligible buyers at once and settles as soon as no open buyer can change the winner.

Every buyer yields a BuyerPing, never an exception. Who may be asked is decided before; what an answer amounts to is
`judging.py`, and what the winner's bid means in money `payout.py`. Late answers are still heard for a grace time and
handed to `on_late`.
"""

import asyncio
import time
from bisect import insort
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import field
from functools import partial
from math import inf

from lexchange.background import Background
from lexchange.breaker import Breaker
from lexchange.buyers.call import BuyerCall
from lexchange.buyers.client import BuyerAnswer, BuyerClient, BuyerFailure, BuyerRequest, FailureKind
from lexchange.buyers.connection import CLOCK_TICK_S, Connection, Hear
from lexchange.buyers.documents import answer_text
from lexchange.buyers.mapping import MappingValues, UnmappableLead
from lexchange.campaign import Buyer, Routing
from lexchange.catalog import LiveBuyer
from lexchange.config import Limits
from lexchange.errors import StorageError
from lexchange.frozen import frozen, replace
from lexchange.gates import Gates
from lexchange.judging import judge, weigh
from lexchange.lead import BuyerPing, PingOutcome, SkipReason, make_buyer_ping
from lexchange.routing import Bidder, Place, bar_of, can_still_win, place
from lexchange.telemetry import log_event

BID, TIMED_OUT = PingOutcome.BID, PingOutcome.TIMED_OUT  # as in breaker.py: sooner found than members of their enum

FAILURES = {
    FailureKind.TIMEOUT: TIMED_OUT,
    FailureKind.MALFORMED: PingOutcome.INVALID_ANSWER,
    FailureKind.TOO_LARGE: PingOutcome.INVALID_ANSWER,
}

READABLE = frozenset({BID, PingOutcome.NO_BID, PingOutcome.BELOW_FLOOR})  # a no is a sign of health, too


@frozen
class Terms:
    """What all buyers of one auction are asked under. `deadline` is the caller's, on the loop's clock."""

    routing: Routing
    min_bid_micros: int
    least_bid_micros: int  # that covers the source's payout
    values: MappingValues
    seed: int
    turns: dict[str, int]
    deadline: float | None
    left_micros: Mapping[str, int] = field(default_factory=dict)  # of the budgets of who has some
    hears_all: bool = False  # whoever stands first may drop out later: reject the lead, or have no slot left to hold


@frozen
class Bids:
    """How an auction went: every buyer's part in the file's order, the bids best first, and what ranked them."""

    buyers: list[BuyerPing]
    ranked: list[Bidder]
    seed: int = 0
    turns: dict[str, int] = field(default_factory=dict)


class Asked:
    """A buyer who was asked. `breaker` is None once it has heard what came of his ping."""

    __slots__ = ("as_open", "breaker", "live", "own_deadline")

    def __init__(self, live: LiveBuyer, breaker: Breaker, own_deadline: float) -> None:
        self.live = live
        self.breaker: Breaker | None = breaker
        self.own_deadline = own_deadline  # the end of his own time-out
        self.as_open: Bidder | None = None  # made when it is needed


class Auction:
    """One fan-out. `run()` returns when the winner is certain; `pings` then holds every asked buyer's part."""

    def __init__(
        self,
        terms: Terms,
        *,
        client: BuyerClient,
        limits: Limits,
        background: Background,
        gates: Gates,
        on_late: Callable[[list[BuyerPing]], Awaitable[None]],
    ) -> None:
        self._terms = terms
        self._client = client
        self._gates = gates
        self._limits = limits
        self._background = background
        self._on_late = on_late
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        # What the caller's deadline leaves to buyers.
        self._latest = inf if terms.deadline is None else terms.deadline - limits.answer_reserve_ms / 1000
        self._left_ms = (self._latest - self._started) * 1000
        self._started_s = time.perf_counter()  # for latencies: the loop's clock may tick in milliseconds
        self._settled: asyncio.Future[None] = self._loop.create_future()
        self._open: dict[str, Asked] = {}  # not answered, not timed out
        self._timers: dict[float, list[Asked]] = {}  # by the end of their time
        self._calls: list[tuple[Connection, Hear]] = []  # under way, or over
        self._tasks: list[asyncio.Task[None]] = []  # that wait for a connection
        self._unheard = 0  # of those, timed out or not
        self._all_heard: asyncio.Future[None] | None = None
        self._bids: list[tuple[Place, Bidder]] = []  # best first
        self._bar: Place | None = None  # what a bid has to beat; None: any may win
        self._late: list[BuyerPing] = []
        self.pings: dict[str, BuyerPing] = {}

    async def run(self, buyers: Iterable[LiveBuyer]) -> list[Bidder]:
        """Ask the buyers; returns the bids, best first. Cancelling it drops the calls under way."""
        handles: list[asyncio.TimerHandle] = []
        try:
            for live in buyers:
                self._begin(live)
            handles += [self._loop.call_at(at, self._time_out, asked) for at, asked in self._timers.items()]
            self._settle_if_certain()
            await self._settled
        except BaseException:
            for connection, hear in self._calls:
                connection.abandon(hear)
            for task in self._tasks:
                task.cancel()
            raise
        finally:
            for handle in handles:
                handle.cancel()
            self._calls.clear()  # each holds what hears, which holds this
        if self._unheard or self._late:  # the turn that decided it may have heard others, too
            self._background.spawn(self._hear_late())
        ranked = [bidder for _, bidder in self._bids]
        for bidder in ranked:
            if bidder.adjustment:
                worth_micros = bidder.worth(bidder.bid_micros)
                self.pings[bidder.buyer] = replace(self.pings[bidder.buyer], worth_micros=worth_micros)
        return ranked

    # ---- asking ----

    def _begin(self, live: LiveBuyer) -> None:
        """Ask a buyer, or keep why he is not."""
        gate = self._gates.gate(live.owner, live.buyer.breaker)
        if why := gate.why_shut(self._started):
            self._skip(live.buyer, SkipReason.BREAKER_OPEN, why)
        elif live.ping is None:
            self._stand_fixed(live.buyer)
        elif request := self._build(live.buyer, live.ping):
            gate.ping.admit(self._started)
            self._ask(live, live.ping, request, gate.ping)

    def _build(self, buyer: Buyer, ping: BuyerCall) -> BuyerRequest | None:
        """The request to send; None, with the reason kept, when this buyer cannot be asked."""
        if self._left_ms < self._limits.ping_timeout_floor_ms and self._left_ms < ping.delivery.timeout_ms:
            self._skip(buyer, SkipReason.NO_TIME, f"{max(0, self._left_ms):.0f} ms left")
            return None
        try:
            return ping.build(self._terms.values)
        except UnmappableLead as error:
            self._skip(buyer, SkipReason.UNMAPPABLE, str(error))
            return None

    def _skip(self, buyer: Buyer, skip: SkipReason, detail: str) -> None:
        self.pings[buyer.buyer] = BuyerPing(buyer=buyer.buyer, outcome=PingOutcome.NOT_ASKED, skip=skip, detail=detail)

    def _ask(self, live: LiveBuyer, ping: BuyerCall, request: BuyerRequest, breaker: Breaker) -> None:
        own_ms, most_ms = ping.delivery.timeout_ms, self._terms.routing.ping_timeout_ms
        own_deadline = self._started + (own_ms if own_ms < most_ms else most_ms) / 1000
        deadline = own_deadline if own_deadline < self._latest else self._latest
        asked = Asked(live, breaker, own_deadline)
        self._open[live.buyer.buyer] = asked
        self._timers.setdefault(deadline, []).append(asked)
        self._unheard += 1
        hear = partial(self._hear, asked)
        until = deadline + self._limits.late_grace_ms / 1000
        connection = self._client.send_at_once(request, hear, deadline=until)
        if connection is None:
            self._tasks.append(self._background.spawn(self._send(request, hear, until)))
        else:
            self._calls.append((connection, hear))

    async def _send(self, request: BuyerRequest, hear: Hear, until: float) -> None:
        """As there is no free connection, somebody has to wait for one. Whatever breaks meanwhile, he is heard of."""
        try:
            connection = await self._client.send_soon(request, hear, deadline=until)
        except Exception as error:  # noqa: BLE001 - else the auction would wait for him in vain, and for his late answer
            log_event("ping_call_error", error=type(error).__name__)
            hear(BuyerFailure(kind=FailureKind.MALFORMED, is_sent=True, detail="the call could not be made"))
            return
        if connection is not None and not self._settled.done():
            self._calls.append((connection, hear))

    # ---- hearing ----

    def _hear(self, asked: Asked, answer: BuyerAnswer | BuyerFailure) -> None:
        """In time an answer counts; after its buyer's time-out or the decision it is only recorded."""
        name = asked.live.buyer.buyer
        try:
            ping = self._part(asked.live, answer)
        except Exception as error:  # noqa: BLE001 - whatever one buyer's answer breaks costs nobody else's bid
            log_event("ping_answer_error", buyer=name, error=type(error).__name__)
            ping = self._unanswered(name, PingOutcome.INVALID_ANSWER, "its answer could not be handled")
        self._tell_breaker(asked, ping.outcome)
        self._unheard -= 1
        if self._open.pop(name, None) is None:
            self._keep_late(ping)
        else:
            self.pings[name] = ping
            if ping.outcome is BID:
                self._bid(asked.live.buyer, ping.bid_micros or 0)
            self._settle_if_certain()
        if self._all_heard is not None and not self._unheard:
            self._all_heard.set_result(None)

    def _keep_late(self, ping: BuyerPing) -> None:
        """A failure tells what became of a buyer left open, and nothing new of one who had timed out."""
        if ping.http_status is not None:
            ping = replace(ping, outcome=PingOutcome.LATE)
        elif self.pings[ping.buyer].outcome is not PingOutcome.OPEN:
            return
        if self._settled.done():
            self._late.append(ping)
        else:
            self.pings[ping.buyer] = ping

    async def _hear_late(self) -> None:
        """Wait for whoever has not answered yet, and hand over what he says."""
        self._all_heard = self._loop.create_future()
        if self._unheard:
            await self._all_heard
        if not self._late:
            return
        try:
            await self._on_late(self._late)
        except StorageError as error:
            log_event("late_answers_lost", count=len(self._late), error=str(error))

    def _tell_breaker(self, asked: Asked, outcome: PingOutcome) -> None:
        """Once for each buyer: what he does after his own time-out is no second failure, nor a success.

        A time-out that was the caller's says nothing of the buyer.
        """
        breaker, now = asked.breaker, self._loop.time()
        if breaker is None or (outcome is TIMED_OUT and now < asked.own_deadline - CLOCK_TICK_S):
            return
        asked.breaker = None
        breaker.record(outcome in READABLE and now <= asked.own_deadline, now, self._started)

    def _time_out(self, of_one_time: Iterable[Asked]) -> None:
        for asked in of_one_time:
            name = asked.live.buyer.buyer
            if self._open.pop(name, None):
                self._tell_breaker(asked, TIMED_OUT)
                self.pings[name] = self._unanswered(name, TIMED_OUT)
        self._settle_if_certain()

    def _settle_if_certain(self) -> None:
        if self._settled.done() or self._can_change():
            return
        self._settled.set_result(None)
        for name in self._open:
            self.pings[name] = self._unanswered(name, PingOutcome.OPEN)
        self._open.clear()

    def _can_change(self) -> bool:
        """Whether anybody who is still open may win."""
        if self._bar is None:
            return bool(self._open)
        terms = self._terms
        for asked in reversed(self._open.values()):  # who was asked last mostly answers last
            if asked.as_open is None:
                asked.as_open = Bidder.of(asked.live.buyer, 0, terms.turns)
            if can_still_win(terms.routing.mode, asked.as_open, self._bar, terms.seed):
                return True
        return False

    def _bid(self, buyer: Buyer, bid_micros: int) -> None:
        terms = self._terms
        bidder = Bidder.of(buyer, bid_micros, terms.turns)
        insort(self._bids, (place(terms.routing.mode, bidder, terms.seed), bidder))
        if not terms.hears_all:
            self._bar = bar_of(terms.routing.mode, self._bids, terms.routing.sell_to)

    def _stand_fixed(self, buyer: Buyer) -> None:
        """A buyer without a ping endpoint stands in the auction with his configured bid."""
        assert buyer.bid_micros is not None
        terms = self._terms
        left_micros = terms.left_micros.get(buyer.buyer)
        outcome, detail, bid_micros = weigh(
            buyer.bid_micros, "fixed bid", terms.min_bid_micros, terms.least_bid_micros, left_micros
        )
        self.pings[buyer.buyer] = BuyerPing(buyer=buyer.buyer, outcome=outcome, detail=detail, bid_micros=bid_micros)
        if outcome is BID:
            self._bid(buyer, buyer.bid_micros)

    # ---- one buyer's part ----

    def _part(self, live: LiveBuyer, answer: BuyerAnswer | BuyerFailure) -> BuyerPing:
        """What a buyer's answer, or its absence, amounts to."""
        name = live.buyer.buyer
        if isinstance(answer, BuyerFailure):
            outcome = FAILURES.get(answer.kind, PingOutcome.UNREACHABLE)
            return self._unanswered(name, outcome, f"{answer.kind}: {answer.detail}")
        assert live.ping is not None
        terms = self._terms
        reading, left_micros = live.ping.read(answer), terms.left_micros.get(name)
        outcome, detail, bid_micros = judge(
            reading, live.buyer.bid_micros, terms.min_bid_micros, terms.least_bid_micros, left_micros
        )
        text = answer_text(answer.body, answer.content_type)
        return make_buyer_ping(
            buyer=name,
            outcome=outcome,
            detail=detail,
            bid_micros=bid_micros,
            asked_ms=terms.values.now_ms,
            latency_us=self._latency_us(),
            http_status=answer.status,
            answer=text if outcome is BID else text[: self._limits.stored_answer_bytes],
            content_type=answer.content_type,
        )

    def _unanswered(self, name: str, outcome: PingOutcome, detail: str = "") -> BuyerPing:
        return BuyerPing(
            buyer=name,
            outcome=outcome,
            detail=detail,
            asked_ms=self._terms.values.now_ms,
            latency_us=None if outcome is PingOutcome.OPEN else self._latency_us(),
        )

    def _latency_us(self) -> int:
        return round((time.perf_counter() - self._started_s) * 1_000_000)
