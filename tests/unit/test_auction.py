import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import orjson
import pytest

from lexchange.auction import Auction, Terms
from lexchange.background import Background
from lexchange.breaker import DEFAULT_BREAKER, BreakerRule, BreakerState
from lexchange.buyers.client import BuyerAnswer, BuyerClient, BuyerFailure, BuyerRequest, FailureKind
from lexchange.buyers.connection import Hear
from lexchange.buyers.mapping import MappingValues
from lexchange.campaign import (
    AnswerRule,
    AnswerRules,
    Buyer,
    Cast,
    MappedField,
    Routing,
    RoutingMode,
)
from lexchange.config import Limits
from lexchange.errors import StorageError
from lexchange.gates import Gates
from lexchange.lead import BuyerPing, PingOutcome, SkipReason
from tests.buyers.calls import buyer_client, cancelled, request, until
from tests.buyers.raw_buyer import Line, RawBuyer, raw_buyer
from tests.unit.examples import DATA, NOW_MS, a_buyer, a_route, an_endpoint

SLOW_S = 0.25
Reply = BuyerAnswer | BuyerFailure | Exception
BROKEN = cast(BuyerAnswer, object())  # whatever reads it, breaks


def answer(body: bytes, *, status: int = 200, content_type: str = "application/json") -> BuyerAnswer:
    return BuyerAnswer(status=status, content_type=content_type, body=body)


def bid(units: float | str) -> BuyerAnswer:
    return answer(orjson.dumps({"ok": "yes", "bid": units}))


class FakeClient:
    """Answers by host, after a while; gives up at the deadline as the real one does."""

    def __init__(self, replies: dict[str, Reply], delays_s: dict[str, float]) -> None:
        self._replies = replies
        self._delays_s = delays_s
        self.asked: list[str] = []

    def send_at_once(self, request: BuyerRequest, hear: Hear, *, deadline: float) -> None:
        """Never: no connection is free."""

    async def send_soon(self, request: BuyerRequest, hear: Hear, *, deadline: float) -> None:
        name = request.endpoint.host.removesuffix(".example")
        self.asked.append(name)
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.sleep(self._delays_s.get(name, 0))
        except TimeoutError:
            hear(BuyerFailure(kind=FailureKind.TIMEOUT, is_sent=True, detail="no answer in time"))
        else:
            if isinstance(reply := self._replies[name], Exception):
                raise reply
            hear(reply)


class Held:
    """An auction that was held: who bid, best first; what became of each buyer; what came late."""

    def __init__(self, client: FakeClient | BuyerClient, *, late_error: Exception | None = None) -> None:
        self.client = cast(BuyerClient, client)
        self.background = Background()
        self.gates = Gates(lambda *_: None)
        self.late: list[BuyerPing] = []
        self.ranked: list[str] = []
        self.pings: dict[str, BuyerPing] = {}
        self.took_s = 0.0
        self._late_error = late_error

    async def on_late(self, late: list[BuyerPing]) -> None:
        if self._late_error:
            raise self._late_error
        self.late += late

    async def run(self, buyers: Sequence[Buyer], *, left_s: float | None = None, **terms: Any) -> "Held":
        route = a_route(*buyers)
        now_s = asyncio.get_running_loop().time()
        auction = Auction(
            Terms(
                routing=terms.get("routing", Routing()),
                min_bid_micros=terms.get("min_bid_micros", terms.get("routing", Routing()).min_bid_micros),
                least_bid_micros=terms.get("least_bid_micros", route.least_bid_micros),
                values=MappingValues(
                    lead=DATA, ping_id="PING-1", campaign_id="home", campaign_name="Home", src="S", now_ms=NOW_MS
                ),
                seed=0,
                turns={},
                deadline=None if left_s is None else now_s + left_s,
            ),
            client=self.client,
            limits=Limits(late_grace_ms=500),
            background=self.background,
            gates=self.gates,
            on_late=self.on_late,
        )
        started_s = time.perf_counter()
        self.ranked = [bidder.buyer for bidder in await auction.run(route.live.buyers.values())]
        self.took_s = time.perf_counter() - started_s
        self.pings = dict(auction.pings)
        return self

    def outcomes(self) -> dict[str, PingOutcome]:
        return {name: ping.outcome for name, ping in self.pings.items()}


