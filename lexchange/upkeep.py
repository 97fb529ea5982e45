"""Upkeep: what the store needs now and then while the exchange serves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lexchange.background import beside
from lexchange.clock import Clock
from lexchange.errors import StorageError
from lexchange.storage import Store
from lexchange.telemetry import log_event

PAUSE_S = 600


@asynccontextmanager
async def kept_up(store: Store, clock: Clock) -> AsyncIterator[None]:
    """Keep the store up until the block ends; it has been seen to once when the block begins."""
    await see_to(store, clock)
    async with beside(_keep_on(store, clock)):
        yield


async def see_to(store: Store, clock: Clock) -> None:
    """Make room for what comes, and give back what expired pings still hold of caps.

    Rows find a place without it, too, and pings that hold slots look for expired ones themselves; but no more once a
    configuration has them hold none. So a store that cannot do so now is asked later.
    """
    try:
        await store.make_room(clock.now_ms())
        await store.release_all_expired_holds(clock.now_ms())
    except StorageError as error:
        log_event("store_not_kept_up", error=str(error))


async def _keep_on(store: Store, clock: Clock) -> None:
    while True:
        await asyncio.sleep(PAUSE_S)
        await see_to(store, clock)
