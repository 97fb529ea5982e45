"""Leases of caps: leased and used together stay at or below the cap, and nobody is refused while a slot is left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from lexchange.blocks import BlockRule
from lexchange.lead import LeadState
from lexchange.leases import Lease, new_worker
from lexchange.storage import ClaimOutcome, Store, takes
from tests.storage.examples import NOW_MS, TTL_MS, a_lead, a_ping, ended, slot
from tests.storage.test_leases import MovedClock
from tests.storage.test_race import race, spawn, start

ALWAYS = BlockRule(
    hot_per_s=1, seconds=1, share=1, fewest=1
)  # every counter is hot, and all that is left may be leased


@pytest.fixture
async def two(url: str) -> AsyncIterator[list[Store]]:
    """Two processes on one database, both of which lease what they can."""
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(Store.open(url)) for _ in range(2)]
        for store, worker in zip(stores, ("one", "other"), strict=True):
            store.lease_caps(worker, ALWAYS)
        yield stores


async def counted(store: Store, counter: str = "c") -> int:
    """The counter as it is stored, leases included."""
    rows = await store._connector.read("SELECT used FROM cap_counters WHERE counter = ?", (counter,))
    return int(rows[0][0])


async def leases(store: Store) -> dict[str, int]:
    """What is left of each lease, by its process; none is being given back."""
    rows = await store._connector.read("SELECT worker, amount_left, amount_back FROM cap_leases ORDER BY worker")
    assert not any(back for _, _, back in rows)
    return {worker: left for worker, left, _ in rows}


async def take(store: Store, count: int, limit: int = 1_000, amount: int = 1, counter: str = "c") -> int:
    """Take so often, one after the other; how often it was granted."""
    return sum([await store.take_caps([slot(counter, limit, amount)]) is None for _ in range(count)])


async def test_block_is_counted_once_and_spent_apart(two: list[Store]):
    """A block is used of the counter when it is leased; what is spent of it leaves the counter alone."""
    assert await take(two[0], 2) == 2
    assert (await counted(two[0]), await leases(two[0])) == (4, {"one": 2})
    assert await take(two[0], 2) == 2
    assert (await counted(two[0]), await leases(two[0])) == (4, {"one": 0})


async def test_counters_tell_what_is_used_and_not_leased(two: list[Store]):
    """To everybody, whoever has the lease."""
    await take(two[0], 2)
    assert [await store.read_counters(["c", "d"]) for store in two] == [{"c": 2, "d": 0}] * 2


@pytest.mark.parametrize("limit", range(1, 12))
async def test_cap_is_used_to_the_last_slot(two: list[Store], limit: int):
    """Two processes that take in turns get exactly the limit, though each leases all it can."""
    granted = [await take(store, 1, limit) for _ in range(12) for store in two]
    assert granted == [1] * limit + [0] * (24 - limit)
    assert await two[0].read_counters(["c"]) == {"c": limit}
    assert await counted(two[0]) == limit


async def test_full_counter_takes_back_what_others_lease(two: list[Store]):
    """At once, and only then; the one that had the lease goes on from the counter."""
    assert await take(two[0], 2, limit=5) == 2
    assert await leases(two[0]) == {"one": 2}
    assert await take(two[1], 3, limit=5) == 3
    assert (await counted(two[0]), await leases(two[0])) == (5, {})
    assert [await take(store, 1, limit=5) for store in two] == [0, 0]


async def test_leases_add_up_for_a_larger_amount(two: list[Store]):
    """A budget that is left in pieces still pays for what all of them together pay for."""
    await take(two[0], 2, limit=20, amount=2)
    await take(two[1], 2, limit=20, amount=2)
    assert await counted(two[0]) > 14
    used = (await two[0].read_counters(["c"]))["c"]
    assert await take(two[0], 1, limit=20, amount=20 - used) == 1
    assert (await counted(two[0]), await take(two[1], 1, limit=20)) == (20, 0)


async def test_truly_full_cap_leaves_leases_alone(two: list[Store]):
    """A take that is too large for all that is left takes nothing back."""
    await take(two[0], 2, limit=10)
    before = await leases(two[0])
    assert await take(two[1], 1, limit=10, amount=9) == 0
    assert await leases(two[0]) == before == {"one": 2}


async def test_lowered_cap_is_not_passed_by_a_lease(two: list[Store]):
    """What was leased under a higher limit is given back before a take under a lower one is judged."""
    await take(two[0], 6, limit=100)
    assert sum((await leases(two[0])).values()) > 0
    used = (await two[0].read_counters(["c"]))["c"]
    assert await take(two[0], 5, limit=used + 2) == 2
    assert await counted(two[0]) == used + 2


async def test_price_above_the_bid_is_paid_from_what_is_leased(two: list[Store]):
    """It is owed whatever the cap says; the lease then serves nobody until it is within the cap with it."""
    lead = a_lead(1)
    await two[0].claim_lead(lead, now_ms=NOW_MS)
    assert await take(two[0], 2, limit=10) == 2
    assert (await counted(two[0]), await leases(two[0])) == (4, {"one": 2})
    await two[1].finish_lead(ended(lead, LeadState.DELIVERED), adjustments=[("c", 7)])
    assert await take(two[0], 3, limit=10) == 1
    assert (await counted(two[0]), await take(two[1], 1, limit=10)) == (10, 0)


async def test_expired_hold_and_leases_make_room_together(two: list[Store]):
    """A claim that needs what an expired ping holds and what another process has leased gets both."""
    await two[0].record_ping(a_ping(1), [slot("home:c", 10, 4)])
    assert await take(two[1], 2, limit=10, counter="home:c") == 2
    assert (await counted(two[1], "home:c"), await leases(two[1])) == (8, {"other": 2})
    lead = a_lead(1, takes=[slot("home:c", 10, 8)])
    before = await two[0].claim_lead(lead, takes=lead.takes, now_ms=NOW_MS + TTL_MS - 1)
    assert before.outcome is ClaimOutcome.CAP_FULL
    claim = await two[0].claim_lead(lead, takes=lead.takes, now_ms=NOW_MS + TTL_MS)
    assert claim.outcome is ClaimOutcome.CLAIMED
    assert (await counted(two[0], "home:c"), await leases(two[0])) == (10, {})


async def test_claim_takes_from_the_lease_and_gives_back_to_the_counter(two: list[Store]):
    """A lead's slot comes from the lease; when nothing was sent, it is everybody's again."""
    await take(two[0], 2)
    lead = a_lead(1, takes=[slot("c", 1_000)])
    await two[0].claim_lead(lead, takes=lead.takes, now_ms=NOW_MS)
    assert (await counted(two[0]), await leases(two[0])) == (4, {"one": 1})
    await two[0].finish_lead(ended(lead, LeadState.FAILED, takes=[]), releases=lead.takes)
    assert (await counted(two[0]), await leases(two[0])) == (3, {"one": 1})
    assert await two[0].read_counters(["c"]) == {"c": 2}


async def test_claim_that_is_refused_leaves_the_lease_as_it_was(two: list[Store]):
    """All or none: a slot of the lease is not spent when the ping is gone or another cap is full."""
    await take(two[0], 2)
    gone = await two[0].claim_lead(a_lead(1, a_ping(1).ping_id), takes=[slot("c", 1_000)], now_ms=NOW_MS)
    full = await two[0].claim_lead(a_lead(2), takes=[slot("c", 1_000), slot("d", 0)], now_ms=NOW_MS)
    assert (gone.outcome, full.outcome) == (ClaimOutcome.NOT_OFFERED, ClaimOutcome.CAP_FULL)
    assert (await counted(two[0]), await leases(two[0])) == (4, {"one": 2})


async def test_held_slots_are_not_leased(two: list[Store]):
    """A slot that a ping holds goes to its lead over the shared counter."""
    hold = slot("home:c", 9)
    for number in range(1, 4):
        await two[0].record_ping(a_ping(number), [hold])
    for number in range(1, 4):
        lead = a_lead(number, a_ping(number).ping_id)
        claim = await two[0].claim_lead(lead, takes=[hold], held=[hold], now_ms=NOW_MS)
        assert claim.outcome is ClaimOutcome.CLAIMED
    assert (await counted(two[0], "home:c"), await leases(two[0])) == (3, {})


async def test_hold_takes_back_what_others_lease(two: list[Store]):
    """A ping finds its slot where direct posts have leased all of the same cap."""
    await take(two[1], 2, limit=4, counter="home:c")
    assert await counted(two[1], "home:c") == 4
    assert [await two[0].record_ping(a_ping(number), [slot("home:c", 4)]) is None for number in (1, 2, 3)] == [1, 1, 0]


async def test_idle_lease_is_returned(two: list[Store], monkeypatch: pytest.MonkeyPatch):
    """After a second without a take, and not before; the other process's lease is the other's."""
    now = [100.0]
    monkeypatch.setattr(takes, "_now", lambda: now[0])
    await take(two[0], 2)
    await take(two[1], 2)
    before = await leases(two[0])
    now[0] += 0.9
    await two[0].return_idle_caps()
    assert await leases(two[0]) == before
    now[0] += 0.2
    await two[0].return_idle_caps()
    assert await leases(two[0]) == {"other": before["other"]}
    assert await counted(two[0]) == 4 + before["other"]


async def test_lease_is_returned_when_its_process_stops(two: list[Store]):
    """In order: what it had left is the counter's, and it leases nothing any more."""
    await take(two[0], 2)
    await two[0].stop_leasing_caps()
    assert await take(two[0], 10) == 10
    assert (await counted(two[0]), await leases(two[0])) == (12, {})


