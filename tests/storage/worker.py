"""A worker process for the races: opens the store, says `ready`, waits for a line, does its part, prints the outcome.

Run as `python -m tests.storage.worker PART URL ARGUMENTS…`.
"""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

from lexchange.blocks import BlockRule
from lexchange.errors import StorageError
from lexchange.leases import new_worker
from lexchange.storage import Store
from tests.storage.examples import NOW_MS, TTL_MS, a_lead, a_ping, slot

EAGER = BlockRule(hot_per_s=1, share=4, fewest=1)


async def started() -> None:
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


async def claim(store: Store, who: int, count: int) -> None:
    """Claim pings 1..count at once, in an order of its own, each with a slot of one cap that is never full."""
    await started()
    numbers = list(range(1, count + 1))
    random.Random(who).shuffle(numbers)
    async with asyncio.TaskGroup() as group:
        claims = [
            group.create_task(
                store.claim_lead(
                    a_lead(who * 100_000 + number, a_ping(number).ping_id), takes=[slot("c", count)], now_ms=NOW_MS
                )
            )
            for number in numbers
        ]
    print(Counter(task.result().outcome.value for task in claims)["claimed"])


async def take(store: Store, limit: int, count: int) -> None:
    """Take a slot `count` times at once."""
    await started()
    async with asyncio.TaskGroup() as group:
        takes = [group.create_task(store.take_caps([slot("c", limit)])) for _ in range(count)]
    print(sum(task.result() is None for task in takes))


async def lease(store: Store, limit: int, count: int, amount: int) -> None:
    """As `take`, in turns of 20 at once and with leases; give back what is left of them."""
    store.lease_caps(new_worker(), EAGER)
    await started()
    granted = 0
    for _ in range(0, count, 20):
        async with asyncio.TaskGroup() as group:
            takes = [group.create_task(store.take_caps([slot("c", limit, amount)])) for _ in range(20)]
        granted += sum(task.result() is None for task in takes)
    await store.stop_leasing_caps()
    print(granted)


async def lease_on(store: Store, limit: int) -> None:
    """Take slots one by one, with leases, until killed; say so once the store has acknowledged each."""
    worker = new_worker()
    await store.renew_lease(worker, until_ms=NOW_MS + TTL_MS)
    store.lease_caps(worker, EAGER)
    await started()
    while await store.take_caps([slot("c", limit)]) is None:
        print("taken", flush=True)


async def release(store: Store) -> None:
    """Release what has expired, again and again."""
    await started()
    print(sum([await store.release_expired_holds("home", NOW_MS + TTL_MS) for _ in range(5)]))


async def ping(store: Store, who: int) -> None:
    """Record pings, many at once, until killed; print each id once the store has acknowledged it."""
    await started()

    async def record(lane: int) -> None:
        for number in range(1_000_000):
            one = a_ping((who * 100 + lane) * 1_000_000 + number)
            await store.record_ping(one)
            print(one.ping_id, flush=True)

    async with asyncio.TaskGroup() as group:
        for lane in range(20):
            group.create_task(record(lane))


async def opened(store: Store) -> None:
    """Nothing more than to have opened. Who reads while others still open waits a little, and may have to ask again."""
    for _ in range(50):
        with suppress(StorageError):
            print(await store.audit.find_ping("PING-0"))
            return
        await asyncio.sleep(0.1)


async def main(part: str, url: str, *arguments: str) -> None:
    if part == "opened":  # here the opening itself is the race
        await started()
    async with Store.open(url) as store:
        await PARTS[part](store, *map(int, arguments))


PARTS: dict[str, Callable[..., Awaitable[None]]] = {
    "claim": claim,
    "take": take,
    "lease": lease,
    "lease_on": lease_on,
    "release": release,
    "ping": ping,
    "opened": opened,
}

if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
