"""Leads: claimed once, moved only where LEAD_TRANSITIONS allows, undone as a whole when a guard fails."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from lexchange.campaign import RoutingMode
from lexchange.lead import LEAD_TRANSITIONS, AttemptOutcome, Fingerprint, Lead, LeadState, PingState
from lexchange.storage import ClaimOutcome, ClaimResult, StartOutcome, StartResult, Store
from tests.storage.examples import NOW_MS, TTL_MS, a_lead, a_ping, an_attempt, ended, slot

MARK = Fingerprint(campaign="home", scope_key="", digest="d1", since_ms=NOW_MS - 1_000)


async def claimed(store: Store, number: int, **changes: object) -> Lead:
    """A lead of its own ping, claimed."""
    await store.record_ping(a_ping(number))
    lead = a_lead(number, a_ping(number).ping_id, **changes)
    assert (await store.claim_lead(lead, now_ms=NOW_MS)).outcome is ClaimOutcome.CLAIMED
    return lead


async def test_lead_comes_back_as_it_was_stored(store: Store):
    """A lead is rebuilt exactly, attempts and takes included, by each of its ids."""
    await store.record_ping(a_ping(1))
    lead = a_lead(1, a_ping(1).ping_id, takes=[slot("src:day", 5), slot("acme:month", 9_000_000, 7_000_000)])
    await store.claim_lead(lead, takes=lead.takes, now_ms=NOW_MS)
    assert repr(await store.audit.find_lead(lead.lead_id)) == repr(lead)
    assert await store.audit.find_lead_of_ping(a_ping(1).ping_id) == lead
    assert await store.audit.find_delivery(str(lead.delivery_id)) == lead


async def test_claim_consumes_the_ping(store: Store):
    """A claim marks its ping claimed, with the lead's id."""
    lead = await claimed(store, 1)
    ping = await store.audit.find_ping(a_ping(1).ping_id)
    assert ping == a_ping(1, state=PingState.CLAIMED, lead_id=lead.lead_id)


async def test_second_claim_names_the_first_lead(store: Store):
    """A ping is consumed once."""
    first = await claimed(store, 1)
    second = await store.claim_lead(a_lead(2, first.ping_id), now_ms=NOW_MS)
    assert second == ClaimResult(outcome=ClaimOutcome.ALREADY_CLAIMED, lead_id=first.lead_id)
    assert await store.audit.find_lead(a_lead(2).lead_id) is None


@pytest.mark.parametrize(
    ("ping", "lead", "now_ms"),
    [
        ({}, {"ping_id": "PING-0"}, NOW_MS),
        ({}, {"src": "SRC_OTHER"}, NOW_MS),
        ({}, {"is_test": True}, NOW_MS),
        ({"is_test": True}, {}, NOW_MS),
        ({"state": PingState.NO_SALE}, {}, NOW_MS),
        ({}, {}, NOW_MS + TTL_MS),
    ],
    ids=["invented", "foreign", "test post", "test ping", "no sale", "expired"],
)
async def test_claim_of_what_is_not_offered(store: Store, ping: dict[str, Any], lead: dict[str, Any], now_ms: int):
    """An invented, foreign, expired or unsold ping, or one of the other kind, is not claimed and not told apart."""
    await store.record_ping(a_ping(1, **ping))
    refused = await store.claim_lead(a_lead(1, **{"ping_id": a_ping(1).ping_id} | lead), now_ms=now_ms)
    assert refused == ClaimResult(outcome=ClaimOutcome.NOT_OFFERED)
    assert await store.audit.find_ping(a_ping(1).ping_id) == a_ping(1, **ping)


async def test_foreign_claim_does_not_learn_of_the_first(store: Store):
    """Who may not post a ping does not hear that it was posted."""
    first = await claimed(store, 1)
    refused = await store.claim_lead(a_lead(2, first.ping_id, src="SRC_OTHER"), now_ms=NOW_MS)
    assert refused == ClaimResult(outcome=ClaimOutcome.NOT_OFFERED)


async def test_claim_in_the_last_millisecond(store: Store):
    """A ping can be posted until just before expires_ms."""
    await store.record_ping(a_ping(1))
    claim = await store.claim_lead(a_lead(1, a_ping(1).ping_id), now_ms=NOW_MS + TTL_MS - 1)
    assert claim.outcome is ClaimOutcome.CLAIMED


