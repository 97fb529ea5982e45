"""What is purged, and what never is, whatever its age; on every engine."""

from dataclasses import replace
from typing import Any

import pytest

from lexchange.config import Limits
from lexchange.lead import Fingerprint, Lead, LeadState, Ping, PingState
from lexchange.purge import Purge
from lexchange.retention import DAY_MS, Retention, due
from lexchange.storage import CallMark, ClaimOutcome, Store
from lexchange.storage.connector import Statement
from lexchange.storage.tables import TABLES
from tests.storage.examples import BID, LATE, a_lead, a_ping, ended, slot

NOW_MS = 1_764_000_000_000
OLD_MS, YOUNG_MS = NOW_MS - 100 * DAY_MS, NOW_MS - 10 * DAY_MS
SOURCE = "SRC_MAIN"
AGES = Retention(ping_days=90, lead_days=90)
FINAL = [LeadState.DELIVERED, LeadState.REJECTED, LeadState.FAILED]
OPEN = [LeadState.CLAIMED, LeadState.SENDING, LeadState.UNKNOWN]


class Wall:
    """A clock that stands."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms


def old_ping(number: int, at_ms: int = OLD_MS, **changes: Any) -> Ping:
    """A ping whose id says when it was made, as all do."""
    token = f"PING-{at_ms:012X}{number:020X}"
    return a_ping(number, ping_id=token, created_ms=at_ms, expires_ms=at_ms + 900_000, **changes)


def old_lead(number: int, at_ms: int = OLD_MS, ping_id: str | None = None, **changes: Any) -> Lead:
    token = f"L-{at_ms:012X}{number:020X}"
    return a_lead(number, ping_id, lead_id=token, created_ms=at_ms, updated_ms=at_ms, **changes)


async def keep(store: Store, lead: Lead, state: LeadState) -> Lead:
    """Store a lead in this state."""
    started = replace(lead, state=LeadState.CLAIMED if state is LeadState.CLAIMED else LeadState.SENDING)
    mark = Fingerprint(campaign=lead.campaign, scope_key="", digest=lead.lead_id, since_ms=0)
    claimed = await store.claim_lead(started, fingerprints=[mark], now_ms=lead.created_ms)
    assert claimed.outcome is ClaimOutcome.CLAIMED
    if state in OPEN[:2]:
        return started
    final = ended(started, state)
    assert await store.finish_lead(final)
    return final


async def purge(store: Store, now_ms: int = NOW_MS, **retentions: Retention) -> dict[str, int]:
    gone = await Purge(store, Wall(now_ms), Limits(), rests=0).run(retentions or {"home": AGES})
    return {part: number for part, number in gone.items() if number}


async def rows(store: Store) -> dict[str, int]:
    """How many rows each table has, where it has any; whose turn it is stays for good."""
    counts = {table.name: await store.contents.count(table) for table in TABLES if table.name != "turns"}
    return {name: number for name, number in counts.items() if number}


async def test_old_pings_go_with_their_answers_and_young_ones_stay(store: Store) -> None:
    """Also pings that were not sold, and tests."""
    for ping in (
        old_ping(1),
        old_ping(2, state=PingState.NO_SALE),
        old_ping(3, is_test=True),
        old_ping(4, YOUNG_MS),
    ):
        await store.record_ping(ping)
        await store.record_late_answers(ping.campaign, ping.ping_id, [LATE])
    assert await purge(store) == {"pings": 3}
    assert await rows(store) == {"pings": 1, "late_answers": 1}
    assert await store.audit.find_ping(old_ping(4, YOUNG_MS).ping_id) is not None


@pytest.mark.parametrize("state", FINAL)
async def test_an_old_lead_goes_with_all_that_belongs_to_it(store: Store, state: LeadState) -> None:
    ping = old_ping(1)
    await store.record_ping(ping)
    lead = old_lead(1, ping_id=ping.ping_id)
    await keep(store, replace(lead, delivery_id=f"DEL-{OLD_MS:012X}00"), state)
    assert await purge(store) == {"pings": 1, "leads": 1}
    assert await rows(store) == {}


async def test_deliveries_that_failed_go_with_the_lead(store: Store) -> None:
    first, second = f"DEL-{OLD_MS:012X}01", f"DEL-{OLD_MS:012X}02"
    lead = old_lead(1)
    attempts = [replace(lead.attempts[0], delivery_id=each) for each in (first, second)]
    lead = replace(lead, attempts=attempts[:1], delivery_id=first)
    await store.claim_lead(lead, now_ms=OLD_MS)
    moved = replace(lead, attempts=attempts, delivery_id=second)
    await store.start_attempt(moved)
    await store.finish_lead(ended(moved, LeadState.DELIVERED))
    young = old_lead(2, YOUNG_MS)
    await keep(store, young, LeadState.DELIVERED)
    assert await store.audit.find_delivery(first) is not None
    assert await purge(store) == {"leads": 1}
    assert await rows(store) == {"leads": 1, "fingerprints": 1}


@pytest.mark.parametrize("state", OPEN)
async def test_a_lead_whose_end_is_not_known_never_goes_nor_its_ping(store: Store, state: LeadState) -> None:
    """However old it is; and it goes as soon as its end is known."""
    ping = old_ping(1)
    await store.record_ping(ping)
    lead = await keep(store, old_lead(1, ping_id=ping.ping_id), state)
    before = await rows(store)
    ages = Retention(ping_days=1, lead_days=2, lead_data_days=1)
    assert await purge(store, home=ages) == {}
    assert await rows(store) == before
    assert await store.audit.find_lead(lead.lead_id) == lead
    final = ended(replace(lead, state=LeadState.SENDING), LeadState.FAILED)
    assert await store.finish_lead(final, before=[state])
    assert await purge(store, home=ages) == {"lead_data": 1, "pings": 1, "leads": 1}
    assert await rows(store) == {}


async def test_a_lead_that_was_settled_today_is_there_for_a_day(store: Store) -> None:
    """Whoever said what became of it may look at it."""
    lead = await keep(store, old_lead(1), LeadState.UNKNOWN)
    assert await store.audit.resolve_lead(lead.lead_id, LeadState.DELIVERED, note="they have it", now_ms=NOW_MS)
    assert await purge(store, NOW_MS + DAY_MS - 1, home=replace(AGES, lead_data_days=1)) == {}
    assert await purge(store, NOW_MS + DAY_MS, home=replace(AGES, lead_data_days=1)) == {"lead_data": 1, "leads": 1}


async def test_a_ping_that_may_be_posted_never_goes(store: Store) -> None:
    """Whatever the retention says: it is there, and it can be claimed."""
    ping = old_ping(1)
    alive = replace(ping, expires_ms=NOW_MS + 1)
    await store.record_ping(alive, holds=[slot("home:buyer:acme:leads:total:all")])
    assert await purge(store) == {}
    lead = old_lead(1, NOW_MS, ping_id=ping.ping_id)
    assert (await store.claim_lead(lead, now_ms=NOW_MS)).outcome is ClaimOutcome.CLAIMED


async def test_slots_of_a_purged_ping_are_given_back_as_ever(store: Store) -> None:
    counter = "home:buyer:acme:leads:total:all"
    await store.record_ping(old_ping(1), holds=[slot(counter)])
    assert await purge(store) == {"pings": 1}
    assert await store.read_counters([counter]) == {counter: 1}
    assert await store.release_expired_holds("home", NOW_MS) == 1
    assert await store.read_counters([counter]) == {counter: 0}


async def test_each_campaign_has_its_own_age_and_others_keep_all(store: Store) -> None:
    for number, campaign in enumerate(("home", "auto", "gone", "silent"), 1):
        await store.record_ping(old_ping(number, campaign=campaign))
        await keep(store, old_lead(number, campaign=campaign), LeadState.DELIVERED)
    ages: Any = {"home": AGES, "auto": Retention(ping_days=101, lead_days=99), "silent": Retention()}
    assert await purge(store, **ages) == {"pings": 1, "leads": 2}
    assert {ping.campaign for ping in await store.audit.recent_pings(9)} == {"auto", "gone", "silent"}
    assert {lead.campaign for lead in await store.audit.recent_leads(9)} == {"gone", "silent"}


@pytest.mark.parametrize(
    ("age_ms", "is_gone"), [(90 * DAY_MS - 1, False), (90 * DAY_MS, False), (90 * DAY_MS + 1, True)]
)
async def test_the_age_is_exact(store: Store, age_ms: int, is_gone: bool) -> None:
    await store.record_ping(old_ping(0, NOW_MS - age_ms))
    assert await purge(store) == ({"pings": 1} if is_gone else {})


async def test_a_lead_loses_its_values_first_and_keeps_its_story(store: Store) -> None:
    """The money, the buyers' bids and each attempt stay, late answers too; what the campaign names stays."""
    lead = old_lead(1, buyers=[BID], data={"email": "zoe@example.com", "consent": "yes"})
    lead = replace(lead, attempts=[replace(lead.attempts[0], answer="sold to Zoe")])
    await keep(store, lead, LeadState.DELIVERED)
    await store.record_late_answers(lead.campaign, lead.lead_id, [LATE])
    before, totals = await store.audit.find_lead(lead.lead_id), await store.audit.totals()
    ages = Retention(lead_data_days=30, lead_days=400, kept_fields=("consent",))
    assert await purge(store, home=ages) == {"lead_data": 1}
    found = await store.audit.find_lead(lead.lead_id)
    assert before is not None
    assert found == replace(
        before,
        data={"consent": "yes"},
        buyers=[replace(part, answer=None) for part in before.buyers],
        attempts=[replace(attempt, answer=None) for attempt in before.attempts],
        data_purged_ms=NOW_MS,
    )
    assert [part.bid_micros for part in found.buyers] == [BID.bid_micros, LATE.bid_micros]
    assert await store.audit.totals() == totals
    assert await rows(store) == {"leads": 1, "fingerprints": 1}
    assert await purge(store, home=ages) == {}, "once is enough"
    assert await purge(store, NOW_MS + 301 * DAY_MS, home=ages) == {"leads": 1}
    assert await rows(store) == {}


