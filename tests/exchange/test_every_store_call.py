"""The n-th call of the store fails, n = 1, 2, …, until a sale needs no more of them; nothing is restarted in between.

Each fault strikes once or lasts until the sale is over; a write that fails is lost, or has happened all the same.
"""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lexchange import sale
from lexchange.lead import Lead, LeadState, PingState
from lexchange.storage import Store
from tests.exchange.books import KEPT, check_caps, settle
from tests.exchange.cases import BASE, Case
from tests.exchange.failing_store import FAULTS, FailingConnector, Fault, failing_store_of
from tests.exchange.running import exchange_for
from tests.exchange.scripted_buyers import ScriptedBuyers
from tests.exchange.transports import Answer, Call, Transport, transport

MOST_CALLS = 60  # of the store in one sale; more means that the loop never ends
SOLD, NO, HANGS_UP = {"json": {"result": "sold"}}, {"json": {"result": "rejected"}}, {"reset": True}
LIMITED = [{"window": "total", "limit": 100_000}, {"window": "total", "budget": 1_000_000}]
HELD = [cap | {"reserve": "ping"} for cap in LIMITED]
EMAIL = {"email": {"from": "lead.email"}}
WORLD = {
    "payout": {"mode": "fixed", "amount": 4},  # so that bright may follow acme
    "duplicates": {"fields": ["email"], "window_h": 24},
    "repeat_ping": {"window_s": 60},
    "sources.SRC_MAIN.caps": [*LIMITED, {"counts": "pings", "window": "day", "limit": 100_000}],
    "buyers.acme.caps": HELD,
    "buyers.bright.caps": LIMITED,
    "buyers.acme.post.fields": EMAIL,
    "buyers.bright.post.fields": EMAIL,
    "buyers.acme.breaker": {"mode": "disabled"},
    "buyers.bright.breaker": {"mode": "disabled"},
}
BUYERS = ("acme", "bright")
DEFINITE = {"overloaded", "buyer_rejected", "buyer_delivery_failed"}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """How a lead is sold: these calls, under this campaign, to buyers who say this to its post."""

    calls: tuple[str, ...] = ("ping", "post")
    is_keyed: bool = False
    is_test: bool = False
    change: dict[str, Any] = field(default_factory=dict)
    acme: dict[str, Any] = field(default_factory=lambda: SOLD)
    outcome: str = "delivered"  # when nothing fails

    @property
    def case(self) -> Case:
        """The campaign and its buyers. No lease is renewed meanwhile, so that the calls are the sale's alone."""
        return {
            "change": WORLD | self.change,
            "replies": {"acme.post": [self.acme]},
            "limits": {"lease_s": 3_600, "late_grace_ms": 50},
        }


SHARED = {"routing.sell_to": 2, "routing.mode": "round_robin", "buyers.bright.caps": HELD}
NEXT = {"routing.on_post_reject": "next_bidder"}
DIRECT = {"traffic_type": "direct_post"}
SCENARIOS = {
    "ping": Scenario(calls=("ping",), outcome="accepted"),
    "ping and post": Scenario(),
    "direct post": Scenario(calls=("direct_post",), change=DIRECT),
    "keyed post and its repeat": Scenario(calls=("ping", "post", "post"), is_keyed=True),
    "keyed direct post and its repeat": Scenario(calls=("direct_post", "direct_post"), is_keyed=True, change=DIRECT),
    "next bidder": Scenario(change=NEXT, acme=NO),
    "next bidder of a direct post": Scenario(calls=("direct_post",), change=DIRECT | NEXT, acme=NO),
    "shared": Scenario(change=SHARED),
    "shared, one of them unknown": Scenario(change=SHARED, acme=HANGS_UP),
    "unknown": Scenario(acme=HANGS_UP, outcome="failed"),
    "test mode": Scenario(is_test=True),
}


@dataclass(frozen=True, kw_only=True)
class Told:
    """A call and what its source heard."""

    call: Call
    status: int
    answer: Answer


class Source:
    """Sells leads by one scenario; a lead is known by its e-mail."""

    def __init__(self, scenario: Scenario, road: Transport) -> None:
        self._scenario = scenario
        self._road = road

    async def sell(self, email: str) -> list[Told]:
        """One lead, as far as it comes: without an accepted ping there is nothing to post."""
        told: list[Told] = []
        ping_id = ""
        for name in self._scenario.calls:
            if name == "post" and not ping_id:
                break
            told.append(await self._send(self._call(name, email, ping_id)))
            ping_id = ping_id or told[0].answer.get("ping_id", "")
        return told

    async def repeat(self, told: list[Told]) -> list[Told]:
        """Make the calls again that no repeat may turn into a second sale."""
        calls = [each.call for each in told if each.call.name == "post" or each.call.headers]
        return [await self._send(call) for call in calls]

    async def _send(self, call: Call) -> Told:
        status, answer = await self._road.send(call)
        return Told(call=call, status=status, answer=answer)

    def _call(self, name: str, email: str, ping_id: str) -> Call:
        given = BASE["calls"][name]
        data = given["data"] | {"email": email} | ({"Test_Mode": 1} if self._scenario.is_test else {})
        body = given | {"data": data} | ({"ping_id": ping_id} if name == "post" else {})
        is_keyed = self._scenario.is_keyed and name != "ping"
        return Call(name=name, body=body, headers={"Idempotency-Key": email} if is_keyed else {})