async def hold(
    buyers: Sequence[Buyer],
    replies: dict[str, Reply],
    delays_s: dict[str, float] | None = None,
    *,
    late_error: Exception | None = None,
    **terms: Any,
) -> Held:
    return await Held(FakeClient(replies, delays_s or {}), late_error=late_error).run(buyers, **terms)


def pinged_by(timeout_ms: int, name: str = "slow", **changes: Any) -> Buyer:
    return a_buyer(name, ping=an_endpoint(name, timeout_ms=timeout_ms, **changes))


# ----------------------------------------------------------------------------------------------- the winner


@pytest.mark.parametrize(
    ("buyers", "replies", "expected"),
    [
        ([a_buyer("a"), a_buyer("b")], {"a": bid(5), "b": bid(7)}, ["b", "a"]),
        ([a_buyer("a", priority=2), a_buyer("b", priority=1)], {"a": bid(7), "b": bid(7)}, ["b", "a"]),
        ([a_buyer("b"), a_buyer("a")], {"a": bid(7), "b": bid(7)}, ["a", "b"]),
        ([a_buyer("a"), a_buyer("b", ping=None, bid_micros=6_000_000)], {"a": bid(5)}, ["b", "a"]),
        ([], {}, []),
    ],
)
async def test_bids_are_ranked_when_all_have_answered(buyers, replies, expected) -> None:
    """The highest bid first, then the lower priority number, then the id; a fixed bid stands beside the others."""
    assert (await hold(buyers, replies)).ranked == expected


async def test_auction_settles_when_no_open_buyer_can_win() -> None:
    """With `priority` the first in line decides: nobody waits for who stands behind him."""
    buyers = [a_buyer("a", priority=1), a_buyer("slow", priority=2)]
    routing = Routing(mode=RoutingMode.PRIORITY)
    held = await hold(buyers, {"a": bid(5), "slow": bid(9)}, {"slow": SLOW_S}, routing=routing)
    assert held.ranked == ["a"]
    assert held.outcomes() == {"a": PingOutcome.BID, "slow": PingOutcome.OPEN}
    assert held.took_s < SLOW_S / 2
    await held.background.drain(1)
    assert [(ping.outcome, ping.bid_micros) for ping in held.late] == [(PingOutcome.LATE, 9_000_000)]


async def test_auction_waits_when_an_open_buyer_may_bid_more() -> None:
    """With `highest_bid` whoever is still asked might win."""
    held = await hold([a_buyer("a"), a_buyer("slow")], {"a": bid(5), "slow": bid(9)}, {"slow": 0.03})
    assert held.ranked == ["slow", "a"]


# ------------------------------------------------------------------------------------------------- time-outs


async def test_buyer_times_out_when_his_own_time_is_over() -> None:
    """A slow buyer costs his own time-out and nobody's bid; what he says afterwards is kept as late."""
    held = await hold([a_buyer("a"), pinged_by(20)], {"a": bid(5), "slow": bid(9)}, {"slow": SLOW_S})
    assert held.ranked == ["a"]
    assert held.outcomes() == {"a": PingOutcome.BID, "slow": PingOutcome.TIMED_OUT}
    assert held.took_s < SLOW_S / 2
    assert (held.pings["slow"].latency_us or 0) >= 15_000
    await held.background.drain(1)
    assert [(ping.outcome, ping.bid_micros) for ping in held.late] == [(PingOutcome.LATE, 9_000_000)]


async def test_buyer_who_times_out_within_a_tick_of_his_own_time_fails() -> None:
    """A timer of uvloop may ring so early: the time-out is his all the same, and his breaker hears of it."""
    buyer = pinged_by(1)
    timed_out = BuyerFailure(kind=FailureKind.TIMEOUT, is_sent=True, detail="no answer in time")
    held = await hold([replace(buyer, breaker=BreakerRule(failures=1))], {"slow": timed_out})
    owner = a_route(buyer).live.buyers["slow"].owner
    assert held.gates.gate(owner, DEFAULT_BREAKER).ping.state is BreakerState.OPEN


