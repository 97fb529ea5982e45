"""Auction: pings the eligible buyers at once and settles as soon as no open buyer can change the winner.

Every buyer yields a BuyerPing, never an exception. Who may be asked is decided before; what the winner's bid means
in money is `payout.py`. Late answers are still heard for a grace time and handed to `on_late`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import field, replace

from lexchange.background import Background
from lexchange.breaker import Breaker
from lexchange.buyers.answers import Reading, Verdict
from lexchange.buyers.client import BuyerAnswer, BuyerClient, BuyerFailure, BuyerRequest, FailureKind
from lexchange.buyers.documents import answer_text
from lexchange.buyers.mapping import MappingValues, UnmappableLead
from lexchange.campaign import Buyer, PayoutRule, Routing
from lexchange.catalog import LiveBuyer
from lexchange.config import Limits
from lexchange.errors import StorageError
from lexchange.frozen import frozen
from lexchange.gates import Gates
from lexchange.lead import BuyerPing, PingOutcome, SkipReason
from lexchange.money import format_micros
from lexchange.payout import source_payout
from lexchange.routing import Bidder, can_still_win, rank
from lexchange.telemetry import log_event

FAILURES = {
    FailureKind.TIMEOUT: PingOutcome.TIMED_OUT,
    FailureKind.MALFORMED: PingOutcome.INVALID_ANSWER,
    FailureKind.TOO_LARGE: PingOutcome.INVALID_ANSWER,
}

READABLE = frozenset({PingOutcome.BID, PingOutcome.NO_BID, PingOutcome.BELOW_FLOOR})  # a no is a sign of health, too


@frozen
class Terms:
    """What all buyers of one auction are asked under. `deadline` is the caller's, on the loop's clock."""

    routing: Routing
    min_bid_micros: int
    payout: PayoutRule
    values: MappingValues
    seed: int
    turns: dict[str, int]
    deadline: float | None


@frozen
class Bids:
    """How an auction went: every buyer's part in the file's order, the bids best first, and what ranked them."""

    buyers: list[BuyerPing]
    ranked: list[Bidder]
    seed: int = 0
    turns: dict[str, int] = field(default_factory=dict)


@frozen
class Judgement:
    """What a buyer's answer amounts to."""

    outcome: PingOutcome
    detail: str
    bid_micros: int | None = None


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
        self._started_s = time.perf_counter()  # for latencies: the loop's clock may tick in milliseconds
        self._settled: asyncio.Future[None] = self._loop.create_future()
        self._open: dict[str, Bidder] = {}  # asked, not answered, not timed out
        # Whose breaker has not heard yet what came of his ping, with the end of his own time-out.
        self._watched: dict[str, tuple[Breaker, float]] = {}
        self._unheard = 0  # calls still running, timed out or not
        self._bids: list[Bidder] = []
        self._top: list[Bidder] = []  # the best bids so far, as many as may share the lead
        self._late: list[BuyerPing] = []
        self.pings: dict[str, BuyerPing] = {}

    async def run(self, buyers: Iterable[LiveBuyer]) -> list[Bidder]:
        """Ask the buyers; returns the bids, best first. Cancelling it drops the calls under way."""
        timers: dict[float, list[str]] = {}
        tasks = []
        for live in buyers:
            gate = self._gates.gate(live.owner, live.buyer.breaker)
            if why := gate.why_shut(self._started):
                self._skip(live.buyer, SkipReason.BREAKER_OPEN, why)
            elif live.ping is None:
                self._stand_fixed(live.buyer)
            elif request := self._prepare(live):
                gate.ping.admit(self._started)
                own_deadline = self._own_deadline(live)
                self._watched[live.buyer.buyer] = gate.ping, own_deadline
                deadline = self._deadline(own_deadline)
                timers.setdefault(deadline, []).append(live.buyer.buyer)
                tasks.append(self._background.spawn(self._ask(live, request, deadline)))
        handles = [self._loop.call_at(at, self._time_out, names) for at, names in timers.items()]
        try:
            self._settle_if_certain()
            await self._settled
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        finally:
            for handle in handles:
                handle.cancel()
        for bidder in self._bids:
            if bidder.adjustment:
                worth_micros = bidder.worth(bidder.bid_micros)
                self.pings[bidder.buyer] = replace(self.pings[bidder.buyer], worth_micros=worth_micros)
        return rank(self._terms.routing.mode, self._bids, self._terms.seed)

    # ---- asking ----

    def _prepare(self, live: LiveBuyer) -> BuyerRequest | None:
        """The request to send; None, with the reason kept, when this buyer cannot be asked."""
        assert live.ping is not None
        buyer = live.buyer
        if self._terms.deadline is not None:
            left_ms = (self._terms.deadline - self._started) * 1000 - self._limits.answer_reserve_ms
            if left_ms < min(self._limits.ping_timeout_floor_ms, live.ping.delivery.timeout_ms):
                self._skip(buyer, SkipReason.NO_TIME, f"{max(0, left_ms):.0f} ms left")
                return None
        try:
            request = live.ping.build(self._terms.values)
        except UnmappableLead as error:
            self._skip(buyer, SkipReason.UNMAPPABLE, str(error))
            return None
        self._open[buyer.buyer] = Bidder.of(buyer, 0, self._terms.turns)
        self._unheard += 1
        return request

    def _skip(self, buyer: Buyer, skip: SkipReason, detail: str) -> None:
        self.pings[buyer.buyer] = BuyerPing(buyer=buyer.buyer, outcome=PingOutcome.NOT_ASKED, skip=skip, detail=detail)

    def _own_deadline(self, live: LiveBuyer) -> float:
        assert live.ping is not None
        own_ms = min(live.ping.delivery.timeout_ms, self._terms.routing.ping_timeout_ms)
        return self._started + own_ms / 1000

    def _deadline(self, own_deadline: float) -> float:
        if self._terms.deadline is None:
            return own_deadline
        return min(own_deadline, self._terms.deadline - self._limits.answer_reserve_ms / 1000)

    async def _ask(self, live: LiveBuyer, request: BuyerRequest, deadline: float) -> None:
        try:
            answer = await self._client.send(request, deadline=deadline + self._limits.late_grace_ms / 1000)
            ping = self._hear(live, answer)
        except Exception as error:  # noqa: BLE001 - whatever one buyer's answer breaks costs nobody else's bid
            log_event("ping_answer_error", buyer=live.buyer.buyer, error=type(error).__name__)
            ping = self._unanswered(live.buyer.buyer, PingOutcome.INVALID_ANSWER, "its answer could not be handled")
        self._tell_breaker(ping.buyer, ping.outcome)
        self._unheard -= 1
        self._count(ping)
        if self._unheard == 0 and self._late:
            await self._hand_over_late()

    # ---- hearing ----

    def _count(self, ping: BuyerPing) -> None:
        """In time an answer counts; after its buyer's time-out or the decision it is only recorded."""
        bidder = self._open.pop(ping.buyer, None)
        if bidder is None:
            self._keep_late(ping)
            return
        self.pings[ping.buyer] = ping
        if ping.outcome is PingOutcome.BID:
            self._bid(bidder.with_bid(ping.bid_micros or 0))
        self._settle_if_certain()

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

    async def _hand_over_late(self) -> None:
        try:
            await self._on_late(self._late)
        except StorageError as error:
            log_event("late_answers_lost", count=len(self._late), error=str(error))

    def _tell_breaker(self, name: str, outcome: PingOutcome) -> None:
        """Once for each buyer: what he does after his own time-out is no second failure, nor a success.

        A time-out that was the caller's says nothing of the buyer.
        """
        breaker, own_deadline = self._watched.get(name, (None, 0.0))
        now = self._loop.time()
        if breaker is None or (outcome is PingOutcome.TIMED_OUT and now < own_deadline):
            return
        del self._watched[name]
        breaker.record(outcome in READABLE and now <= own_deadline, now)

    def _time_out(self, names: list[str]) -> None:
        for name in names:
            if self._open.pop(name, None):
                self._tell_breaker(name, PingOutcome.TIMED_OUT)
                self.pings[name] = self._unanswered(name, PingOutcome.TIMED_OUT)
        self._settle_if_certain()

    def _settle_if_certain(self) -> None:
        terms = self._terms
        mode = terms.routing.mode
        if self._settled.done():
            return
        last = self._top[-1] if len(self._top) == terms.routing.sell_to else None
        if any(can_still_win(mode, bidder, last, terms.seed) for bidder in self._open.values()):
            return
        self._settled.set_result(None)
        self.pings |= {name: self._unanswered(name, PingOutcome.OPEN) for name in self._open}
        self._open.clear()

    def _bid(self, bidder: Bidder) -> None:
        self._bids.append(bidder)
        routing = self._terms.routing
        self._top = rank(routing.mode, [*self._top, bidder], self._terms.seed)[: routing.sell_to]

    def _stand_fixed(self, buyer: Buyer) -> None:
        """A buyer without a ping endpoint stands in the auction with his configured bid."""
        assert buyer.bid_micros is not None
        judged = self._price(buyer.bid_micros, "fixed bid")
        self.pings[buyer.buyer] = BuyerPing(
            buyer=buyer.buyer, outcome=judged.outcome, detail=judged.detail, bid_micros=judged.bid_micros
        )
        if judged.outcome is PingOutcome.BID:
            self._bid(Bidder.of(buyer, buyer.bid_micros, self._terms.turns))

    # ---- one buyer's part ----

    def _hear(self, live: LiveBuyer, answer: BuyerAnswer | BuyerFailure) -> BuyerPing:
        """What a buyer's answer, or its absence, amounts to."""
        name = live.buyer.buyer
        if isinstance(answer, BuyerFailure):
            outcome = FAILURES.get(answer.kind, PingOutcome.UNREACHABLE)
            return self._unanswered(name, outcome, f"{answer.kind}: {answer.detail}")
        assert live.ping is not None
        judged = self._judge(live.buyer, live.ping.read(answer))
        text = answer_text(answer.body, answer.content_type)
        is_bid = judged.outcome is PingOutcome.BID
        return BuyerPing(
            buyer=name,
            outcome=judged.outcome,
            detail=judged.detail,
            bid_micros=judged.bid_micros,
            asked_ms=self._terms.values.now_ms,
            latency_us=self._latency_us(),
            http_status=answer.status,
            answer=text if is_bid else text[: self._limits.stored_answer_bytes],
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

    def _judge(self, buyer: Buyer, reading: Reading) -> Judgement:
        if reading.verdict is Verdict.UNREADABLE:
            detail = reading.reason or "the answer could not be read"
            return Judgement(outcome=PingOutcome.INVALID_ANSWER, detail=detail)
        if reading.verdict is Verdict.REJECTED:
            return Judgement(outcome=PingOutcome.NO_BID, detail=reading.reason)
        if reading.bid_problem:
            return Judgement(outcome=PingOutcome.NO_BID, detail=reading.bid_problem)
        bid_micros = buyer.bid_micros if reading.bid_micros is None else reading.bid_micros
        if bid_micros is None:
            return Judgement(outcome=PingOutcome.NO_BID, detail="accepted without a bid")
        return self._price(bid_micros, reading.reason)

    def _price(self, bid_micros: int, detail: str) -> Judgement:
        """A bid counts when it reaches the floor and covers the source's payout."""
        floor = self._terms.min_bid_micros
        outcome = PingOutcome.BID
        if bid_micros < floor:
            outcome, detail = PingOutcome.BELOW_FLOOR, f"under min_bid {format_micros(floor)}"
        elif source_payout(self._terms.payout, bid_micros) is None:
            outcome, detail = PingOutcome.BELOW_FLOOR, "does not cover the source's payout"
        return Judgement(outcome=outcome, detail=detail, bid_micros=bid_micros)
