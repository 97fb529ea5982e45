"""A buyer who declares that he takes a repeat for the same lead is asked again what became of it; nobody else is."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from lexchange import resends
from lexchange.exchange import Exchange
from lexchange.lead import AttemptOutcome, Lead, LeadState
from lexchange.server import Server
from lexchange.storage import Store
from tests.exchange.cases import BASE, Case
from tests.exchange.running import exchange_for
from tests.exchange.scripted_buyers import ScriptedBuyers
from tests.exchange.transports import Call, transport
from tests.storage.examples import NOW_MS, a_lead, an_attempt

SOLD, REJECTED, CUT = {"json": {"result": "sold"}}, {"json": {"result": "rejected"}}, {"reset": True}
CAP = [{"window": "total", "limit": 5}]
DIRECT_POST = Call(name="direct_post", body=BASE["calls"]["direct_post"])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try follows at once, the second never."""
    monkeypatch.setattr(resends, "LOOK_S", 0.05)
    monkeypatch.setattr(resends, "PAUSES_S", (0, 600))


def a_case(*post_replies: Any, is_idempotent: bool = True, is_direct: bool = False) -> Case:
    """One in which acme wins."""
    change = {"buyers.acme.post.idempotent": is_idempotent, "buyers.acme.caps": CAP}
    if is_direct:
        change["traffic_type"] = "direct_post"
    return {"change": change, "replies": {"acme.post": list(post_replies)}}


async def sell(server: Server, *, is_direct: bool) -> dict[str, Any]:
    async with transport("rest", server) as source:
        if is_direct:
            return (await source.send(DIRECT_POST))[1]
        _, ping = await source.send(Call(name="ping", body=BASE["calls"]["ping"]))
        body = BASE["calls"]["post"] | {"ping_id": ping["ping_id"]}
        return (await source.send(Call(name="post", body=body)))[1]


async def lead_after(
    case: Case, folder: Path, *, is_direct: bool = False, posts: int
) -> tuple[Lead, ScriptedBuyers, int]:
    """The lead, once acme got so many posts and some time has passed; the buyers; and what is used of his cap."""
    async with exchange_for(case, folder) as (server, buyers):
        answer = await sell(server, is_direct=is_direct)
        assert (answer["status"], answer["reason"]) == ("failed", "downstream_timeout")
        async with asyncio.timeout(5):
            while buyers.calls["acme.post"] < posts:  # noqa: ASYNC110 - the buyer is another part of this loop
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        assert buyers.calls["acme.post"] == posts
        async with Store.open(f"sqlite:///{folder}/store.db") as store:
            lead = await store.audit.find_lead(answer["lead_id"])
            assert lead is not None
            (used,) = (await store.read_counters(["auto:buyer:acme:leads:total:all"])).values()
            return lead, buyers, used


@pytest.mark.parametrize("is_direct", [False, True])
@pytest.mark.parametrize(
    ("reply", "state", "used"),
    [(SOLD, LeadState.DELIVERED, 1), (REJECTED, LeadState.REJECTED, 0), (CUT, LeadState.UNKNOWN, 1)],
)
async def test_answer_to_a_repeat_settles_the_lead(
    reply: Any, state: LeadState, used: int, is_direct: bool, tmp_path: Path
) -> None:
    """The same bytes and the same key, once more; a second failure leaves it unknown."""
    lead, buyers, used_now = await lead_after(
        a_case(CUT, reply, is_direct=is_direct), tmp_path, is_direct=is_direct, posts=2
    )
    assert (lead.state, lead.attempts[0].resends, used_now) == (state, 1, used)
    first, second = buyers.received["acme.post"]
    assert first == second
    assert [headers["idempotency-key"] for headers in buyers.headers["acme.post"]] == [lead.delivery_id] * 2


async def test_buyer_who_declares_nothing_is_never_asked_again(tmp_path: Path) -> None:
    """He might take it for a second lead."""
    lead, _, used = await lead_after(a_case(CUT, SOLD, is_idempotent=False), tmp_path, posts=1)
    assert (lead.state, lead.attempts[0].resends, used) == (LeadState.UNKNOWN, 0, 1)


async def test_lead_whose_slots_are_not_what_they_were_is_left_alone(tmp_path: Path) -> None:
    """The campaign has changed: which slots to give back is an operator's decision."""
    case = a_case(CUT, SOLD)
    async with exchange_for(case | {"change": case["change"] | {"buyers.acme.post.idempotent": False}}, tmp_path) as (
        server,
        buyers,
    ):
        await sell(server, is_direct=False)
        file = tmp_path / "campaign.yaml"
        campaign = orjson.loads(file.read_bytes())
        acme = campaign["buyers"][0]
        acme["post"]["idempotent"] = True
        acme["caps"] = [{"window": "day", "limit": 5}]
        file.write_bytes(orjson.dumps(campaign))
        assert await server.reload()
        await asyncio.sleep(0.3)
        assert buyers.calls["acme.post"] == 1


