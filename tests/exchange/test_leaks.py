"""Callers who hang up at any moment, and deadlines that end anywhere: a second later nothing of their calls is left."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from lexchange.buyers.connection import Pool
from lexchange.server import Server
from lexchange.storage import Store
from tests.buyers.calls import open_files
from tests.exchange.books import check_caps, settle
from tests.exchange.cases import BASE, Case
from tests.exchange.running import exchange_for
from tests.exchange.scripted_buyers import Reply, ScriptedBuyers
from tests.exchange.transports import Answer, Call, Transport, transport

CALLERS, CALLS = 40, 9  # at once, and of each
PLACES = 80  # of calls in flight: one more and there is no room
CONNECTIONS = 16  # to both buyers together, so that some calls wait for one
MOST_MS = 300  # what a buyer takes, and a caller has patience for
BUYERS = ("acme", "bright")
SOLD, NO, HANGS_UP = {"json": {"result": "sold"}}, {"json": {"result": "rejected"}}, {"reset": True}
CAP = [{"window": "total", "limit": 100_000}, {"window": "total", "budget": 1_000_000}]
FIELDS = {"email": {"from": "lead.email"}, "delivery": {"from": "delivery_id"}}
TIMEOUTS = {f"buyers.{name}.{stage}.timeout_ms": 250 for name in BUYERS for stage in ("ping", "post")}
WORLD: Case = {
    "change": {
        "routing.ping_timeout_ms": 250,
        "routing.on_post_reject": "next_bidder",
        "payout": {"mode": "fixed", "amount": 4},  # so that bright may follow acme
        "sources.SRC_MAIN.caps": CAP,
        **TIMEOUTS,
        **{f"buyers.{name}.caps": CAP for name in BUYERS},
        **{f"buyers.{name}.post.fields": FIELDS for name in BUYERS},
        **{f"buyers.{name}.breaker": {"mode": "disabled"} for name in BUYERS},
    },
    "limits": {"in_flight": PLACES, "connections_per_buyer": CONNECTIONS, "late_grace_ms": 200},
}
IN_TIME = ("deadline_exceeded", "downstream_timeout", "no_eligible_buyer")  # what a deadline makes of a call


def slow(dice: random.Random, *replies: Reply) -> list[Reply]:
    """Replies of a buyer who takes his time."""
    return [dice.choice(replies) | {"delay_ms": dice.randint(0, MOST_MS)} for _ in range(2_000)]


class Storm:
    """Callers who leave; what came of their calls."""

    def __init__(self, dice: random.Random, roads: list[Transport], calls: list[Call]) -> None:
        self._dice = dice
        self._roads = roads
        self._calls = calls
        self.ends: Counter[str] = Counter()

    async def rage(self) -> None:
        """All callers, to their last call."""
        async with asyncio.TaskGroup() as group:
            for caller in range(CALLERS):
                group.create_task(self._call_on(caller))

    async def _call_on(self, caller: int) -> None:
        for turn in range(CALLS):
            call = self._calls[caller * CALLS + turn]
            patience_ms = self._dice.randint(1, MOST_MS)
            if self._dice.random() < 0.5:
                headers = {**call.headers, "Grpc-Timeout": f"{patience_ms}m"}
                self.ends[await self._told(Call(name=call.name, body=call.body, headers=headers))] += 1
            else:
                await self._hang_up(call, patience_ms / 1000)

    async def _told(self, call: Call) -> str:
        _, answer = await self._dice.choice(self._roads).send(call)
        return str(answer.get("reason", answer["status"]))

    async def _hang_up(self, call: Call, patience_s: float) -> None:
        try:
            async with asyncio.timeout(patience_s):
                self.ends[await self._told(call)] += 1
        except TimeoutError:
            self.ends["hung up"] += 1


class Traces:
    """What calls may leave behind in a running exchange."""

    def __init__(self, server: Server) -> None:
        self._exchange = server.exchange
        self._tasks = self._running()
        self._files = self._open_files()

    def left(self) -> list[str]:
        """What is there that was not when this was made, and every place that is taken."""
        left = [f"task {name}" for name in (self._running() - self._tasks).elements()]
        if (files := self._open_files()) > self._files:
            left.append(f"{files - self._files} files")
        if held := self._exchange.places.held:
            left.append(f"{held} places of calls in flight")
        for pool in self._pools:
            if pool._place_count != len(pool.connections) or pool._line:
                left.append(f"{pool._place_count} places for {len(pool.connections)} connections, {pool._line}")
            if len(pool.connections) > CONNECTIONS:
                left.append(f"{len(pool.connections)} connections to a buyer")
        return left

    @property
    def _pools(self) -> list[Pool]:
        return list(self._exchange._client._pools.values())

    def _running(self) -> Counter[str]:
        """All but the buyers' and the test's own."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        names = [str(getattr(task.get_coro(), "__qualname__", task)) for task in tasks]
        return Counter(name for name in names if name != ScriptedBuyers.serve.__qualname__)

    def _open_files(self) -> int:
        """Of connections that are kept to buyers both ends lie in this process."""
        return open_files() - 2 * sum(len(pool.connections) for pool in self._pools)


