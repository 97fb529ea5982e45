"""What calls and configurations leave behind: nothing that only the garbage collector could free, on any road.

A cycle for each call would keep what came with it, data of people included, until the collector comes by, and would
push what the next calls need out of the processor's caches.
"""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lexchange.campaign_file import load_campaigns
from lexchange.catalog import Catalog
from lexchange.config import Limits
from tests.exchange.cases import BASE
from tests.exchange.running import exchange_for
from tests.exchange.transports import TRANSPORTS, Call, transport

CALLS = 20
CAMPAIGNS = Path(__file__).parents[2] / "campaigns"
OURS = ("lexchange", "gateway")


@contextmanager
def only_the_collector() -> Iterator[Counter[str]]:
    """Objects of our classes that nothing else would have freed, by the block's end."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found.update(type(each).__qualname__ for each in gc.garbage if type(each).__module__.startswith(OURS))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("road", TRANSPORTS)
async def test_calls_leave_no_cycle_behind(road: str, tmp_path: Path) -> None:
    """Pings that are sold, their posts, a post of an unknown ping, and data with problems."""
    bad = BASE["calls"]["ping"] | {"data": {"email": "no address"}}
    async with exchange_for({}, tmp_path) as (server, _), transport(road, server) as source:

        async def call(name: str, body: object) -> str:
            status, answer = await source.send(Call(name=name, body=body))
            assert status == 200
            return str(answer.get("ping_id", ""))

        async def all_kinds() -> None:
            ping_id = await call("ping", BASE["calls"]["ping"])
            assert ping_id
            await call("post", BASE["calls"]["post"] | {"ping_id": ping_id})
            await call("post", BASE["calls"]["post"] | {"ping_id": "PING-0123456789ABCDEF"})
            await call("ping", bad)

        await all_kinds()  # connections are opened
        with only_the_collector() as found:
            for _ in range(CALLS):
                await all_kinds()
        assert {name: count for name, count in found.items() if count >= CALLS} == {}


def test_a_configuration_is_no_garbage() -> None:
    """So a process need not look through a large one when it starts: it is set apart unseen."""

    def read_and_compile() -> None:
        loaded = load_campaigns(CAMPAIGNS, is_dev=True, pepper=b"", environment={"ACME_TOKEN": "token"})
        assert Catalog(loaded.campaigns, version=loaded.version, limits=Limits()).live

    read_and_compile()  # what is imported and kept for good
    gc.collect()
    gc.disable()
    try:
        read_and_compile()
        assert gc.collect() == 0
    finally:
        gc.enable()
