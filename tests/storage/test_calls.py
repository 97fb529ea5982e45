"""Idempotency keys, and the record of configurations."""

import pytest

from lexchange.lead import Lead
from lexchange.storage import CallMark, CallOutcome, CallStart, ClaimOutcome, Store
from tests.storage.examples import NOW_MS, a_lead

DAY_MS = 86_400_000


async def begin(store: Store, body_hash: str = "h1", now_ms: int = NOW_MS, src: str = "SRC_MAIN") -> CallStart:
    return await store.begin_call(src, "key-1", body_hash, now_ms=now_ms, remember_ms=DAY_MS)


def mark(begun_ms: int = NOW_MS) -> CallMark:
    return CallMark(idempotency_key="key-1", begun_ms=begun_ms)


NEW = CallStart(outcome=CallOutcome.NEW)
IN_FLIGHT = CallStart(outcome=CallOutcome.IN_FLIGHT)
REUSED = CallStart(outcome=CallOutcome.REUSED)
REPLAY = CallStart(outcome=CallOutcome.REPLAY, answer=b'{"status":"delivered"}\x00\xff')


async def test_answered_call_is_replayed(store: Store):
    """A repeat of the same body gets the first answer byte for byte; another body is refused."""
    assert await begin(store) == NEW
    assert await begin(store) == IN_FLIGHT
    assert await begin(store, "h2") == REUSED
    await store.finish_call("SRC_MAIN", mark(), REPLAY.answer)
    assert await begin(store) == REPLAY
    assert await begin(store, "h2") == REUSED


async def test_key_belongs_to_its_source(store: Store):
    """Two sources may use the same key."""
    assert await begin(store) == NEW
    assert await begin(store, src="SRC_OTHER") == NEW


async def test_refused_call_is_forgotten(store: Store):
    """An abandoned call may be made again; an answered one stays."""
    await begin(store)
    await store.abandon_call("SRC_MAIN", mark())
    assert await begin(store, "h2") == NEW
    await store.finish_call("SRC_MAIN", mark(), REPLAY.answer)
    await store.abandon_call("SRC_MAIN", mark())
    assert await begin(store, "h2") == REPLAY


async def test_first_answer_stays(store: Store):
    """A call that ends twice keeps its first answer."""
    await begin(store)
    await store.finish_call("SRC_MAIN", mark(), REPLAY.answer)
    await store.finish_call("SRC_MAIN", mark(), b"other")
    assert await begin(store) == REPLAY


@pytest.mark.parametrize(("after_ms", "expected"), [(59_999, IN_FLIGHT), (60_000, NEW)])
async def test_call_that_never_answered(store: Store, after_ms: int, expected: CallStart):
    """A mark without an answer is good for a minute."""
    await begin(store)
    assert await begin(store, now_ms=NOW_MS + after_ms) == expected


@pytest.mark.parametrize(("after_ms", "expected"), [(DAY_MS - 1, REPLAY), (DAY_MS, NEW)])
async def test_key_is_remembered_for_its_time(store: Store, after_ms: int, expected: CallStart):
    """A key is free again once its memory has ended."""
    await begin(store)
    await store.finish_call("SRC_MAIN", mark(), REPLAY.answer)
    assert await begin(store, now_ms=NOW_MS + after_ms) == expected


async def claim_under(store: Store, lead: Lead, begun_ms: int = NOW_MS) -> ClaimOutcome:
    return (await store.claim_lead(lead, now_ms=NOW_MS, mark=mark(begun_ms))).outcome


async def test_call_with_a_lead_is_never_taken_over(store: Store):
    """Once its lead is claimed, neither time nor a refusal makes a call run again: a repeat learns of the lead."""
    await begin(store)
    assert await claim_under(store, a_lead()) == ClaimOutcome.CLAIMED
    await store.abandon_call("SRC_MAIN", mark())
    in_flight = CallStart(outcome=CallOutcome.IN_FLIGHT, lead_id=a_lead().lead_id)
    assert await begin(store) == in_flight
    assert await begin(store, now_ms=NOW_MS + DAY_MS - 1) == in_flight
    assert await begin(store, "h2") == REUSED


async def test_call_that_was_taken_over_claims_nothing(store: Store):
    """A call that took a minute to come to its claim has lost its key to the repeat, and sells nothing."""
    await begin(store)
    assert await begin(store, now_ms=NOW_MS + 60_000) == NEW
    late, repeat = a_lead(1), a_lead(2)
    assert await claim_under(store, late) == ClaimOutcome.CALL_TAKEN_OVER
    assert await store.audit.find_lead(late.lead_id) is None
    assert await claim_under(store, repeat, begun_ms=NOW_MS + 60_000) == ClaimOutcome.CLAIMED


async def test_call_that_was_taken_over_speaks_for_itself_only(store: Store):
    """What it ends with is neither the repeat's answer nor its refusal."""
    await begin(store)
    later_ms = NOW_MS + 60_000
    await begin(store, now_ms=later_ms)
    await store.finish_call("SRC_MAIN", mark(), b"too late")
    await store.abandon_call("SRC_MAIN", mark())
    assert await begin(store, now_ms=later_ms) == IN_FLIGHT
    await store.finish_call("SRC_MAIN", mark(later_ms), REPLAY.answer)
    assert await begin(store, now_ms=later_ms) == REPLAY


async def test_undone_claim_leaves_its_call_free(store: Store):
    """A claim that a later guard undoes has claimed nothing, so that its call can be abandoned and made again."""
    await begin(store)
    assert await claim_under(store, a_lead(1, "PING-0")) == ClaimOutcome.NOT_OFFERED
    await store.abandon_call("SRC_MAIN", mark())
    assert await begin(store) == NEW