async def test_claim_that_finds_a_cap_full_changes_nothing(store: Store):
    """Neither ping nor caps nor fingerprints are touched by a claim that fails, and it can be made again."""
    await store.record_ping(a_ping(1))
    lead, takes = a_lead(1, a_ping(1).ping_id), [slot("free"), slot("full", limit=0)]
    refused = await store.claim_lead(lead, takes=takes, fingerprints=[MARK], now_ms=NOW_MS)
    assert refused == ClaimResult(outcome=ClaimOutcome.CAP_FULL, counter="full")
    assert await store.audit.find_ping(a_ping(1).ping_id) == a_ping(1)
    assert await store.read_counters(["free", "full"]) == {"free": 0, "full": 0}
    assert await store.find_duplicates("home", "d1", since_ms=0) == {}
    assert (await store.claim_lead(lead, now_ms=NOW_MS)).outcome is ClaimOutcome.CLAIMED


async def test_claim_of_a_duplicate_changes_nothing(store: Store):
    """A duplicate names the lead it would repeat, comes before a full cap, and consumes nothing."""
    await store.claim_lead(a_lead(1), fingerprints=[MARK], now_ms=NOW_MS)
    await store.record_ping(a_ping(2))
    lead = a_lead(2, a_ping(2).ping_id)
    refused = await store.claim_lead(lead, takes=[slot("c", 0)], fingerprints=[MARK], now_ms=NOW_MS)
    assert refused == ClaimResult(outcome=ClaimOutcome.DUPLICATE, lead_id=a_lead(1).lead_id)
    assert await store.audit.find_ping(a_ping(2).ping_id) == a_ping(2)


@pytest.mark.parametrize(
    "other",
    [{"campaign": "c2"}, {"scope_key": "acme"}, {"digest": "d2"}, {"since_ms": NOW_MS + 11}],
    ids=lambda other: next(iter(other)),
)
async def test_claim_of_no_duplicate(store: Store, other: dict[str, object]):
    """Another campaign, scope or digest, or a lead from before the window, is no duplicate."""
    await store.claim_lead(a_lead(1), fingerprints=[MARK], now_ms=NOW_MS)
    mark = replace(MARK, **other)  # type: ignore[arg-type]  # one case each, named above
    claim = await store.claim_lead(a_lead(2), fingerprints=[mark], now_ms=NOW_MS)
    assert claim.outcome is ClaimOutcome.CLAIMED


async def test_duplicate_in_the_first_millisecond_of_the_window(store: Store):
    """A lead of exactly `since_ms` is within the window, for the claim as for the search before it."""
    await store.claim_lead(a_lead(1), fingerprints=[MARK], now_ms=NOW_MS)
    mark = replace(MARK, since_ms=a_lead(1).created_ms)
    claim = await store.claim_lead(a_lead(2), fingerprints=[mark], now_ms=NOW_MS)
    assert claim == ClaimResult(outcome=ClaimOutcome.DUPLICATE, lead_id=a_lead(1).lead_id)


@pytest.mark.parametrize(
    ("state", "is_duplicate"),
    [
        (LeadState.DELIVERED, True),
        (LeadState.UNKNOWN, True),
        (LeadState.REJECTED, False),
        (LeadState.FAILED, False),
    ],
)
async def test_what_a_finished_lead_leaves_to_duplicates(store: Store, state: LeadState, is_duplicate: bool):
    """A lead that was not sold may be sold again; one that was, or may have been, may not."""
    lead = a_lead(1)
    await store.claim_lead(lead, fingerprints=[MARK], now_ms=NOW_MS)
    assert await store.finish_lead(ended(lead, state))
    found = await store.find_duplicates("home", "d1", since_ms=NOW_MS)
    assert found == ({"": lead.lead_id} if is_duplicate else {})


# (from, to) of every move that a verb makes. What is missing here is refused.
STARTS = {("claimed", "sending"), ("sending", "sending")}
FINISHES = {
    ("claimed", "rejected"),
    ("claimed", "failed"),
    ("sending", "delivered"),
    ("sending", "rejected"),
    ("sending", "failed"),
    ("sending", "unknown"),
}
RESOLVES = {("unknown", "delivered"), ("unknown", "failed")}
RESENDS = {("unknown", "unknown"), ("unknown", "delivered"), ("unknown", "rejected")}
ENDS = [LeadState.DELIVERED, LeadState.REJECTED, LeadState.FAILED, LeadState.UNKNOWN]


def test_verbs_make_the_transitions_of_the_table():
    """The verbs make every transition of LEAD_TRANSITIONS and no other."""
    table = {(before, after) for before, afters in LEAD_TRANSITIONS.items() for after in afters}
    assert table == STARTS | FINISHES | RESOLVES | RESENDS