async def test_orphaned_lease_is_returned_once(two: list[Store]):
    """However many sweep at once; the lease of a process that lives stays."""
    await take(two[0], 2)
    await take(two[1], 2)
    left = (await leases(two[0]))["other"]
    await asyncio.gather(*(store.return_orphaned_caps({"other"}) for store in two * 5))
    assert (await counted(two[0]), await leases(two[0])) == (4 + left, {"other": left})


async def test_process_that_was_only_slow_goes_on(two: list[Store]):
    """Its lease was swept, so it takes from the counter; nothing is counted twice."""
    await take(two[0], 2)
    await two[1].return_orphaned_caps({"other"})
    assert await take(two[0], 3, limit=4) == 2
    assert await counted(two[0]) == 4


async def test_beat_sweeps_the_lease_of_a_killed_process(url: str):
    """`kill -9` while leasing: each slot that no acknowledged take has used comes back, and the cap can be filled."""
    with spawn("lease_on", url, 1_000) as killed:
        start([killed])
        assert killed.stdout is not None
        acknowledged = sum(killed.stdout.readline() == "taken\n" for _ in range(50))
        killed.kill()
        acknowledged += killed.stdout.read().count("taken\n")
    async with Store.open(url) as store:
        await Lease(store, MovedClock(), 10, new_worker()).beat()
        used = (await store.read_counters(["c"]))["c"]
        assert acknowledged <= used <= acknowledged + 1
        assert (await counted(store), await leases(store)) == (used, {})
        assert await take(store, 1, amount=1_000 - used) == 1


@pytest.mark.parametrize(
    ("limit", "amount", "count", "granted"),
    [(500, 1, 340, 500), (520, 1, 260, 520), (10_000, 7, 960, 1_428)],
)
async def test_race_for_a_leased_cap(url: str, limit: int, amount: int, count: int, granted: int):
    """Two processes that lease all the time get what the cap allows, to the last slot, and leave nothing leased.

    Where they want exactly the limit between them, none of their takes is refused.
    """
    said = race([spawn("lease", url, limit, count, amount) for _ in range(2)])
    async with Store.open(url) as store:
        assert sum(map(int, said)) == granted
        assert await counted(store) == granted * amount
        assert await leases(store) == {}
