"""Upkeep: what the store needs now and then while the exchange serves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from lexchange.background import beside, describe, keep_on
from lexchange.clock import Clock
from lexchange.storage import Store
from lexchange.telemetry import log_event

PAUSE_S = 600
FAILED = "store_not_kept_up"


@asynccontextmanager
async def kept_up(store: Store, clock: Clock) -> AsyncIterator[None]:
    """Keep the store up until the block ends; it has been seen to once when the block begins."""
    try:
        await see_to(store, clock)
    except Exception as error:  # noqa: BLE001 - it can wait: see there
        log_event(FAILED, error=describe(error))
    async with beside(keep_on(PAUSE_S, partial(see_to, store, clock), FAILED)):
        yield


async def see_to(store: Store, clock: Clock) -> None:
    """Make room for what comes, and give back what expired pings still hold of caps.

    Rows find a place without it, too, and pings that hold slots look for expired ones themselves; but no more once a
    configuration has them hold none. So a store that cannot do so now is asked later.
    """
    await store.make_room(clock.now_ms())
    await store.release_all_expired_holds(clock.now_ms())