async def stored(store: Store, state: LeadState) -> Lead:
    lead = a_lead(1, state=state, takes=[slot("c")])
    await store.claim_lead(lead, takes=lead.takes, now_ms=NOW_MS)
    return lead


@pytest.mark.parametrize("before", LeadState)
async def test_start_attempt_from(store: Store, before: LeadState):
    """Only a claimed or sending lead goes to a buyer; any other stays as it is."""
    lead = await stored(store, before)
    moved = replace(lead, state=LeadState.SENDING, updated_ms=NOW_MS + 99)
    result = await store.start_attempt(moved, releases=lead.takes)
    is_legal = (before, "sending") in STARTS
    assert result == StartResult(outcome=StartOutcome.STARTED if is_legal else StartOutcome.ENDED)
    assert await store.audit.find_lead(lead.lead_id) == (moved if is_legal else lead)
    assert await store.read_counters(["c"]) == {"c": 0 if is_legal else 1}


@pytest.mark.parametrize(("before", "after"), list(product(LeadState, ENDS)))
async def test_finish_lead_from(store: Store, before: LeadState, after: LeadState):
    """A lead ends as LEAD_TRANSITIONS allows; otherwise neither it nor its slots change."""
    lead = await stored(store, before)
    moved = ended(lead, after, takes=[])
    is_legal = (before, after) in FINISHES
    assert await store.finish_lead(moved, releases=lead.takes) is is_legal
    assert await store.audit.find_lead(lead.lead_id) == (moved if is_legal else lead)
    assert await store.read_counters(["c"]) == {"c": 0 if is_legal else 1}


@pytest.mark.parametrize(("before", "after"), list(product(LeadState, [LeadState.DELIVERED, LeadState.FAILED])))
async def test_resolve_lead_from(store: Store, before: LeadState, after: LeadState):
    """Only an unknown lead is resolved by an operator; a failed one gives its slots back."""
    lead = await stored(store, before)
    is_legal = (before, after) in RESOLVES
    assert await store.audit.resolve_lead(lead.lead_id, after, note="asked acme", now_ms=NOW_MS + 5) is is_legal
    found = await store.audit.find_lead(lead.lead_id)
    assert found is not None
    assert found.state is (after if is_legal else before)
    is_released = is_legal and after is LeadState.FAILED
    assert await store.read_counters(["c"]) == {"c": 0 if is_released else 1}
    assert found.takes == ([] if is_released else lead.takes)


async def test_finish_is_done_once(store: Store):
    """A second end is refused, so that slots are given back once."""
    lead = await stored(store, LeadState.SENDING)
    await store.take_caps([slot("c")])
    assert await store.finish_lead(ended(lead, LeadState.FAILED), releases=lead.takes)
    assert not await store.finish_lead(ended(lead, LeadState.FAILED), releases=lead.takes)
    assert await store.read_counters(["c"]) == {"c": 1}


async def test_next_attempt_moves_the_slots(store: Store):
    """The rejected buyer's slot is free before the next one's is taken, and both attempts find the lead."""
    first = slot("acme:day", limit=1)
    lead = a_lead(1, takes=[first])
    await store.claim_lead(lead, takes=[first], now_ms=NOW_MS)
    second = slot("beta:day", limit=1)
    rejected = replace(lead.attempts[0], outcome=AttemptOutcome.REJECTED, is_sent=True)
    moved = replace(
        lead,
        buyer="beta",
        delivery_id=an_attempt(2).delivery_id,
        takes=[second],
        attempts=[rejected, an_attempt(2, buyer="beta")],
    )
    started = await store.start_attempt(moved, takes=[second], releases=[first])
    assert started.outcome is StartOutcome.STARTED
    assert await store.read_counters(["acme:day", "beta:day"]) == {"acme:day": 0, "beta:day": 1}
    for delivery_id in (an_attempt(1).delivery_id, an_attempt(2).delivery_id):
        assert await store.audit.find_delivery(delivery_id) == moved


async def test_next_attempt_at_a_full_cap_changes_nothing(store: Store):
    """Where the next buyer's cap is full, the lead stays with its last attempt and its slot."""
    first = slot("acme:day")
    lead = a_lead(1, takes=[first])
    await store.claim_lead(lead, takes=[first], now_ms=NOW_MS)
    moved = replace(lead, buyer="beta", takes=[slot("beta:day", 0)])
    started = await store.start_attempt(moved, takes=[slot("beta:day", 0)], releases=[first])
    assert started == StartResult(outcome=StartOutcome.CAP_FULL, counter="beta:day")
    assert await store.audit.find_lead(lead.lead_id) == lead
    assert await store.read_counters(["acme:day", "beta:day"]) == {"acme:day": 1, "beta:day": 0}