# ------------------------------------------------------------------------------------------------------------ checks


def takers(scenario: Scenario, buyers: ScriptedBuyers, email: str) -> list[str]:
    """Who has the lead, or may have it, as the buyers' own logs say."""
    got = {name: [lead["email"] for lead in buyers.received[f"{name}.post"]].count(email) for name in BUYERS}
    assert max(got.values()) <= 1, f"a buyer got {email} twice: {got}"
    return [name for name, count in got.items() if count and not (name == "acme" and scenario.acme is NO)]


async def check_yes(told: list[Told], store: Store, took: list[str]) -> None:
    """A yes is stored, and the buyers' own logs agree with it."""
    for each in told:
        assert each.status in (200, 409, 503), each
        if each.answer["status"] == "accepted":
            ping = await store.audit.find_ping(each.answer["ping_id"])
            assert ping is not None, each
            assert ping.state in (PingState.OFFERED, PingState.CLAIMED), each
        elif each.answer["status"] == "delivered":
            lead = await store.audit.find_lead(each.answer["lead_id"])
            assert lead is not None, each
            assert lead.state is LeadState.DELIVERED or lead.takers, each
            assert lead.is_test or set(lead.takers) <= set(took), each


def check_no(told: list[Told], took: list[str]) -> None:
    """Where every post is answered with a definite no, nobody has the lead."""
    posts = [each.answer.get("reason") for each in told if each.call.name != "ping"]
    if DEFINITE.issuperset(posts):
        assert took == [], posts


def check_lead(lead: Lead, took: list[str]) -> None:
    """The buyers who have a lead are those that its row says have it, or may."""
    assert lead.is_test or sorted(each.buyer for each in lead.attempts if each.outcome in KEPT) == took
    assert (lead.state in (LeadState.DELIVERED, LeadState.UNKNOWN)) is (bool(took) or lead.is_test), lead.state


# ------------------------------------------------------------------------------------------------------------- tests


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A running exchange whose store can be made to fail, and a view of what is stored that cannot."""

    scenario: Scenario
    source: Source
    failing: FailingConnector
    buyers: ScriptedBuyers
    store: Store
    file: Path

    async def sell_badly(self, fault: Fault, nth: int) -> list[str]:
        """Sell a lead while the store fails, repeat its calls, sell another one; returns what failed."""
        email = f"{nth}.{FAULTS.index(fault)}@example.com"
        self.failing.fail(fault, nth)
        told = await self.source.sell(email)
        await self._check(email, told)
        check_no(told, self._took(email))
        self.failing.heal()
        await settle(self.store)
        await self._check(email, told)
        again = await self.source.repeat(told)
        await settle(self.store)
        await self._check(email, [*told, *again])
        told = await self.source.sell(f"next.{email}")
        assert told[-1].answer["status"] == self.scenario.outcome, told
        await self._check(f"next.{email}", told)
        await self._check_stored(email, f"next.{email}")
        return self.failing.failed

    async def _check(self, email: str, told: list[Told]) -> None:
        await check_yes(told, self.store, self._took(email))

    def _took(self, email: str) -> list[str]:
        return takers(self.scenario, self.buyers, email)

    async def _check_stored(self, *emails: str) -> None:
        leads = await self.store.audit.recent_leads(10_000)
        for lead in leads:
            if lead.data["email"] in emails:
                check_lead(lead, self._took(lead.data["email"]))
        check_caps(leads, self.file)


@asynccontextmanager
async def trial_of(scenario: Scenario, folder: Path) -> AsyncIterator[Trial]:
    """Serve the scenario's campaign."""
    file = folder / "store.db"
    async with (
        exchange_for(scenario.case, folder) as (server, buyers),
        transport("rest", server) as road,
        Store.open(f"sqlite:///{file}") as store,
    ):
        source, failing = Source(scenario, road), failing_store_of(server)
        yield Trial(scenario=scenario, source=source, failing=failing, buyers=buyers, store=store, file=file)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_sale_is_honest_when_any_store_call_fails(
    name: str, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever call fails: no yes that is not stored, no lead twice, none left in flight, no slot lost or kept."""
    monkeypatch.setattr(sale, "MEND_S", 0.01)
    async with trial_of(SCENARIOS[name], memory) as trial:
        for fault in FAULTS:
            failed: set[str] = set()
            for nth in itertools.count(1):
                assert nth < MOST_CALLS, f"{fault}: a sale never ran without it"
                now_failed = await trial.sell_badly(fault, nth)
                if not now_failed:
                    break
                failed.update(now_failed)
            assert failed >= {"read", "write"}, f"{fault}: nothing of the sort ever failed"