async def test_values_that_look_like_the_mark_of_purged_ones_go_too(store: Store) -> None:
    tricks = {"data_purged_ms": '"data_purged_ms":1', '"data_purged_ms":1': "1"}
    await keep(store, old_lead(1, data=tricks, dropped=["data_purged_ms"]), LeadState.DELIVERED)
    assert await purge(store, home=Retention(lead_data_days=30)) == {"lead_data": 1}


async def test_duplicates_are_found_as_long_as_their_lead_is_kept(store: Store) -> None:
    old, young = old_lead(1), old_lead(2, YOUNG_MS)
    for lead in (old, young):
        await keep(store, lead, LeadState.DELIVERED)
    await purge(store, home=AGES)
    assert await store.find_duplicates("home", young.lead_id, since_ms=NOW_MS - 90 * DAY_MS) == {"": young.lead_id}
    assert await store.find_duplicates("home", old.lead_id, since_ms=0) == {}


async def test_counters_go_when_their_window_is_as_old_as_the_leads(store: Store) -> None:
    """In any zone; `total` never does, nor what another campaign keeps."""
    day = "2025-08-26"  # 90 days before now, 2025-11-24 UTC
    old = ["day:2025-08-24", "hour:2025-08-24T23Z", "week:2025-W34", "month:2025-07", "day:2025-08-24 in Asia/Tokyo"]
    kept = [f"day:{day}", "day:2025-08-25", "hour:2025-11-24T10Z", "week:2025-W35", "month:2025-08", "total:all"]
    names = [f"home:buyer:a:b:leads:{each}" for each in old + kept] + ["home_2:source:S:leads:day:2025-01-01"]
    await store.take_caps([slot(name) for name in names])
    gone = await purge(store, home=AGES)
    assert gone == {"cap_counters": len(old)}
    left = await store.read_counters(names)
    assert [name for name in names if not left[name]] == names[: len(old)]