async def test_next_attempt_moves_the_fingerprint(store: Store):
    """In scope `buyer` a lead is a duplicate at the buyer that has it now, and at no other."""
    acme, beta = replace(MARK, scope_key="acme"), replace(MARK, scope_key="beta")
    await store.claim_lead(a_lead(1), fingerprints=[acme], now_ms=NOW_MS)
    started = await store.start_attempt(a_lead(1, buyer="beta"), fingerprints=[beta])
    assert started.outcome is StartOutcome.STARTED
    assert await store.find_duplicates("home", "d1", since_ms=NOW_MS) == {"beta": a_lead(1).lead_id}
    await store.claim_lead(a_lead(2), fingerprints=[acme], now_ms=NOW_MS)
    refused = await store.start_attempt(a_lead(2, buyer="beta"), fingerprints=[beta])
    assert refused == StartResult(outcome=StartOutcome.DUPLICATE, scope_key="beta")
    found = await store.find_duplicates("home", "d1", since_ms=NOW_MS)
    assert found == {"acme": a_lead(2).lead_id, "beta": a_lead(1).lead_id}


async def test_final_price_settles_the_budget(store: Store):
    """A price other than the bid moves the money counter by the difference, whatever the cap's limit says."""
    budget = slot("acme:month", 10_000_000, 7_000_000)
    await store.claim_lead(a_lead(1), takes=[budget], now_ms=NOW_MS)
    delivered = ended(a_lead(1), LeadState.DELIVERED, price_micros=11_000_000)
    await store.finish_lead(delivered, adjustments=[("acme:month", 4_000_000)])
    assert await store.read_counters(["acme:month"]) == {"acme:month": 11_000_000}
    await store.claim_lead(a_lead(2), now_ms=NOW_MS)
    await store.finish_lead(ended(a_lead(2), LeadState.DELIVERED), adjustments=[("acme:month", -1_000_000)])
    assert await store.read_counters(["acme:month"]) == {"acme:month": 10_000_000}


async def test_turns_follow_live_sales(store: Store):
    """A buyer's turn is its last live delivery in the campaign; it never goes back. Only round robin has turns."""
    turn = {"routing_mode": RoutingMode.ROUND_ROBIN}
    later = a_lead(1, updated_ms=NOW_MS + 500, **turn)
    for lead, state in [
        (later, LeadState.DELIVERED),
        (a_lead(2, updated_ms=NOW_MS, **turn), LeadState.DELIVERED),
        (a_lead(3, buyer="beta", **turn), LeadState.REJECTED),
        (a_lead(4, buyer="gamma", is_test=True, **turn), LeadState.DELIVERED),
        (a_lead(5, campaign="other", **turn), LeadState.DELIVERED),
        (a_lead(6, buyer="delta"), LeadState.DELIVERED),
    ]:
        await store.claim_lead(lead, now_ms=NOW_MS)
        assert await store.finish_lead(ended(lead, state))
    assert await store.last_sales("home") == {"acme": NOW_MS + 600}


async def test_unknown_lead_that_was_touched_since_stays(store: Store, monkeypatch: pytest.MonkeyPatch):
    """Two processes ask two of its buyers, and an operator is told of it: nobody writes over what he has not seen."""
    lead = await stored(store, LeadState.UNKNOWN)
    first = replace(lead, updated_ms=lead.updated_ms + 1)
    second = replace(lead, updated_ms=lead.updated_ms + 2)
    assert await store.start_resend(first, lead)
    assert await store.start_resend(second, first)
    sold, before = replace(first, state=LeadState.DELIVERED, takes=[]), (LeadState.UNKNOWN,)
    assert not await store.finish_lead(sold, releases=lead.takes, before=before, found=first)

    async def a_moment_ago(_: str) -> Lead:
        return first

    with monkeypatch.context() as patch:
        patch.setattr(store.audit, "find_lead", a_moment_ago)
        assert not await store.audit.resolve_lead(lead.lead_id, LeadState.FAILED, note="", now_ms=NOW_MS)
    assert await store.audit.find_lead(lead.lead_id) == second
    assert await store.read_counters(["c"]) == {"c": 1}
    assert await store.finish_lead(sold, releases=lead.takes, before=before, found=second)
