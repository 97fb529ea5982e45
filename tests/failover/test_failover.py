"""The database goes away under load: what was acknowledged is there afterwards, no buyer got a lead twice.

`make test-failover`; `FAILOVER_S` is how long the restarts go on, `FAILOVER_KILLS` how many primaries are killed, and
`FAILOVER_SEED` draws the times between.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lexchange.storage import Store
from tests.commands.invariants import check, settled, world
from tests.commands.nodes import ELSEWHERE, can_be_elsewhere, nodes
from tests.commands.processes import family
from tests.commands.sources import Sources, selling
from tests.commands.test_serve import options
from tests.exchange.cases import campaign_of, replies_of
from tests.exchange.scripted_buyers import scripted_buyers
from tests.failover.cluster import Cluster, clustered, missing
from tests.storage.servers import PostgresServer, running

KILLS = int(os.environ.get("FAILOVER_KILLS", "2"))
RESTARTS_S = int(os.environ.get("FAILOVER_S", "300"))
SEED = os.environ.get("FAILOVER_SEED", "1")
POSTS = 100_000  # more than can be made
GAP_S = 30.0  # writes have to be back by then
SERVED_S = 5.0  # between the faults
PAUSES_S = (5, 40)
AWAY_S = (0, 8)  # a call waits for the store at most five


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    if absent := missing():
        pytest.skip(f"missing: {', '.join(absent)}; make test-failover installs them")
    with clustered() as started:
        yield started


class Story:
    """What happens to two nodes and their store while sources sell."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.gaps_s: list[float] = []
        self._began = asyncio.get_running_loop().time()

    def say(self, text: str) -> None:
        """A line of progress."""
        passed_s = asyncio.get_running_loop().time() - self._began
        told = f"{len(self.sources.history.pings)} pings and {len(self.sources.history.posts)} posts acknowledged"
        print(f"[{passed_s:4.0f} s] {text}; {told}", flush=True)

    async def served_again(self, since: float) -> None:
        """Wait until writes are acknowledged that were asked for after it, and measure how long none was."""
        asked = len(self.sources.answered)
        while len(self.sources.answered) < asked + 20:
            assert asyncio.get_running_loop().time() - since < 2 * GAP_S, self.sources.refusals
            await asyncio.sleep(0.05)
        self.gaps_s.append(self.sources.silence(since))


@asynccontextmanager
async def two_nodes(folder: Path, store: str, **variables: str) -> AsyncIterator[Story]:
    """Two nodes of two workers serve, if possible as on two machines.

    At the end nothing was restarted, all ended well, and all invariants hold.
    """
    two_buyers = world(POSTS)
    within = ELSEWHERE if can_be_elsewhere() else ()
    async with scripted_buyers(replies_of(two_buyers)) as buyers:
        (folder / "auto.yaml").write_bytes(campaign_of(two_buyers, buyers.address))
        with nodes(options(folder), store, within=within, **variables) as servers:
            before = [family(server.pid) for server in servers]
            async with selling(servers) as sources:
                story = Story(sources)
                await asyncio.sleep(SERVED_S)
                yield story
            async with Store.open(store) as opened:
                mended_s = await settled(opened)
            states = await check(store, sources.history, buyers)
            assert [family(server.pid) for server in servers] == before, "a worker was restarted"
            assert [await asyncio.to_thread(server.stop) for server in servers] == [0, 0]
        assert await check(store, sources.history, buyers) == states
    story.say(f"nothing in flight after {mended_s:.1f} s, no process restarted, all invariants hold")
    print(f"leads stored: {dict(states)}\nrefused meanwhile: {dict(sources.refusals)}")
    print(f"no write acknowledged for at most {', '.join(f'{gap_s:.1f}' for gap_s in story.gaps_s)} s", flush=True)


async def test_primary_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    """The machine of the primary is gone: the standby has all that was acknowledged, and takes writes within 30 s."""
    async with two_nodes(tmp_path, cluster.url) as story:
        for _ in range(KILLS):
            killed = cluster.primary()
            since = asyncio.get_running_loop().time()
            story.say(f"kill -9 of {killed.name}, the primary")
            await asyncio.to_thread(killed.kill)
            await story.served_again(since)
            story.say(f"writes again after {story.gaps_s[-1]:.1f} s without")
            await asyncio.to_thread(cluster.rejoin, killed)
            story.say(f"{killed.name} is back, as the standby")
            await asyncio.sleep(SERVED_S)
    assert max(story.gaps_s) < GAP_S


async def test_standby_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    """The machine of the standby is gone: commits wait until it is given up, long after their callers were refused."""
    async with two_nodes(tmp_path, cluster.url, LEXCHANGE_STORE_BUSY_MS="1000") as story:
        primary = cluster.primary()
        killed = next(member for member in cluster.members if member is not primary)
        since = asyncio.get_running_loop().time()
        story.say(f"kill -9 of {killed.name}, the standby")
        await asyncio.to_thread(killed.kill)
        await story.served_again(since)
        story.say(f"writes again after {story.gaps_s[-1]:.1f} s without")
        await asyncio.to_thread(cluster.rejoin, killed)
        assert cluster.primary() is primary
    assert max(story.gaps_s) < GAP_S


async def test_server_is_restarted_again_and_again(tmp_path: Path) -> None:
    """One PostgreSQL, shut down or killed every 5 to 40 s: the exchange goes on each time, without its restart."""
    drawn, loop = random.Random(SEED), asyncio.get_running_loop()
    with running("18", settings=()) as server, server.database() as url:
        async with two_nodes(tmp_path, url) as story:
            until, is_kill = loop.time() + RESTARTS_S, False
            while loop.time() < until:
                since, away_s = loop.time(), drawn.uniform(*AWAY_S)
                await restart(server, away_s, is_kill=is_kill)
                await story.served_again(since)
                how = f"{'kill -9' if is_kill else 'fast shutdown'}, {away_s:.1f} s away"
                story.say(f"{how}, writes again after {story.gaps_s[-1]:.1f} s without")
                is_kill = not is_kill
                await asyncio.sleep(drawn.uniform(*PAUSES_S))
    assert max(story.gaps_s) < GAP_S


async def restart(server: PostgresServer, away_s: float, *, is_kill: bool) -> None:
    """Ended one way or the other, and started again."""
    if is_kill:
        await asyncio.to_thread(server.kill)
    else:
        await asyncio.to_thread(server.stop, signal.SIGINT)
    await asyncio.sleep(away_s)
    await asyncio.to_thread(server.start)