async def test_buyer_who_never_answers_is_told_once() -> None:
    """A time-out that is confirmed after the grace adds nothing to what is stored."""
    held = await hold([a_buyer("a"), pinged_by(10)], {"a": bid(5)}, {"slow": 5})
    await held.background.drain(1)
    assert held.late == []


async def test_late_answer_counts_for_nothing_when_others_are_still_asked() -> None:
    """Who answers after his time-out has lost, even if the auction goes on; he is shown as late."""
    delays_s = {"slow": 0.04, "b": 0.1}
    held = await hold([pinged_by(10), a_buyer("b")], {"slow": bid(9), "b": bid(5)}, delays_s)
    assert held.ranked == ["b"]
    assert held.outcomes() == {"slow": PingOutcome.LATE, "b": PingOutcome.BID}
    await held.background.drain(1)
    assert held.late == []


async def test_campaigns_time_bounds_every_buyer() -> None:
    """No buyer has longer than the whole fan-out."""
    held = await hold([a_buyer("slow")], {}, {"slow": 5}, routing=Routing(ping_timeout_ms=20))
    assert held.outcomes() == {"slow": PingOutcome.TIMED_OUT}
    assert held.took_s < SLOW_S


async def test_callers_deadline_bounds_the_auction() -> None:
    """The answer leaves before the caller gives up: his deadline less our own reserve of 30 ms."""
    held = await hold([a_buyer("a"), a_buyer("slow")], {"a": bid(5)}, {"slow": 5}, left_s=0.3)
    assert held.ranked == ["a"]
    assert held.outcomes()["slow"] == PingOutcome.TIMED_OUT
    assert held.took_s < 0.3


@pytest.mark.parametrize(
    ("left_s", "timeout_ms", "is_asked"), [(0.075, 1_000, False), (0.13, 1_000, True), (0.06, 10, True)]
)
async def test_buyer_is_asked_when_there_is_time_for_an_answer(left_s: float, timeout_ms: int, is_asked: bool) -> None:
    """Less than 50 ms, or than his own shorter time-out, are not worth a call: 30 ms are ours."""
    client = FakeClient({"a": bid(5)}, {})
    held = await Held(client).run([pinged_by(timeout_ms, "a")], left_s=left_s)
    assert (client.asked == ["a"]) is is_asked
    assert (held.pings["a"].skip is SkipReason.NO_TIME) is not is_asked


# --------------------------------------------------------------------------------------------------- answers

NO_PATH = AnswerRules(accepted=AnswerRule(path="ok", one_of=("yes",)))
FAILED = BuyerFailure(kind=FailureKind.CONNECT, is_sent=False, detail="ECONNREFUSED")
MALFORMED = BuyerFailure(kind=FailureKind.MALFORMED, is_sent=True, detail="no status line")


@pytest.mark.parametrize(
    ("reply", "outcome", "detail"),
    [
        (bid(5), PingOutcome.BID, ""),
        (answer(b'{"ok":"no","why":"too old"}'), PingOutcome.NO_BID, "too old"),
        (answer(b'{"ok":"yes"}'), PingOutcome.NO_BID, "nothing at bid"),
        (answer(b"oops"), PingOutcome.INVALID_ANSWER, "plain text, not JSON, XML or a form"),
        (bid(0.49), PingOutcome.BELOW_FLOOR, "under min_bid 0.5"),
        (bid(0.5), PingOutcome.BELOW_FLOOR, "does not cover the source's payout"),
        (bid(1), PingOutcome.BID, ""),
        (FAILED, PingOutcome.UNREACHABLE, "connect: ECONNREFUSED"),
        (MALFORMED, PingOutcome.INVALID_ANSWER, "malformed: no status line"),
        (BROKEN, PingOutcome.INVALID_ANSWER, "its answer could not be handled"),
    ],
)
async def test_answer_is_judged_when_it_comes(reply, outcome, detail) -> None:
    """Every buyer ends with one outcome and its reason; a bid counts from min_bid on and when it pays the source."""
    routing = Routing(min_bid_micros=500_000)
    held = await hold([a_buyer("a")], {"a": reply}, routing=routing, least_bid_micros=1_000_000)
    part = held.pings["a"]
    assert (part.outcome, part.detail) == (outcome, detail)
    assert part.asked_ms == NOW_MS
    assert (part.latency_us or 0) > 0