async def test_calls_go_when_their_keys_are_forgotten(store: Store) -> None:
    """Without a word of any campaign; one that is remembered is answered as ever."""
    remember_ms = Limits().idempotency_h * 3_600_000
    for key, begun_ms in (("forgotten", NOW_MS - remember_ms), ("remembered", NOW_MS - remember_ms + 1)):
        mark = CallMark(idempotency_key=key, begun_ms=begun_ms)
        await store.begin_call(SOURCE, key, "hash", now_ms=begun_ms, remember_ms=remember_ms)
        await store.finish_call(SOURCE, mark, b"first")
    assert await purge(store, home=Retention()) == {"remembered_calls": 1}
    again = await store.begin_call(SOURCE, "remembered", "other", now_ms=NOW_MS, remember_ms=remember_ms)
    assert again.outcome == "reused"


async def test_nothing_goes_before_an_idempotency_key_is_forgotten(store: Store) -> None:
    """A repeat is answered from the lead: so it outlives the key, though its campaign would let it go."""
    await keep(store, old_lead(1, NOW_MS - 2 * DAY_MS), LeadState.DELIVERED)
    limits, ages = Limits(idempotency_h=72), {"home": Retention(lead_days=1)}
    assert (await Purge(store, Wall(), limits, rests=0).run(ages))["leads"] == 0
    assert (await Purge(store, Wall(), Limits(), rests=0).run(ages))["leads"] == 1


