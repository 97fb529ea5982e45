"""Caps that nodes lease in blocks: exact at any moment and to the last slot, also when one of the nodes is killed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import orjson
import pytest

from lexchange.lead import LeadState
from lexchange.storage import Store
from tests.commands.invariants import KEPT
from tests.commands.nodes import nodes
from tests.commands.processes import Serving, family, kill_all
from tests.commands.test_caps_race import (
    CLIENTS,
    DELIVERED,
    FULL,
    a_call,
    campaign,
    counted,
    in_parallel,
    logged,
    pings_and_posts,
    stop,
    total,
)
from tests.commands.test_serve import options
from tests.exchange.scripted_buyers import scripted_buyers
from tests.exchange.transports import Call, Rest, wait_until
from tests.storage.servers import TEMPLATE, Servers

EAGER = {"LEXCHANGE_HOT_CAP_PER_S": "4"}
UNITS = {"leads": 1, "money": 3_000_000}
TRIES = 100

LOOK = """
SELECT counter, used, COALESCE(left_over, 0) FROM cap_counters LEFT JOIN (
    SELECT campaign, counter, SUM(amount_left)::bigint AS left_over FROM cap_leases GROUP BY 1, 2) AS leases
USING (campaign, counter)"""
HOLDERS = "SELECT worker FROM cap_leases WHERE amount_left > 0"


class Watch:
    """What a third connection sees of the caps: who has held a lease, and each moment at which the sums are wrong."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.looks = 0
        self.leased = 0
        self.workers: set[str] = set()
        self.broken: list[tuple[str, int, int]] = []

    async def look(self, connection: "asyncpg.Connection[Any]") -> None:
        """Leased and used together are `used`: one statement sees both at one moment."""
        for counter, used, left in await connection.fetch(LOOK):
            limit = self._limit * UNITS[counter.rsplit(":", 3)[1]]
            self.leased += left > 0
            if not 0 <= left <= used <= limit:
                self.broken.append((counter, used, left))
        self.workers |= {worker for (worker,) in await connection.fetch(HOLDERS)}
        self.looks += 1


@asynccontextmanager
async def watched(store: str, limit: int) -> AsyncIterator[Watch]:
    """Look again and again until the block ends."""
    connection = await asyncpg.connect(store)
    watch, is_over = Watch(limit), asyncio.Event()

    async def look_on() -> None:
        while not is_over.is_set():
            await watch.look(connection)
            await asyncio.sleep(0.002)

    async with asyncio.TaskGroup() as group:
        group.create_task(look_on())
        yield watch
        is_over.set()
    await connection.close()


async def books(store: str) -> tuple[int, int]:
    """What is used of the one cap there is, and how many leases there are."""
    connection = await asyncpg.connect(store)
    found = await connection.fetchrow("SELECT (SELECT used FROM cap_counters), (SELECT count(*) FROM cap_leases)")
    await connection.close()
    return found[0], found[1]


@pytest.mark.parametrize("cap", [{"limit": 500}, {"budget": 1_500}], ids=["leads", "money"])
async def test_leased_cap_is_exact(tmp_path: Path, servers: Servers, cap: dict[str, Any]) -> None:
    """900 posts to two nodes, whose four workers lease all the time: 500 of 500, and no lease is left over."""
    with servers("18").database(TEMPLATE) as store:
        async with scripted_buyers({"hot.post": [{"json": {"result": "sold"}}]}) as buyers:
            file = campaign("hot", {"caps": total(**cap)}, {"HOT": None}, buyers.address)
            (tmp_path / "auto.yaml").write_bytes(orjson.dumps(file))
            with nodes(options(tmp_path), store, **EAGER) as running:
                async with watched(store, 500) as watch:
                    told = await pings_and_posts(["HOT"], 900, running)
                await stop(running)
        assert counted(told, "HOT") == {DELIVERED: 500, FULL: 400}
        assert logged(buyers, "hot") == {"HOT": 500}
        assert watch.broken == []
        assert len(watch.workers) > 1, f"hardly anybody has leased in {watch.looks} looks"
        assert await books(store) == (500 * UNITS["money" if "budget" in cap else "leads"], 0)


async def post_at_whichever_lives(posts: Sequence[Call], servers: Sequence[Serving], answered: list[str]) -> None:
    """Each post until it is answered: at one node, then at the other; again where a node is too busy for it."""
    heap = list(posts)

    async def work(who: int) -> None:
        async with aiohttp.ClientSession() as http:
            while heap:
                call = heap.pop()
                for turn in range(who, who + TRIES):
                    try:
                        _, answer = await Rest(servers[turn % len(servers)].http, http).send(call)
                    except (aiohttp.ClientError, orjson.JSONDecodeError):
                        continue
                    if answer["status"] != "error":
                        answered.append(answer["status"])
                        break
                    await asyncio.sleep(0.1)
                else:
                    pytest.fail(f"a post was not answered in {TRIES} tries")

    async with asyncio.TaskGroup() as group:
        for who in range(CLIENTS):
            group.create_task(work(who))


async def settled(store: str) -> None:
    """Wait until nothing is in flight any more: what the killed node had begun keeps its slots or gives them back."""
    until = asyncio.get_running_loop().time() + 30
    async with Store.open(store) as opened:
        while left := await opened.audit.in_flight_leads(except_of=()):
            assert asyncio.get_running_loop().time() < until, left
            await asyncio.sleep(0.1)


async def test_cap_is_full_to_the_last_slot_when_a_node_is_killed(tmp_path: Path, servers: Servers) -> None:
    """`kill -9` of a node that holds leases: they come back once, and what nobody has sold goes to who wants it."""
    sold = {"hot.post": [{"json": {"result": "sold"}, "delay_ms": 20}]}
    with servers("18").database(TEMPLATE) as store:
        async with scripted_buyers(sold) as buyers:
            file = campaign("hot", {"caps": total(limit=400)}, {"HOT": None}, buyers.address)
            (tmp_path / "auto.yaml").write_bytes(orjson.dumps(file))
            with nodes(options(tmp_path), store, **EAGER) as running:
                pings = await in_parallel((a_call("ping", "HOT", number) for number in range(800)), running)
                posts = [
                    a_call("post", "HOT", number, ping_id=answer["ping_id"]) for number, (_, answer) in enumerate(pings)
                ]
                answered: list[str] = []
                async with watched(store, 400) as watch, asyncio.TaskGroup() as group:
                    group.create_task(post_at_whichever_lives(posts[:780], running, answered))
                    await wait_until(lambda: len(answered) > 100 and len(watch.workers) > 2, 30)
                    at_kill = await books(store)
                    kill_all(family(running[0].process.pid))
                await settled(store)
                await post_at_whichever_lives(posts[780:], running[1:], answered)
                await stop(running[1:])
        assert watch.broken == []
        assert at_kill[0] < 400, "it was full before the kill"
        assert at_kill[1] > 2, "nobody but the node that lives held a lease"
        async with Store.open(store) as opened:
            leads = await opened.audit.recent_leads(2_000)
        states = Counter(lead.state for lead in leads if lead.state in KEPT)
        assert sum(states.values()) == 400, Counter((lead.state, lead.reason, lead.detail) for lead in leads)
        assert len(buyers.received["hot.post"]) >= states[LeadState.DELIVERED]
        assert await books(store) == (400, 0)
