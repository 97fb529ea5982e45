"""Auction: pings the eligible buyers at once and settles as soon as no open buyer can change the winner.

Every buyer yields a BuyerPing, never an exception. Who may be asked is decided before; what the winner's bid means
in money is `payout.py`. Late answers are still heard for a grace time and handed to `on_late`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

from lexchange.background import Background
from lexchange.buyers.answers import Reading, Verdict
from lexchange.buyers.client import BuyerAnswer, BuyerClient, BuyerFailure, BuyerRequest, FailureKind
from lexchange.buyers.mapping import MappingValues, UnmappableLead
from lexchange.campaign import Buyer, PayoutRule, Routing
from lexchange.catalog import LiveBuyer
from lexchange.config import Limits
from lexchange.lead import BuyerPing, PingOutcome, SkipReason
from lexchange.money import format_micros
from lexchange.payout import source_payout
from lexchange.routing import Bidder, can_still_win, rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What all buyers of one auction are asked under. `deadline` is the caller's, on the loop's clock."""

    routing: Routing
    payout: PayoutRule
    values: MappingValues
    seed: int
    turns: dict[str, int]
    now_ms: int
    deadline: float | None


class Auction:
    """One fan-out. `run()` returns when the winner is certain; `pings` then holds every asked buyer's part."""

    def __init__(
        self,
        terms: Terms,
        *,
        client: BuyerClient,
        limits: Limits,
        background: Background,
        on_late: Callable[[list[BuyerPing]], Awaitable[None]],
    ) -> None:
        self._terms = terms
        self._client = client
        self._limits = limits
        self._background = background
        self._on_late = on_late
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._settled: asyncio.Future[None] = self._loop.create_future()
        self._open: dict[str, Bidder] = {}  # asked, not answered, not timed out
        self._unheard = 0  # calls still running, timed out or not
        self._bids: list[Bidder] = []
        self._best: Bidder | None = None
        self._late: list[BuyerPing] = []
        self.pings: dict[str, BuyerPing] = {}

    async def run(self, buyers: Iterable[LiveBuyer]) -> list[Bidder]:
        """Ask the buyers; returns the bids, best first. Cancelling it drops the calls under way."""
        timers: dict[float, list[str]] = {}
        tasks = []
        for live in buyers:
            if live.ping is None:
                self._stand_fixed(live.buyer)
            elif request := self._prepare(live):
                deadline = self._deadline(live)
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
        for name in self._open:
            self.pings[name] = replace(self.pings[name], outcome=PingOutcome.OPEN)
        return rank(self._terms.routing.mode, self._bids, self._terms.seed)

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
        self._open[buyer.buyer] = self._bidder(buyer)
        self._unheard += 1
        self.pings[buyer.buyer] = BuyerPing(buyer=buyer.buyer, outcome=PingOutcome.OPEN, asked_ms=self._terms.now_ms)
        return request

    def _skip(self, buyer: Buyer, skip: SkipReason, detail: str) -> None:
        self.pings[buyer.buyer] = BuyerPing(buyer=buyer.buyer, outcome=PingOutcome.NOT_ASKED, skip=skip, detail=detail)

    def _deadline(self, live: LiveBuyer) -> float:
        assert live.ping is not None
        own_ms = min(live.ping.delivery.timeout_ms, self._terms.routing.ping_timeout_ms)
        deadline = self._started + own_ms / 1000
        if self._terms.deadline is None:
            return deadline
        return min(deadline, self._terms.deadline - self._limits.answer_reserve_ms / 1000)

    async def _ask(self, live: LiveBuyer, request: BuyerRequest, deadline: float) -> None:
        answer = await self._client.send(request, deadline=deadline + self._limits.late_grace_ms / 1000)
        self._unheard -= 1
        self._hear(live, answer)
        if not self._settled.done():
            self._settle_if_certain()
        elif self._unheard == 0 and self._late:
            await self._on_late(self._late)

    def _hear(self, live: LiveBuyer, answer: BuyerAnswer | BuyerFailure) -> None:
        """Keep what a buyer answered; in time it counts, after his time-out or the decision it is only recorded."""
        name = live.buyer.buyer
        ping = replace(
            self._judge(live, answer),
            asked_ms=self._terms.now_ms,
            latency_us=round((self._loop.time() - self._started) * 1_000_000),
        )
        bidder = self._open.pop(name, None)
        if bidder is not None and not self._settled.done():
            self.pings[name] = ping
            if ping.outcome is PingOutcome.BID and ping.bid_micros is not None:
                self._bid(replace(bidder, bid_micros=ping.bid_micros))
        elif isinstance(answer, BuyerAnswer):
            self._keep_late(replace(ping, outcome=PingOutcome.LATE))
        elif self.pings[name].outcome is PingOutcome.OPEN:
            self._keep_late(ping)

    def _keep_late(self, ping: BuyerPing) -> None:
        self.pings[ping.buyer] = ping
        self._late.append(ping)

    def _time_out(self, names: list[str]) -> None:
        for name in names:
            if self._open.pop(name, None):
                took_us = round((self._loop.time() - self._started) * 1_000_000)
                self.pings[name] = replace(self.pings[name], outcome=PingOutcome.TIMED_OUT, latency_us=took_us)
        self._settle_if_certain()

    def _settle_if_certain(self) -> None:
        terms = self._terms
        mode = terms.routing.mode
        if self._settled.done():
            return
        if not any(can_still_win(mode, bidder, self._best, terms.seed) for bidder in self._open.values()):
            self._settled.set_result(None)

    def _bidder(self, buyer: Buyer) -> Bidder:
        return Bidder(
            buyer=buyer.buyer,
            bid_micros=0,
            priority=buyer.priority,
            weight=buyer.weight,
            turn_ms=self._terms.turns.get(buyer.buyer, 0),
        )

    def _bid(self, bidder: Bidder) -> None:
        self._bids.append(bidder)
        best = [bidder] if self._best is None else [self._best, bidder]
        self._best = rank(self._terms.routing.mode, best, self._terms.seed)[0]

    def _stand_fixed(self, buyer: Buyer) -> None:
        """A buyer without a ping endpoint stands in the auction with his configured bid."""
        assert buyer.bid_micros is not None
        ping = self._price(BuyerPing(buyer=buyer.buyer, outcome=PingOutcome.BID, detail="fixed bid"), buyer.bid_micros)
        self.pings[buyer.buyer] = ping
        if ping.outcome is PingOutcome.BID:
            self._bid(replace(self._bidder(buyer), bid_micros=buyer.bid_micros))

    def _judge(self, live: LiveBuyer, answer: BuyerAnswer | BuyerFailure) -> BuyerPing:
        """What a buyer's answer, or its absence, amounts to."""
        name = live.buyer.buyer
        if isinstance(answer, BuyerFailure):
            outcome = {
                FailureKind.TIMEOUT: PingOutcome.TIMED_OUT,
                FailureKind.MALFORMED: PingOutcome.INVALID_ANSWER,
                FailureKind.TOO_LARGE: PingOutcome.INVALID_ANSWER,
            }.get(answer.kind, PingOutcome.UNREACHABLE)
            return BuyerPing(buyer=name, outcome=outcome, detail=f"{answer.kind}: {answer.detail}")
        assert live.ping is not None
        reading = live.ping.read(answer)
        ping = self._read(live.buyer, reading)
        text = answer.body.decode("utf-8", "replace")
        if ping.outcome is not PingOutcome.BID:
            text = text[: self._limits.stored_answer_bytes]
        return replace(ping, http_status=answer.status, answer=text, content_type=answer.content_type)

    def _read(self, buyer: Buyer, reading: Reading) -> BuyerPing:
        def outcome(kind: PingOutcome, detail: str) -> BuyerPing:
            return BuyerPing(buyer=buyer.buyer, outcome=kind, detail=detail)

        if reading.verdict is Verdict.UNREADABLE:
            return outcome(PingOutcome.INVALID_ANSWER, reading.reason or "the answer could not be read")
        if reading.verdict is Verdict.REJECTED:
            return outcome(PingOutcome.NO_BID, reading.reason)
        bid_micros = reading.bid_micros if reading.bid_micros is not None else buyer.bid_micros
        if bid_micros is None:
            return outcome(PingOutcome.NO_BID, reading.bid_problem or "accepted without a bid")
        return self._price(outcome(PingOutcome.BID, reading.reason), bid_micros)

    def _price(self, ping: BuyerPing, bid_micros: int) -> BuyerPing:
        """A bid counts when it reaches the floor and covers the source's payout."""
        floor = self._terms.routing.min_bid_micros
        detail = ping.detail
        outcome = PingOutcome.BID
        if bid_micros < floor:
            outcome, detail = PingOutcome.BELOW_FLOOR, f"under min_bid {format_micros(floor)}"
        elif source_payout(self._terms.payout, bid_micros) is None:
            outcome, detail = PingOutcome.BELOW_FLOOR, "does not cover the source's payout"
        return replace(ping, outcome=outcome, detail=detail, bid_micros=bid_micros)
