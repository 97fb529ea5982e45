"""What holds whatever is killed: over what sources were told, what is stored, and what the buyers' own logs say."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lexchange.lead import Lead, LeadState
from lexchange.storage import Store
from tests.exchange.cases import BASE, Case
from tests.exchange.scripted_buyers import Reply, ScriptedBuyers
from tests.exchange.transports import Answer, Call

SOLD: Reply = {"json": {"result": "sold"}}
NO: Reply = {"json": {"result": "rejected"}}
BUYERS = ("acme", "bright")
KEPT = (LeadState.DELIVERED, LeadState.UNKNOWN)
ALL = 1_000_000
MEND_S = 15.0


def world(posts: int, delay_ms: int = 0) -> Case:
    """Two buyers with caps that are counted. Acme says no to every other lead, of so many, and bright gets it then."""
    no, sold = NO | {"delay_ms": delay_ms}, SOLD | {"delay_ms": delay_ms}
    cap = [{"window": "total", "limit": ALL}]
    fields = {"email": {"from": "lead.email"}, "delivery": {"from": "delivery_id"}}
    return {
        "change": {
            "routing.on_post_reject": "next_bidder",
            "buyers.acme.caps": cap,
            "buyers.bright.caps": cap,
            "buyers.bright.ping.timeout_ms": 800,
            "payout": {"mode": "fixed", "amount": 4},  # so that bright may follow acme
            "buyers.bright.post.fields": fields,
        },
        "replies": {"acme.post": [no, sold] * posts},
    }


@dataclass
class History:
    """What sources were told, by the number of the lead."""

    pings: dict[int, Answer] = field(default_factory=dict)
    posts: dict[int, Answer] = field(default_factory=dict)


def a_call(name: str, number: int, **more: Any) -> Call:
    """The published example for a lead of its own; a post has an idempotency key."""
    given = BASE["calls"][name]
    headers = {"Idempotency-Key": f"post-{number}"} if name == "post" else {}
    data = given["data"] | {"email": f"lead.{number}@example.com"}
    return Call(name=name, body=given | {"data": data} | more, headers=headers)


def buyers_who_took(buyers: ScriptedBuyers) -> dict[str, list[str]]:
    """By the e-mail of the lead, as the buyers' own logs have it."""
    taken: dict[str, list[str]] = {}
    for place, lead in enumerate(buyers.received["acme.post"]):
        if place % 2:
            taken.setdefault(lead["email"], []).append("acme")
    for lead in buyers.received["bright.post"]:
        taken.setdefault(lead["email"], []).append("bright")
    return taken


async def settled(store: Store, within_s: float = MEND_S) -> float:
    """Wait until no lead is in flight, which the exchange sees to by itself; how long it took."""
    loop = asyncio.get_running_loop()
    since = loop.time()
    while left := await store.audit.in_flight_leads(except_of=()):
        assert loop.time() - since < within_s, f"{len(left)} leads are left in flight"
        await asyncio.sleep(0.05)
    return loop.time() - since


async def check(url: str, history: History, buyers: ScriptedBuyers) -> Counter[str]:
    """The invariants. Gives how many leads there are in each state."""
    taken = buyers_who_took(buyers)
    for name in BUYERS:
        got = Counter(lead["email"] for lead in buyers.received[f"{name}.post"])
        assert max([0, *got.values()]) <= 1, "a buyer got a lead twice"
    assert all(len(names) == 1 for names in taken.values()), "two buyers took one lead"
    async with Store.open(url) as store:
        pings = {ping.ping_id for ping in await store.audit.recent_pings(ALL)}
        leads = await store.audit.recent_leads(ALL)
        unresolved = {lead.lead_id for lead in await store.audit.unresolved_leads(limit=ALL)}
        assert await store.audit.in_flight_leads(except_of=()) == [], "a lead is left in flight"
        await check_caps(store, leads)
    assert {answer["ping_id"] for answer in history.pings.values()} <= pings, "an acknowledged ping is lost"
    check_told(history, {lead.lead_id: lead for lead in leads})
    for lead in leads:
        by = taken.pop(lead.data["email"], [])
        if lead.state is LeadState.DELIVERED:
            assert by == [lead.buyer], "delivered, and no buyer says so"
        elif lead.state is not LeadState.UNKNOWN:
            assert by == [], f"{lead.state}, and {by} has it"
        assert (lead.lead_id in unresolved) is (lead.state is LeadState.UNKNOWN)
    assert taken == {}, "a buyer has a lead that is not stored"
    return Counter(str(lead.state) for lead in leads)


def check_told(history: History, leads: dict[str, Lead]) -> None:
    """Every answer to a post is borne out by what is stored."""
    for answer in history.posts.values():
        lead = leads.get(answer.get("lead_id", ""))
        assert lead is not None, f"an acknowledged post is lost: {answer}"
        if answer["status"] == "delivered":
            assert lead.state is LeadState.DELIVERED


async def check_caps(store: Store, leads: list[Lead]) -> None:
    """A slot is taken by each lead that a buyer has, or may have, and by no other; what is only leased is not taken."""
    counters = {name: f"auto:buyer:{name}:leads:total:all" for name in BUYERS}
    used = await store.read_counters(list(counters.values()))
    kept = Counter(lead.buyer for lead in leads if lead.state in KEPT)
    assert {name: used.get(counter, 0) for name, counter in counters.items()} == {name: kept[name] for name in BUYERS}
