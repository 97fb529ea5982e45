"""Pings: stored whole, found again, repeated, completed by late answers."""

from dataclasses import replace

import pytest

from lexchange.errors import StorageError
from lexchange.lead import PingOutcome, PingState
from lexchange.storage import ClaimOutcome, Store
from tests.storage.examples import BID, LATE, NOW_MS, OPEN, SKIPPED, TTL_MS, a_lead, a_ping


async def test_ping_comes_back_as_it_was_stored(store: Store):
    """A ping is rebuilt exactly, every field and type of it."""
    full = a_ping(1, repeat_key="k")
    empty = a_ping(
        2,
        state=PingState.NO_SALE,
        reason="no_eligible_buyer",
        detail="",
        winner=None,
        bid_micros=None,
        payout_micros=None,
        turns={},
        data={},
        dropped=[],
        problems=[],
        buyers=[],
        is_test=True,
    )
    for ping in (full, empty):
        assert await store.record_ping(ping) is None
        found = await store.audit.find_ping(ping.ping_id)
        assert found == ping
        assert repr(found) == repr(ping)  # equal texts and enums are told apart here


async def test_unknown_ping_is_none(store: Store):
    """A ping that was never stored is not found."""
    assert await store.audit.find_ping("PING-0") is None


async def test_ping_id_is_used_once(store: Store):
    """Two pings under one id are a fault: the second is refused and the first stays."""
    await store.record_ping(a_ping(1))
    with pytest.raises(StorageError, match="pings"):
        await store.record_ping(a_ping(1, src="SRC_OTHER"))
    assert await store.audit.find_ping(a_ping(1).ping_id) == a_ping(1)


async def test_late_answers_take_the_places_of_their_buyers(store: Store):
    """A late answer replaces its buyer's entry by name, keeps the order, and the last word counts."""
    await store.record_ping(a_ping(1))
    timed_out = replace(OPEN, outcome=PingOutcome.TIMED_OUT)
    await store.record_late_answers("home", a_ping(1).ping_id, [timed_out])
    await store.record_late_answers("home", a_ping(1).ping_id, [LATE])
    await store.record_late_answers("home", a_ping(1).ping_id, [])
    found = await store.audit.find_ping(a_ping(1).ping_id)
    assert found is not None
    assert found.buyers == [BID, SKIPPED, LATE]


async def test_late_answers_of_several_buyers_leave_the_ping_one(store: Store):
    """However many late answers, a ping is one ping, in lists too."""
    await store.record_ping(a_ping(1))
    await store.record_ping(a_ping(2))
    late_acme = replace(BID, outcome=PingOutcome.LATE)
    await store.record_late_answers("home", a_ping(1).ping_id, [LATE, late_acme])
    newest = await store.audit.recent_pings(10)
    assert [ping.ping_id for ping in newest] == [a_ping(2).ping_id, a_ping(1).ping_id]
    assert newest[1].buyers == [late_acme, SKIPPED, LATE]


async def test_late_answers_of_a_direct_post_survive_its_delivery(store: Store):
    """A lead's record is rewritten while late answers come in; neither loses the other."""
    lead = a_lead(1)
    await store.claim_lead(lead, now_ms=NOW_MS)
    await store.record_late_answers("home", lead.lead_id, [LATE])
    await store.start_attempt(replace(lead, updated_ms=NOW_MS + 20))
    found = await store.audit.find_lead(lead.lead_id)
    assert found is not None
    assert found.buyers == [BID, SKIPPED, LATE]


REPEAT = {"since_ms": NOW_MS - 60_000, "now_ms": NOW_MS + 1_000}


async def test_repeat_is_the_latest_equal_ping(store: Store):
    """Of several equal pings the latest answers; a ping without a sale answers too."""
    await store.record_ping(a_ping(1, repeat_key="k"))
    await store.record_ping(a_ping(2, repeat_key="k", created_ms=NOW_MS + 5, state=PingState.NO_SALE))
    found = await store.find_repeat("home", "SRC_MAIN", "k", **REPEAT)
    assert found is not None
    assert found.ping_id == a_ping(2).ping_id


@pytest.mark.parametrize(
    "other",
    [
        {"repeat_key": "other"},
        {"repeat_key": None},
        {"campaign": "other"},
        {"src": "SRC_OTHER"},
        {"is_test": True},
        {"state": PingState.CLAIMED},
        {"created_ms": NOW_MS - 60_001},
        {"expires_ms": NOW_MS + 1_000},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_ping_that_is_no_repeat(store: Store, other: dict[str, object]):
    """Only a live, unexpired, unclaimed ping of the same source and campaign within the window is repeated."""
    await store.record_ping(a_ping(1, **{"repeat_key": "k"} | other))
    assert await store.find_repeat("home", "SRC_MAIN", "k", **REPEAT) is None


async def test_claimed_ping_is_no_repeat_any_more(store: Store):
    """A consumed ping_id is never offered again."""
    ping = a_ping(1, repeat_key="k")
    await store.record_ping(ping)
    assert await store.find_repeat("home", "SRC_MAIN", "k", **REPEAT) == ping
    claim = await store.claim_lead(a_lead(1, ping.ping_id), now_ms=NOW_MS)
    assert claim.outcome is ClaimOutcome.CLAIMED
    assert await store.find_repeat("home", "SRC_MAIN", "k", **REPEAT) is None


async def test_ping_lives_to_its_last_millisecond(store: Store):
    """expires_ms itself is too late."""
    await store.record_ping(a_ping(1, repeat_key="k"))
    last = {"since_ms": NOW_MS, "now_ms": NOW_MS + TTL_MS - 1}
    assert await store.find_repeat("home", "SRC_MAIN", "k", **last) is not None
    over = {"since_ms": NOW_MS, "now_ms": NOW_MS + TTL_MS}
    assert await store.find_repeat("home", "SRC_MAIN", "k", **over) is None
