"""Caps: counted in the store, never above their limit, held for offered pings, given back once."""

from dataclasses import replace

import pytest

from lexchange.clock import SystemClock
from lexchange.storage import ClaimOutcome, Store
from lexchange.upkeep import see_to
from tests.storage.examples import NOW_MS, TTL_MS, a_lead, a_ping, slot


@pytest.mark.parametrize(("limit", "granted"), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 3)])
async def test_cap_grants_its_limit(store: Store, limit: int, granted: int):
    """Of three takers a cap grants as many as its limit says."""
    takes = [await store.take_caps([slot("c", limit)]) for _ in range(3)]
    assert takes == [None] * granted + [slot("c", limit)] * (3 - granted)
    assert await store.read_counters(["c"]) == {"c": granted}


@pytest.mark.parametrize(("amount", "is_granted"), [(4, True), (5, True), (6, False)])
async def test_budget_grants_up_to_its_limit(store: Store, amount: int, is_granted: bool):
    """A sum fits when it reaches the limit exactly, not above; also as the first of its counter."""
    take = slot("fresh", limit=5, amount=amount)
    assert await store.take_caps([take]) == (None if is_granted else take)
    await store.take_caps([slot("used", limit=10, amount=5)])
    take = slot("used", limit=10, amount=amount)
    assert await store.take_caps([take]) == (None if is_granted else take)


async def test_takes_are_all_or_none(store: Store):
    """When one cap of several is full, none is taken, and the full one is named."""
    assert await store.take_caps([slot("a"), slot("b", 0), slot("c")]) == slot("b", 0)
    assert await store.read_counters(["a", "b", "c"]) == {"a": 0, "b": 0, "c": 0}


async def test_no_takes_are_granted_without_a_write(store: Store):
    """No caps, no work."""
    assert await store.take_caps([]) is None
    assert await store.read_counters([]) == {}


async def test_ping_holds_its_slot(store: Store):
    """A ping with `reserve: ping` takes the slot at once; the next one finds the cap full and is not stored."""
    hold = slot("home:acme:day", limit=1)
    assert await store.record_ping(a_ping(1), [hold]) is None
    assert await store.record_ping(a_ping(2), [hold]) == hold
    assert await store.audit.find_ping(a_ping(2).ping_id) is None
    assert await store.read_counters(["home:acme:day"]) == {"home:acme:day": 1}


async def test_claim_uses_the_held_slot(store: Store):
    """The slot that a ping holds is its lead's: neither refused as full, nor counted twice, nor released later."""
    hold = slot("home:acme:day", limit=1)
    await store.record_ping(a_ping(1), [hold])
    lead = a_lead(1, a_ping(1).ping_id)
    claim = await store.claim_lead(lead, takes=[hold, slot("home:src:day")], now_ms=NOW_MS)
    assert claim.outcome is ClaimOutcome.CLAIMED
    assert await store.release_expired_holds("home", NOW_MS + TTL_MS) == 0
    assert await store.read_counters(["home:acme:day", "home:src:day"]) == {"home:acme:day": 1, "home:src:day": 1}


async def test_failed_claim_keeps_the_held_slot(store: Store):
    """A claim that another cap refuses leaves the ping its slot."""
    hold = slot("home:acme:day", limit=1)
    await store.record_ping(a_ping(1), [hold])
    claim = await store.claim_lead(a_lead(1, a_ping(1).ping_id), takes=[hold, slot("home:src:day", 0)], now_ms=NOW_MS)
    assert claim.outcome is ClaimOutcome.CAP_FULL
    assert await store.read_counters(["home:acme:day"]) == {"home:acme:day": 1}
    assert await store.release_expired_holds("home", NOW_MS + TTL_MS) == 1


async def test_lead_counts_in_the_window_of_its_post(store: Store):
    """A ping of yesterday that is posted today gives yesterday's slot back and takes today's."""
    await store.record_ping(a_ping(1), [slot("home:acme:23")])
    await store.claim_lead(a_lead(1, a_ping(1).ping_id), takes=[slot("home:acme:24")], now_ms=NOW_MS)
    assert await store.read_counters(["home:acme:23", "home:acme:24"]) == {"home:acme:23": 0, "home:acme:24": 1}


async def test_expired_holds_are_released_once(store: Store):
    """Slots of expired pings come back, one time; those of living pings stay."""
    for number in (1, 2, 3):
        await store.record_ping(a_ping(number), [slot("home:acme:day"), slot("home:acme:month", 99, 7)])
    await store.record_ping(a_ping(4, expires_ms=NOW_MS + TTL_MS + 1), [slot("home:acme:day")])
    assert await store.release_expired_holds("home", NOW_MS + TTL_MS - 1) == 0
    assert await store.release_expired_holds("home", NOW_MS + TTL_MS) == 6
    assert await store.release_expired_holds("home", NOW_MS + TTL_MS) == 0
    assert await store.read_counters(["home:acme:day", "home:acme:month"]) == {"home:acme:day": 1, "home:acme:month": 0}


async def test_expired_holds_of_all_campaigns_are_released_by_upkeep(store: Store):
    """No ping of theirs may come to look: their campaigns may have left `reserve: ping` behind meanwhile."""
    clock = SystemClock(wall_ns=lambda: (NOW_MS + TTL_MS) * 1_000_000)
    for number, campaign in enumerate(("home", "auto", "life")):
        await store.record_ping(a_ping(number, campaign=campaign), holds=[slot(f"{campaign}:c")])
    await store.record_ping(a_ping(3, expires_ms=NOW_MS + 2 * TTL_MS), holds=[slot("home:c")])
    await see_to(store, clock)
    counters = ["auto:c", "home:c", "life:c"]
    assert await store.read_counters(counters) == {"auto:c": 0, "home:c": 1, "life:c": 0}


async def test_expired_hold_makes_room_for_who_wants_its_slot(store: Store):
    """Nobody need have looked for it before: a claim that finds the cap full gets what expired pings still hold."""
    hold = slot("home:acme:day", limit=1)
    await store.record_ping(a_ping(1), [hold])
    lead = replace(a_lead(1, None), created_ms=NOW_MS + TTL_MS)
    before = await store.claim_lead(lead, takes=[hold], now_ms=NOW_MS + TTL_MS - 1)
    assert before.outcome is ClaimOutcome.CAP_FULL
    claim = await store.claim_lead(lead, takes=[hold], now_ms=NOW_MS + TTL_MS)
    assert claim.outcome is ClaimOutcome.CLAIMED
    assert await store.read_counters(["home:acme:day"]) == {"home:acme:day": 1}
