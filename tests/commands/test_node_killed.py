"""Two nodes serve one PostgreSQL, and one of them is gone from one moment to the next."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lexchange.storage import Store
from tests.commands.invariants import check, world
from tests.commands.nodes import ELSEWHERE, can_be_elsewhere
from tests.commands.processes import family, kill_all, serving
from tests.commands.sources import Sources, selling
from tests.commands.test_serve import options
from tests.exchange.cases import campaign_of, replies_of
from tests.exchange.scripted_buyers import scripted_buyers
from tests.exchange.transports import wait_until
from tests.storage.servers import TEMPLATE, Servers

LEASE_S = 2
SETTLED_S = 4 * LEASE_S
SETTINGS: dict[str, Any] = {"LEXCHANGE_LEASE_S": str(LEASE_S), "LEXCHANGE_HOT_CAP_PER_S": "1"}
SILENCE_S = 3.0
ENOUGH = 60  # answers before the kill, and after it


async def answered(sources: Sources, more: int) -> None:
    wanted = len(sources.answered) + more
    await wait_until(lambda: len(sources.answered) >= wanted, 30)


async def ended(store: Store, lead_ids: Sequence[str]) -> float:
    """Wait until these leads are in flight no more; how long it took."""
    loop = asyncio.get_running_loop()
    since = loop.time()
    while {lead.lead_id for lead in await store.audit.in_flight_leads(except_of=())} & set(lead_ids):
        assert loop.time() - since < SETTLED_S, "what the killed node left is still in flight"
        await asyncio.sleep(0.05)
    return loop.time() - since


async def forgotten(store: Store, count: int) -> None:
    """Wait until no more than so many processes are known: all that the others held is given back by then."""
    async with asyncio.timeout(SETTLED_S):
        while len(await store.leases()) > count:  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("within", [(), ELSEWHERE], ids=["here", "elsewhere"])
async def test_one_of_two_nodes_is_killed(within: Sequence[str], servers: Servers, tmp_path: Path) -> None:
    """The other goes on, within seconds settles what was left in flight, and all invariants hold."""
    if within and not can_be_elsewhere():
        pytest.skip("needs root, to have pids of its own")
    two_buyers = world(10_000, delay_ms=300)  # most of a client's time, so that the kill meets some
    with servers("18").database(TEMPLATE) as url:
        command = options(tmp_path, "--store", url, "--workers", "2")
        async with scripted_buyers(replies_of(two_buyers)) as buyers, Store.open(url) as store:
            (tmp_path / "auto.yaml").write_bytes(campaign_of(two_buyers, buyers.address))
            with (
                serving(*command, within=within, **SETTINGS) as killed,
                serving(*command, **SETTINGS) as other,
            ):
                async with selling([killed, other], clients=16) as sources:
                    await answered(sources, ENOUGH)
                    since = asyncio.get_running_loop().time()
                    processes = len(await store.leases())
                    kill_all(family(killed.process.pid))
                    left = [lead.lead_id for lead in await store.audit.in_flight_leads(except_of=())]
                    settled_s = await ended(store, left)
                    await answered(sources, ENOUGH)
                    silence_s = sources.silence(since)
                    await forgotten(store, processes // 2)
                assert await asyncio.to_thread(other.stop) == 0
            assert await store.audit._connector.read("SELECT * FROM cap_leases") == [], "a lease is left over"
            states = await check(url, sources.history, buyers)
        assert sources.refusals, "nobody noticed"
        assert states["unknown"] > 0, "the kill met no delivery"
        assert silence_s < SILENCE_S
        print(f"settled after {settled_s:.1f} s, silent for {silence_s:.2f} s; {dict(states)}")
