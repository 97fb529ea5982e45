"""`kill -9` at every edge: what was acknowledged is there afterwards, and no buyer got a lead twice.

`CRASH_SEEDS=20` runs each fail point with so many seeds; a seed says how often the point is passed before the kill.
"""

import asyncio
import os
import random
import signal
from pathlib import Path

import aiohttp
import pytest

from lexchange.failpoints import POINTS
from tests.commands.invariants import History, a_call, check, world
from tests.commands.processes import Serving, serving
from tests.commands.test_serve import options
from tests.exchange.cases import campaign_of, replies_of
from tests.exchange.scripted_buyers import scripted_buyers
from tests.exchange.transports import Rest

SEEDS = range(int(os.environ.get("CRASH_SEEDS", "1")))
LEADS, CLIENTS = 40, 4


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


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("point", POINTS)
async def test_kill_at_a_fail_point(point: str, seed: int, store: str, tmp_path: Path) -> None:
    """Killed there, started again, and asked again by sources that had no answer: all invariants hold throughout."""
    nth = random.Random(f"{point}:{seed}").randint(4, 12)
    history, two_buyers = History(), world(LEADS)
    command = options(tmp_path, "--store", store)
    async with scripted_buyers(replies_of(two_buyers)) as buyers:
        (tmp_path / "auto.yaml").write_bytes(campaign_of(two_buyers, buyers.address))
        with serving(*command, LEXCHANGE_FAILPOINT=f"{point}:{nth}") as server:
            await sell(server, history)
            assert server.process.wait(10) == -signal.SIGKILL, "the fail point was not reached"
        with serving(*command) as server:
            await check(store, history, buyers)
            await sell(server, history)
            assert await asyncio.to_thread(server.stop) == 0
        assert len(history.posts) == LEADS
        await check(store, history, buyers)