@asynccontextmanager
async def roads_to(server: Server) -> AsyncIterator[list[Transport]]:
    """Every road; closed when the block ends."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(transport(name, server)) for name in ("grpc", "rest")]


async def assert_nothing_left(traces: Traces) -> None:
    """Within a second."""
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            while traces.left():  # noqa: ASYNC110 - what is waited for is that nothing more happens
                await asyncio.sleep(0.02)
    assert traces.left() == []


def a_call(name: str, number: int, **more: Any) -> Call:
    given = BASE["calls"][name]
    return Call(name=name, body=given | {"data": given["data"] | {"email": f"{number}@example.com"}} | more)


async def sell_calmly(roads: list[Transport], calls: list[Call]) -> list[Answer]:
    """As many at once as there are places."""
    answers = []
    for start in range(0, len(calls), PLACES):
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(roads[place % len(roads)].send(call))
                for place, call in enumerate(calls[start : start + PLACES])
            ]
        answers += [task.result()[1] for task in tasks]
    assert {answer["status"] for answer in answers} <= {"accepted", "delivered"}, answers
    return answers


def fall_slow(buyers: ScriptedBuyers, dice: random.Random) -> None:
    for name in BUYERS:
        buyers.say(f"{name}.ping", *slow(dice, {"json": {"status": "ok", "bid": 7}}))
        buyers.say(f"{name}.post", *slow(dice, SOLD, NO, HANGS_UP))


def recover(buyers: ScriptedBuyers) -> None:
    for name in BUYERS:
        buyers.say(f"{name}.ping", {"json": {"status": "ok", "bid": 7}})
        buyers.say(f"{name}.post", SOLD)


@pytest.mark.parametrize("name", ["ping", "post", "direct_post"])
async def test_nothing_is_left_when_callers_hang_up(name: str, memory: Path) -> None:
    """No task, file, place or lead in flight a second after the last of 360 calls, and room for as many as before."""
    dice = random.Random(name)
    change = WORLD["change"] | ({"traffic_type": "direct_post"} if name == "direct_post" else {})
    first = "direct_post" if name == "direct_post" else "ping"
    async with exchange_for(WORLD | {"change": change}, memory) as (server, buyers):
        calls = [a_call(first, number) for number in range(CALLERS * CALLS)]
        async with roads_to(server) as roads:
            for start in range(0, len(calls) if name == "post" else CALLERS, CALLERS):
                answers = await sell_calmly(roads, calls[start : start + CALLERS])
                if name == "post":
                    calls[start : start + CALLERS] = [
                        a_call("post", start + place, ping_id=answer["ping_id"]) for place, answer in enumerate(answers)
                    ]
        await asyncio.sleep(0.3)
        traces = Traces(server)
        fall_slow(buyers, dice)
        async with roads_to(server) as roads:
            storm = Storm(dice, roads, calls)
            await storm.rage()
        await assert_nothing_left(traces)
        assert min(storm.ends["hung up"], sum(storm.ends[end] for end in IN_TIME)) > 50, storm.ends
        recover(buyers)
        async with roads_to(server) as roads:
            await sell_calmly(roads, [a_call(first, -number) for number in range(PLACES)])
        await assert_nothing_left(traces)
        async with Store.open(f"sqlite:///{memory}/store.db") as store:
            await settle(store)
            check_caps(await store.audit.recent_leads(10_000), memory / "store.db")
        got = Counter(lead["delivery"] for buyer in BUYERS for lead in buyers.received[f"{buyer}.post"])
        assert set(got.values()) <= {1}
