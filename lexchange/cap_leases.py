"""Cap leases: a process of several takes blocks of hot caps ahead, and gives back what it does not need.

The policy is `blocks.py`'s, the guards are the store's. What a process that is gone has left is swept with its leads
(`leases.py`); who finds a cap full meanwhile takes back what is leased (`storage/takes.py`).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lexchange.background import beside, keep_on
from lexchange.blocks import BlockRule
from lexchange.errors import StorageError
from lexchange.storage import Store
from lexchange.telemetry import log_event

LOOK_S = 0.5  # between two looks for leases that are not needed


@asynccontextmanager
async def leasing_caps(store: Store, worker: str, rule: BlockRule) -> AsyncIterator[None]:
    """Lease hot caps until the block ends; all leases are given back then."""
    store.lease_caps(worker, rule)
    async with beside(return_on(store)):
        yield
    try:
        await store.stop_leasing_caps()
    except StorageError as error:  # others sweep them
        log_event("cap_leases_not_returned", error=str(error))


async def return_on(store: Store) -> None:
    """Give back what is not needed until cancelled; a store that fails is asked again."""
    await keep_on(LOOK_S, store.return_idle_caps, "cap_leases_not_returned")
