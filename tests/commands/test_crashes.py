"""`kill -9` at every edge: what was acknowledged is there afterwards, and no buyer got a lead twice.

`CRASH_SEEDS=20` runs each fail point with so many seeds; a seed says how often the point is passed before the kill.
"""

import asyncio
import os
import random
import signal
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from lexchange.failpoints import POINTS
from lexchange.lead import Lead, LeadState
from lexchange.storage import Store
from tests.commands.processes import Serving, serving
from tests.commands.test_serve import options
from tests.exchange.cases import BASE, Case, campaign_of, replies_of
from tests.exchange.scripted_buyers import ScriptedBuyers, scripted_buyers
from tests.exchange.transports import Answer, Call, Rest

SEEDS = range(int(os.environ.get("CRASH_SEEDS", "1")))
LEADS, CLIENTS = 40, 4
SOLD, NO = {"json": {"result": "sold"}}, {"json": {"result": "rejected"}}
ACME_SAYS = [NO, SOLD] * LEADS
CAP = [{"window": "total", "limit": 1_000}]
WORLD: Case = {
    "change": {
        "routing.on_post_reject": "next_bidder",
        "buyers.acme.caps": CAP,
        "buyers.bright.caps": CAP,
        "buyers.bright.ping.timeout_ms": 800,
        "payout": {"mode": "fixed", "amount": 4},  # so that bright may follow acme
        "buyers.bright.post.fields": {"email": {"from": "lead.email"}, "delivery": {"from": "delivery_id"}},
    },
    "replies": {"acme.post": ACME_SAYS},
}


@dataclass
class History:
    """What sources were told, by the number of the lead."""

    pings: dict[int, Answer] = field(default_factory=dict)
    posts: dict[int, Answer] = field(default_factory=dict)


def email(number: int) -> str:
    return f"lead.{number}@example.com"


def a_call(name: str, number: int, **more: Any) -> Call:
    given = BASE["calls"][name]
    headers = {"Idempotency-Key": f"post-{number}"} if name == "post" else {}
    return Call(name=name, body=given | {"data": given["data"] | {"email": email(number)}} | more, headers=headers)


async def sell(server: Serving, history: History) -> None:
    """Ping and post every lead that has no answer yet, until the server is gone."""
    waiting = [number for number in range(LEADS) if number not in history.posts]

    async def client() -> None:
        async with aiohttp.ClientSession() as http:
            source = Rest(server.http, http)
            while waiting:
                number = waiting.pop(0)
                if number not in history.pings:
                    history.pings[number] = (await source.send(a_call("ping", number)))[1]
                ping_id = history.pings[number]["ping_id"]
                history.posts[number] = (await source.send(a_call("post", number, ping_id=ping_id)))[1]

    await asyncio.gather(*(client() for _ in range(CLIENTS)), return_exceptions=True)


def times_got(buyers: ScriptedBuyers) -> dict[str, Counter[str]]:
    return {name: Counter(lead["email"] for lead in buyers.received[f"{name}.post"]) for name in ("acme", "bright")}


def buyers_who_took(buyers: ScriptedBuyers) -> dict[str, list[str]]:
    """By the e-mail of the lead, as the buyers' own logs have it."""
    taken: dict[str, list[str]] = {}
    for place, lead in enumerate(buyers.received["acme.post"]):
        if ACME_SAYS[place] is SOLD:
            taken.setdefault(lead["email"], []).append("acme")
    for lead in buyers.received["bright.post"]:
        taken.setdefault(lead["email"], []).append("bright")
    return taken


async def check(folder: Path, history: History, buyers: ScriptedBuyers) -> None:
    """The invariants, over what sources were told, what is stored, and what the buyers saw."""
    got, taken = times_got(buyers), buyers_who_took(buyers)
    assert max([0, *got["acme"].values(), *got["bright"].values()]) <= 1, "a buyer got a lead twice"
    assert all(len(names) == 1 for names in taken.values()), "two buyers took one lead"
    async with Store.open(f"sqlite:///{folder}/store.db") as store:
        for answer in history.pings.values():
            assert await store.find_ping(answer["ping_id"]) is not None, "an acknowledged ping is lost"
        for answer in history.posts.values():
            lead = await store.audit.find_lead(answer["lead_id"])
            assert lead is not None, "an acknowledged post is lost"
            if answer["status"] == "delivered":
                assert lead.state is LeadState.DELIVERED
        assert await store.audit.in_flight_leads(except_of=()) == [], "a lead is left in flight"
        leads = await store.audit.recent_leads(1_000)
        unresolved = {lead.lead_id for lead in await store.audit.unresolved_leads()}
    for lead in leads:
        by = taken.get(lead.data["email"], [])
        if lead.state is LeadState.DELIVERED:
            assert by == [lead.buyer], "delivered, and no buyer says so"
        elif lead.state is not LeadState.UNKNOWN:
            assert by == [], f"{lead.state}, and {by} has it"
        assert (lead.lead_id in unresolved) is (lead.state is LeadState.UNKNOWN)
    check_caps(folder, leads)


def check_caps(folder: Path, leads: list[Lead]) -> None:
    """A slot is taken by each lead that a buyer has, or may have, and by no other."""
    kept = Counter(lead.buyer for lead in leads if lead.state in (LeadState.DELIVERED, LeadState.UNKNOWN))
    with sqlite3.connect(folder / "store.db") as database:
        used = dict(database.execute("SELECT counter, used FROM cap_counters"))
    database.close()
    found = {name: sum(count for counter, count in used.items() if f":buyer:{name}:" in counter) for name in kept}
    assert found == kept


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("point", POINTS)
async def test_kill_at_a_fail_point(point: str, seed: int, tmp_path: Path) -> None:
    """Killed there, started again, and asked again by sources that had no answer: all invariants hold throughout."""
    nth = random.Random(f"{point}:{seed}").randint(4, 12)
    history = History()
    async with scripted_buyers(replies_of(WORLD)) as buyers:
        (tmp_path / "auto.yaml").write_bytes(campaign_of(WORLD, buyers.address))
        with serving(*options(tmp_path), LEXCHANGE_FAILPOINT=f"{point}:{nth}") as server:
            await sell(server, history)
            assert server.process.wait(10) == -signal.SIGKILL, "the fail point was not reached"
        with serving(*options(tmp_path)) as server:
            await check(tmp_path, history, buyers)
            await sell(server, history)
            assert await asyncio.to_thread(server.stop) == 0
        assert len(history.posts) == LEADS
        await check(tmp_path, history, buyers)