@pytest.mark.parametrize("reply", [bid("seven"), bid(-1), answer(b'{"ok":"yes"}')], ids=["text", "negative", "none"])
async def test_unusable_bid_is_no_bid_even_when_one_is_configured(reply) -> None:
    """The configured bid stands in only where the answer is not expected to name one."""
    held = await hold([a_buyer("a", bid_micros=3_000_000)], {"a": reply})
    assert (held.ranked, held.outcomes()) == ([], {"a": PingOutcome.NO_BID})
    assert held.pings["a"].detail


async def test_configured_bid_counts_when_no_path_names_one() -> None:
    """A buyer who only says yes buys at his configured bid."""
    buyer = a_buyer("a", ping=an_endpoint("a", answer=NO_PATH), bid_micros=3_000_000)
    held = await hold([buyer], {"a": answer(b'{"ok":"yes"}')})
    assert held.pings["a"].bid_micros == 3_000_000


async def test_broken_answer_costs_nobody_elses_bid() -> None:
    """Whatever one buyer's answer breaks, the auction ends and the others count."""
    held = await hold([a_buyer("a"), a_buyer("b")], {"a": BROKEN, "b": bid(5)})
    assert held.ranked == ["b"]
    assert held.outcomes()["a"] == PingOutcome.INVALID_ANSWER


async def test_broken_call_is_heard_of() -> None:
    """A call that breaks, as none should, ends the wait for its buyer, and for who answers late."""
    held = await hold([a_buyer("a"), a_buyer("b"), pinged_by(10)], {"a": RuntimeError(), "b": bid(5)}, {"slow": 5})
    assert held.ranked == ["b"]
    assert held.outcomes()["a"] == PingOutcome.INVALID_ANSWER
    assert held.took_s < SLOW_S
    assert await held.background.drain(1) == 0


async def test_answer_is_kept_whole_when_it_is_a_bid() -> None:
    """A bid's answer may be needed for its promise; any other is cut to the audit limit."""
    long_text = "x" * 5_000
    replies: dict[str, Reply] = {
        "a": answer(orjson.dumps({"ok": "yes", "bid": 5, "note": long_text})),
        "b": answer(orjson.dumps({"ok": "no", "note": long_text})),
    }
    held = await hold([a_buyer("a"), a_buyer("b")], replies)
    assert [len(held.pings[name].answer or "") for name in "ab"] == [5_030, 4_096]


async def test_latin_1_answer_is_stored_as_the_text_it_is() -> None:
    """What a buyer declares decides how his bytes are read."""
    body = '<?xml version="1.0" encoding="iso-8859-1"?><r><ok>yes</ok><bid>5</bid><token>é</token></r>'
    rules = AnswerRules(accepted=AnswerRule(path="r.ok", one_of=("yes",)), bid_path="r.bid")
    buyer = a_buyer("a", ping=an_endpoint("a", answer=rules))
    held = await hold([buyer], {"a": answer(body.encode("latin-1"), content_type="text/xml")})
    assert held.pings["a"].answer == body


async def test_unmappable_lead_is_not_sent() -> None:
    """A buyer who cannot have the lead as he wants it is not asked, and the reason names his field."""
    fields = (MappedField(path="zip", sources=("lead.email",), cast=Cast.INTEGER),)
    client = FakeClient({}, {})
    held = await Held(client).run([a_buyer("a", ping=an_endpoint("a", fields=fields))])
    assert client.asked == []
    assert held.pings["a"].skip is SkipReason.UNMAPPABLE
    assert held.pings["a"].detail == "zip: lead.email cannot be sent as integer"


