"""Sources that never give up: each lead is pinged and posted, at one node after the other, until it has an answer."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import orjson

from tests.commands.invariants import History, a_call
from tests.commands.processes import Serving
from tests.exchange.transports import Answer, Call, Rest

PATIENCE = aiohttp.ClientTimeout(total=60)
PAUSE_S = 0.1  # before a refused call is made again


class Sources:
    """What they were told, when, and how often they were refused. With `is_over` they begin no further lead."""

    def __init__(self, nodes: Sequence[Serving]) -> None:
        self.history = History()
        self.answered: list[float] = []  # when a write was acknowledged, on the loop's clock
        self.refusals: Counter[str] = Counter()
        self.is_over = False
        self._nodes = nodes
        self._numbers = itertools.count()

    def silence(self, since: float) -> float:
        """The longest time without any acknowledged ping or post from then on."""
        times = [since, *(time for time in self.answered if time > since)]
        return max(after - before for before, after in itertools.pairwise([*times, self._now()]))

    async def sell_on(self, who: int, pause_s: float) -> None:
        """One client: lead after lead, and a pause after each."""
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(aiohttp.ClientSession(timeout=PATIENCE))
            nodes = itertools.cycle([Rest(node.http, http) for node in self._nodes])
            for _ in range(who):
                next(nodes)
            while not self.is_over:
                number = next(self._numbers)
                offered = await self._answer(nodes, a_call("ping", number), "accepted")
                self.history.pings[number] = offered
                call = a_call("post", number, ping_id=offered["ping_id"])
                self.history.posts[number] = await self._answer(nodes, call)
                await asyncio.sleep(pause_s)

    async def _answer(self, nodes: "itertools.cycle[Rest]", call: Call, wanted: str = "") -> Answer:
        node = next(nodes)
        while True:
            try:
                status, answer = await node.send(call)
            except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
                refusal = type(error).__name__
            else:
                if status == 200 and wanted in ("", answer["status"]):
                    if answer["status"] != "failed":  # which may have been told without one
                        self.answered.append(self._now())
                    return answer
                refusal = f"{status} {answer.get('reason')}"
            self.refusals[refusal] += 1
            node = next(nodes)
            await asyncio.sleep(PAUSE_S)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


@asynccontextmanager
async def selling(nodes: Sequence[Serving], clients: int = 8, pause_s: float = 0.02) -> AsyncIterator[Sources]:
    """Sources at work; when the block ends, every lead that they have begun gets its answer."""
    sources = Sources(nodes)
    async with asyncio.TaskGroup() as group:
        for who in range(clients):
            group.create_task(sources.sell_on(who, pause_s))
        try:
            yield sources
        finally:
            sources.is_over = True