async def test_many_pages_go_in_one_run_and_a_run_goes_on_where_the_last_was(store: Store) -> None:
    """Rows that stay lie between those that go."""
    for number in range(1_500):
        await store.record_ping(old_ping(number, campaign="home" if number % 3 else "silent"))
    clock = Wall()
    walk = Purge(store, clock, Limits(), rests=0)
    assert (await walk.run({"home": AGES}))["pings"] == 1_000
    await store.record_ping(old_ping(1_500, YOUNG_MS))
    assert (await walk.run({"home": AGES}))["pings"] == 0
    clock.ms = YOUNG_MS + 91 * DAY_MS
    assert (await walk.run({"home": AGES}))["pings"] == 1
    assert await rows(store) == {"pings": 500}


async def test_what_is_due_is_counted(store: Store) -> None:
    await store.record_ping(old_ping(1))
    await store.record_ping(old_ping(2, YOUNG_MS))
    await store.record_ping(old_ping(3, campaign="auto"))
    (each,) = due({"home": Retention(ping_days=90)}, NOW_MS, 24)
    assert await store.purges.count(each, NOW_MS) == {"home": 1}


async def test_a_lead_that_cannot_be_read_holds_up_no_other(store: Store) -> None:
    """It is neither put away nor gone, as nobody could read it there; those behind it are both."""
    first, second = [await keep(store, old_lead(number), LeadState.DELIVERED) for number in (1, 2)]
    put_away: list[str] = []
    spoilt = Statement(sql="UPDATE leads SET record = '{}' WHERE lead_id = ?", params=(first.lead_id,))
    await store._connector.write((spoilt,))
    ages = Retention(lead_days=90, lead_data_days=30)
    gone = await Purge(store, Wall(), Limits(), rests=0).run(
        {"home": ages}, lambda leads: put_away.extend(lead.lead_id for lead in leads if isinstance(lead, Lead))
    )
    assert (gone["lead_data"], gone["leads"]) == (1, 1)
    assert set(put_away) == {second.lead_id}
    assert (await rows(store))["leads"] == 1
