"""What operators see: newest first, filtered, unresolved leads, and their resolution."""

from dataclasses import replace

import pytest

from lexchange.lead import LeadState
from lexchange.storage import Store
from tests.storage.examples import NOW_MS, a_lead, a_ping, an_attempt, ended, slot


async def test_recent_pings_are_newest_first(store: Store):
    """The newest pings come first, at most the limit, of one source or reason where asked."""
    for number in range(1, 7):
        src = "SRC_EVEN" if number % 2 == 0 else "SRC_ODD"
        await store.record_ping(a_ping(number, src=src, reason="no_eligible_buyer" if number < 4 else ""))

    async def numbers(limit: int, **asked: str) -> list[int]:
        found = await store.audit.recent_pings(limit, **asked)
        return [int(ping.ping_id.removeprefix("PING-"), 16) for ping in found]

    assert await numbers(3) == [6, 5, 4]
    assert await numbers(10, src="SRC_EVEN") == [6, 4, 2]
    assert await numbers(10, reason="no_eligible_buyer") == [3, 2, 1]
    assert await numbers(1, src="SRC_ODD", reason="no_eligible_buyer") == [3]
    assert await numbers(10, src="SRC_NONE") == []


async def test_recent_leads_are_newest_first(store: Store):
    """Leads are listed as pings are."""
    for number in (1, 2, 3):
        lead = a_lead(number, reason="buyer_rejected" if number == 2 else "")
        await store.claim_lead(lead, now_ms=NOW_MS)
    assert [lead.lead_id for lead in await store.audit.recent_leads(2)] == [a_lead(3).lead_id, a_lead(2).lead_id]
    assert await store.audit.recent_leads(9, src="SRC_MAIN", reason="buyer_rejected") == [
        a_lead(2, reason="buyer_rejected")
    ]


async def test_what_was_never_stored_is_none(store: Store):
    """Unknown ids find nothing."""
    assert await store.audit.find_lead("L-0") is None
    assert await store.audit.find_lead_of_ping("PING-0") is None
    assert await store.audit.find_delivery("DEL-0") is None


async def test_unresolved_leads_are_those_without_an_end(store: Store):
    """Claimed, sending and unknown leads are listed, the oldest first, until they end."""
    states = list(LeadState)
    for number, state in enumerate(states, 1):
        await store.claim_lead(a_lead(number, state=state, updated_ms=NOW_MS + number), now_ms=NOW_MS)
    found = await store.audit.unresolved_leads()
    assert [lead.state for lead in found] == [LeadState.CLAIMED, LeadState.SENDING, LeadState.UNKNOWN]
    assert [lead.state for lead in await store.audit.unresolved_leads(limit=1)] == [LeadState.CLAIMED]
    before = await store.audit.unresolved_leads(before_ms=NOW_MS + 2)
    assert [lead.state for lead in before] == [LeadState.CLAIMED]
    await store.finish_lead(ended(found[1], LeadState.DELIVERED))
    assert len(await store.audit.unresolved_leads()) == 2


async def unknown(store: Store, **changes: object):
    lead = a_lead(1, state=LeadState.UNKNOWN, reason="downstream_timeout", detail="no answer", takes=[slot("c")])
    lead = replace(lead, **changes)  # type: ignore[arg-type]  # literal changes of the tests below
    await store.claim_lead(lead, takes=lead.takes, now_ms=NOW_MS)
    return lead


async def test_lead_resolved_as_delivered_is_owed(store: Store):
    """A delivered lead owes its bid where the buyer named no price, keeps its slots and is its buyer's turn."""
    lead = await unknown(store, routing_mode="round_robin")
    assert await store.audit.resolve_lead(lead.lead_id, LeadState.DELIVERED, note="acme has it", now_ms=NOW_MS + 9)
    assert await store.audit.find_lead(lead.lead_id) == replace(
        lead,
        state=LeadState.DELIVERED,
        reason="",
        detail="no answer; acme has it",
        price_micros=7_000_000,
        updated_ms=NOW_MS + 9,
    )
    assert await store.last_sales("home") == {"acme": NOW_MS + 9}


async def test_lead_resolved_as_delivered_owes_the_named_price(store: Store):
    """Where the last attempt names a price, that one is owed."""
    lead = await unknown(store, attempts=[an_attempt(1, price_micros=6_500_000)])
    assert await store.audit.resolve_lead(lead.lead_id, LeadState.DELIVERED, note="", now_ms=NOW_MS)
    found = await store.audit.find_lead(lead.lead_id)
    assert found is not None
    assert found.price_micros == 6_500_000


async def test_lead_resolved_as_failed_is_not_owed(store: Store):
    """A failed lead keeps its reason, owes nothing and gives its slots back."""
    lead = await unknown(store)
    assert await store.audit.resolve_lead(lead.lead_id, LeadState.FAILED, note="acme never saw it", now_ms=NOW_MS + 9)
    assert await store.audit.find_lead(lead.lead_id) == replace(
        lead, state=LeadState.FAILED, detail="no answer; acme never saw it", updated_ms=NOW_MS + 9, takes=[]
    )
    assert await store.read_counters(["c"]) == {"c": 0}


@pytest.mark.parametrize(("after_ms", "is_resolved"), [(299_999, False), (300_000, True)])
@pytest.mark.parametrize(("to", "reason"), [(LeadState.DELIVERED, ""), (LeadState.FAILED, "buyer_delivery_failed")])
async def test_orphaned_lead_is_resolved(store: Store, to: LeadState, reason: str, after_ms: int, is_resolved: bool):
    """A lead whose process has gone stays sending; after 5 minutes an operator may say what became of it."""
    lead = a_lead(1, updated_ms=NOW_MS, reason="")
    await store.claim_lead(lead, now_ms=NOW_MS)
    resolved = await store.audit.resolve_lead(lead.lead_id, to, note="asked acme", now_ms=NOW_MS + after_ms)
    found = await store.audit.find_lead(lead.lead_id)
    assert found is not None
    assert resolved is is_resolved
    assert (found.state, found.reason) == ((to, reason) if is_resolved else (LeadState.SENDING, ""))


async def test_unknown_id_is_not_resolved(store: Store):
    """A lead that does not exist is not resolved."""
    assert not await store.audit.resolve_lead("L-0", LeadState.FAILED, note="", now_ms=NOW_MS)
