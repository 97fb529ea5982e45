"""A buyer took the lead and then the store, or our own code, failed: told honestly, and never sold again."""

import asyncio
from pathlib import Path

import pytest

from lexchange.clock import SystemClock
from lexchange.errors import StorageError
from lexchange.lead import Lead, LeadState
from lexchange.storage import Store
from tests.exchange.cases import BASE, IDS
from tests.exchange.running import exchange_for
from tests.exchange.transports import TRANSPORTS, Call, transport

CASE = {"change": {"traffic_type": "direct_post"}, "limits": {"drain_s": 1}}
KEYED = Call(name="direct_post", body=BASE["calls"]["direct_post"], headers={"Idempotency-Key": "order-17"})
MINUTE_MS = 60_000


@pytest.mark.parametrize("road", TRANSPORTS)
@pytest.mark.parametrize("error", [StorageError("disk full"), ValueError("sam.carter@example.com")])
async def test_lead_whose_outcome_is_not_recorded(
    error: Exception, road: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source hears of an unknown outcome, with the ids; no repeat of the call sells the lead again."""

    async def broken(self: Store, lead: Lead, **rest: object) -> bool:
        raise error

    async with exchange_for(CASE, tmp_path) as (server, buyers), transport(road, server) as source:
        monkeypatch.setattr(Store, "finish_lead", broken)
        status, answer = await source.send(KEYED)
        assert (status, answer["status"], answer["reason"]) == (200, "failed", "downstream_timeout")
        assert all(IDS[name].fullmatch(answer[name]) for name in ("lead_id", "delivery_id"))
        assert "sam" not in str(answer)
        assert await source.send(KEYED) == (status, answer)
        assert sum(count for endpoint, count in buyers.calls.items() if endpoint.endswith(".post")) == 1
    async with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        assert [lead.state for lead in await store.audit.unresolved_leads()] == [LeadState.SENDING]


@pytest.mark.parametrize(
    ("verb", "is_done", "state"),
    [
        ("finish_lead", False, LeadState.DELIVERED),
        ("finish_lead", True, LeadState.DELIVERED),
        ("claim_lead", True, LeadState.FAILED),
    ],
)
async def test_outcome_is_recorded_when_the_store_is_back(
    verb: str, is_done: bool, state: LeadState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even one that was recorded, and only reported as failed. A claim that was is undone: nothing was sent."""
    real = getattr(Store, verb)

    async def broken(self: Store, lead: Lead, **rest: object) -> object:
        if is_done:
            await real(self, lead, **rest)
        raise StorageError("disk full")

    async with exchange_for(CASE, tmp_path) as (server, buyers), transport("grpc", server) as source:
        with monkeypatch.context() as fault:
            fault.setattr(Store, verb, broken)
            _, answer = await source.send(KEYED)
        sent = sum(count for endpoint, count in buyers.calls.items() if endpoint.endswith(".post"))
        assert sent == (1 if verb == "finish_lead" else 0)
        assert answer.get("reason") == ("downstream_timeout" if sent else "overloaded"), answer
    async with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        assert [lead.state for lead in await store.audit.recent_leads(10)] == [state]
        assert await store.audit.unresolved_leads() == []


@pytest.mark.parametrize("road", TRANSPORTS)
async def test_delivered_lead_whose_answer_is_not_remembered(
    road: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is durable is told; a repeat is answered from the lead, however much later it comes."""

    async def broken(self: Store, *rest: object) -> None:
        raise StorageError("disk full")

    async with exchange_for(CASE, tmp_path) as (server, buyers), transport(road, server) as source:
        monkeypatch.setattr(Store, "finish_call", broken)
        first = await source.send(KEYED)
        assert first[1]["status"] == "delivered"
        now_ms = SystemClock().now_ms()
        monkeypatch.setattr(SystemClock, "now_ms", lambda _: now_ms + MINUTE_MS)
        assert await source.send(KEYED) == first
        assert sum(count for endpoint, count in buyers.calls.items() if endpoint.endswith(".post")) == 1


@pytest.mark.parametrize(("verb", "is_done"), [("begin_call", True), ("begin_call", False), ("claim_lead", False)])
async def test_key_is_free_when_the_store_is_back(
    verb: str, is_done: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that broke with the store, and had claimed nothing, is made again under its key within seconds."""
    real = getattr(Store, verb)

    async def broken(self: Store, *given: object, **rest: object) -> object:
        if is_done:
            await real(self, *given, **rest)
        raise StorageError("the server is away")

    async with exchange_for(CASE, tmp_path) as (server, buyers), transport("grpc", server) as source:
        with monkeypatch.context() as fault:
            fault.setattr(Store, verb, broken)
            fault.setattr(Store, "abandon_call", broken if verb == "claim_lead" else Store.abandon_call)
            assert (await source.send(KEYED))[1]["reason"] == "overloaded"
        async with asyncio.timeout(5):
            while (answer := (await source.send(KEYED))[1])["status"] == "error":
                assert answer["reason"] == "request_in_flight"
                await asyncio.sleep(0.1)
        assert answer["status"] == "delivered"
        assert sum(count for endpoint, count in buyers.calls.items() if endpoint.endswith(".post")) == 1


@pytest.mark.parametrize("road", TRANSPORTS)
async def test_repeat_after_a_crash_within_the_delivery(
    road: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that claimed its lead and never came back is still in flight a minute later: nobody sells it again."""

    async def broken(self: Store, *rest: object, **more: object) -> None:
        raise StorageError("disk full")

    async with exchange_for(CASE, tmp_path) as (server, buyers), transport(road, server) as source:
        monkeypatch.setattr(Store, "finish_lead", broken)
        monkeypatch.setattr(Store, "finish_call", broken)
        assert (await source.send(KEYED))[1]["status"] == "failed"
        now_ms = SystemClock().now_ms()
        monkeypatch.setattr(SystemClock, "now_ms", lambda _: now_ms + MINUTE_MS)
        status, answer = await source.send(KEYED)
        assert (status, answer["reason"]) == (409, "request_in_flight")
        assert sum(count for endpoint, count in buyers.calls.items() if endpoint.endswith(".post")) == 1