# ---------------------------------------------------------------------------------------------------- the end


@pytest.mark.parametrize(
    ("error", "event"), [(StorageError("full"), "late_answers_lost"), (ValueError("?"), "background_error")]
)
async def test_late_answers_that_cannot_be_kept_are_logged(
    error: Exception, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are told to the log and break nothing."""
    events: list[str] = []
    for module in ("auction", "background"):
        monkeypatch.setattr(f"lexchange.{module}.log_event", lambda name, **_: events.append(name))
    held = await hold([a_buyer("a"), pinged_by(10)], {"a": bid(5), "slow": bid(9)}, {"slow": SLOW_S}, late_error=error)
    assert await held.background.drain(1) == 0
    assert events == [event]


async def test_calls_are_dropped_when_the_auction_is_cancelled() -> None:
    """A caller who goes away leaves no call running."""
    held = Held(FakeClient({}, {"slow": 5}))
    task = asyncio.get_running_loop().create_task(held.run([a_buyer("slow")]))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert await held.background.drain(0.5) == 0


async def test_answer_of_the_turn_that_decides_is_late_and_kept() -> None:
    """The first settles it, and the second is heard before the auction has gone on."""
    routing = Routing(mode=RoutingMode.PRIORITY)
    held = await hold([a_buyer("a", priority=1), a_buyer("b", priority=2)], {"a": bid(5), "b": bid(6)}, routing=routing)
    assert held.outcomes() == {"a": PingOutcome.BID, "b": PingOutcome.OPEN}
    await held.background.drain(1)
    assert [(ping.buyer, ping.outcome) for ping in held.late] == [("b", PingOutcome.LATE)]


# ------------------------------------------------------------------------------------------------- cancelling


async def answer_first_then_hang(line: Line, dropped: list[bytes]) -> None:
    """A buyer who keeps his line open after one answer, and then waits for the other side to drop it."""
    await line.read()
    await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
    await line.read()
    dropped.append(await line.read())


async def open_line(client: BuyerClient, buyer: RawBuyer) -> None:
    await client.send(request(buyer.url), deadline=asyncio.get_running_loop().time() + 1)


@pytest.mark.parametrize("is_open", [False, True])
async def test_cancelled_auction_drops_its_calls(is_open) -> None:
    """Whoever asks no longer listens: the calls end, on a connection that was free and on one opened for this."""
    dropped: list[bytes] = []

    async def hang(line: Line) -> None:
        await line.read()
        dropped.append(await line.read())

    script = partial(answer_first_then_hang, dropped=dropped) if is_open else hang
    async with raw_buyer(script) as buyer, buyer_client() as client:
        if is_open:
            await open_line(client, buyer)
        held = Held(client)
        auction = asyncio.create_task(held.run([pinged_by(5_000, url=buyer.url)]))
        await until(lambda: len(buyer.requests) == 1 + is_open)
        await cancelled(auction)
        await until(lambda: dropped)
        assert buyer.connection_count == 1
        await held.background.drain(1)
    assert dropped == [b""]


async def test_auction_that_breaks_drops_its_calls(monkeypatch) -> None:
    """Where one buyer cannot even be asked, those asked before him are let go at once, not at their deadlines."""
    dropped: list[bytes] = []
    async with raw_buyer(partial(answer_first_then_hang, dropped=dropped)) as buyer, buyer_client() as client:
        await open_line(client, buyer)

        def break_without_a_line(sending: Coroutine[Any, Any, None]) -> None:
            sending.close()
            raise RuntimeError("nobody can be asked")

        held = Held(client)
        monkeypatch.setattr(held.background, "spawn", break_without_a_line)
        buyers = [pinged_by(5_000, name, url=buyer.url) for name in ("on_the_line", "without_one")]
        with pytest.raises(RuntimeError, match="nobody can be asked"):
            await held.run(buyers)
        await until(lambda: dropped)
    assert dropped == [b""]