def test_pauses_grow_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try waits for its own pause since the last; after the last one an operator has to know."""
    monkeypatch.setattr(resends, "PAUSES_S", (10, 60))

    def due(times: int, after_ms: int) -> bool:
        attempt = an_attempt(1, outcome=AttemptOutcome.BROKEN, resends=times)
        lead = a_lead(1, state=LeadState.UNKNOWN, updated_ms=NOW_MS, attempts=[attempt])
        return bool(resends.due_deliveries(lead, NOW_MS + after_ms))

    for times, pause_s in enumerate((10, 60)):
        assert not due(times, pause_s * 1000 - 1)
        assert due(times, pause_s * 1000)
    assert not due(2, 10**9)


def test_buyers_who_share_a_lead_have_their_own_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """One who has answered, or was asked in vain, does not use up another's tries."""
    monkeypatch.setattr(resends, "PAUSES_S", (10, 60))
    answered = an_attempt(1, outcome=AttemptOutcome.REJECTED, resends=1)
    in_vain = an_attempt(2, outcome=AttemptOutcome.BROKEN, resends=1)
    fresh = an_attempt(3, outcome=AttemptOutcome.BROKEN)
    lead = a_lead(1, state=LeadState.UNKNOWN, updated_ms=NOW_MS, attempts=[answered, in_vain, fresh])
    assert resends.due_deliveries(lead, NOW_MS + 10_000) == {fresh.delivery_id}
    assert resends.due_deliveries(lead, NOW_MS + 60_000) == {in_vain.delivery_id, fresh.delivery_id}


async def test_of_two_processes_one_asks_again(tmp_path: Path) -> None:
    """Who finds the lead touched since does not send."""
    async with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        found = a_lead(
            1, ping_id=None, state=LeadState.UNKNOWN, attempts=[an_attempt(1, outcome=AttemptOutcome.BROKEN)]
        )
        await store.claim_lead(found, now_ms=NOW_MS)
        asked = replace(found, updated_ms=found.updated_ms + 1)
        assert [await store.start_resend(asked, found) for _ in range(2)] == [True, False]


async def test_lead_that_breaks_its_resend_is_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, the lead after it is asked about, and the server goes on; or each restart would end the same."""
    ask_again = Exchange.ask_again
    first: list[str] = []
    told: list[dict[str, Any]] = []

    async def break_of_the_first(self: Exchange, lead: Lead, due: frozenset[str]) -> None:
        if lead.lead_id in first:
            raise KeyError(lead.data["email"])
        await ask_again(self, lead, due)

    monkeypatch.setattr(Exchange, "ask_again", break_of_the_first)
    monkeypatch.setattr(resends, "log_event", lambda event, **facts: told.append({"event": event} | facts))
    async with exchange_for(a_case(CUT, CUT, SOLD, is_direct=True), tmp_path) as (server, buyers):
        monkeypatch.setattr(resends, "AT_ONCE", 1)
        first.append((await sell(server, is_direct=True))["lead_id"])
        second = (await sell(server, is_direct=True))["lead_id"]
        async with asyncio.timeout(5):
            while buyers.calls["acme.post"] < 3:  # noqa: ASYNC110 - the buyer is another part of this loop
                await asyncio.sleep(0.02)
        assert (await sell(server, is_direct=True))["status"] == "delivered"
        lead = await server.store.audit.find_lead(second)
        assert lead is not None
        assert lead.state is LeadState.DELIVERED
    assert (told[0]["event"], told[0]["lead_id"]) == ("resend_failed", first[0])
    assert told[0]["error"].startswith("KeyError at test_resends.py:")


async def test_leads_are_asked_about_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A buyer who hangs keeps no other lead waiting."""
    both, met = asyncio.Barrier(2), asyncio.Event()

    async def meet(self: Exchange, lead: Lead, due: frozenset[str]) -> None:
        await both.wait()
        met.set()

    monkeypatch.setattr(Exchange, "ask_again", meet)
    async with exchange_for(a_case(CUT, CUT, is_direct=True), tmp_path) as (server, _):
        for _ in range(2):
            await sell(server, is_direct=True)
        await asyncio.wait_for(met.wait(), 5)
