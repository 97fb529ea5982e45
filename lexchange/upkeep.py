"""Upkeep: what the store needs now and then while the exchange serves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lexchange.clock import Clock
from lexchange.errors import StorageError
from lexchange.storage import Store
from lexchange.telemetry import log_event

PAUSE_S = 600


@asynccontextmanager
async def kept_up(store: Store, clock: Clock) -> AsyncIterator[None]:
    """Keep the store up until the block ends; it has been seen to once when the block begins."""
    await see_to(store, clock)
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(_keep_on(store, clock))
        try:
            yield
        finally:
            keeping.cancel()


async def see_to(store: Store, clock: Clock) -> None:
    """Make room for what comes. Rows find a place without it, too, so a store that cannot do so now is asked later."""
    try:
        await store.make_room(clock.now_ms())
    except StorageError as error:
        log_event("room_not_made", error=str(error))


async def _keep_on(store: Store, clock: Clock) -> None:
    while True:
        await asyncio.sleep(PAUSE_S)
        await see_to(store, clock)
