"""Leases on a real store: whose leads are swept, whose are not, and what a process that was only slow finds."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from lexchange.errors import StorageError
from lexchange.lead import AttemptOutcome, Lead, LeadState
from lexchange.leases import DETAIL, Lease, new_worker, runs
from lexchange.storage import CallMark, CallOutcome, Store
from lexchange.storage.connector import Statement
from tests.storage.examples import NOW_MS, a_lead, an_attempt, slot


class MovedClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms


def of_dead_process() -> str:
    """The name that a process of this machine had, which has ended."""
    script = "from lexchange.leases import new_worker; print(new_worker())"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


def a_lease(store: Store, clock: MovedClock) -> Lease:
    return Lease(store, clock, 10, new_worker())


def a_lease_elsewhere(store: Store, clock: MovedClock, pid: int = 7) -> Lease:
    """Of a process of another machine, of which only its lease tells."""
    return Lease(store, clock, 10, f"another-boot-4026531836.{pid}.1.00000000")


async def sending(store: Store, number: int, worker: str, **changes: object):
    """A lead in its first attempt, with a slot."""
    lead = a_lead(number, worker=worker, takes=[slot("c")], attempts=[an_attempt(1, outcome=AttemptOutcome.SENDING)])
    lead = replace(lead, **changes)  # type: ignore[arg-type]  # literal changes of the tests below
    await store.claim_lead(lead, takes=lead.takes, now_ms=NOW_MS)
    return lead


async def state_of(store: Store, lead_id: str) -> LeadState:
    found = await store.audit.find_lead(lead_id)
    assert found is not None
    return found.state


async def test_lead_of_a_live_process_is_left_alone(store: Store, clock: MovedClock):
    """Another's, or our own, as long as the leases are renewed."""
    one, other = a_lease_elsewhere(store, clock), a_lease(store, clock)
    await one.beat()
    lead = await sending(store, 1, one.worker)
    for _ in range(5):
        clock.ms += 9_000
        await one.beat()
        await other.beat()
    assert await state_of(store, lead.lead_id) is LeadState.SENDING


async def test_lead_of_a_lease_that_is_over_is_swept_once(store: Store, clock: MovedClock):
    """It is unknown, keeps its slot and its attempt, and says why; a second sweep changes nothing."""
    gone, other = a_lease_elsewhere(store, clock), a_lease(store, clock)
    await gone.beat()
    lead = await sending(store, 1, gone.worker)
    clock.ms += 10_001
    await other.beat()
    swept = await store.audit.find_lead(lead.lead_id)
    assert swept is not None
    assert (swept.state, swept.reason, swept.detail) == (LeadState.UNKNOWN, "downstream_timeout", DETAIL)
    assert [(each.outcome, each.is_sent) for each in swept.attempts] == [(AttemptOutcome.BROKEN, None)]
    assert await store.read_counters(["c"]) == {"c": 1}
    clock.ms += 10_001
    await other.beat()
    assert await store.audit.find_lead(lead.lead_id) == swept


async def test_leases_that_ended_while_the_store_was_away(
    store: Store, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
):
    """Nobody could renew his: whoever comes back first gives the others a lease's time before he judges them."""

    async def away(*_: object, **__: object) -> None:
        raise StorageError("the primary is gone")

    other, ours = a_lease_elsewhere(store, clock), a_lease(store, clock)
    await other.beat()
    await ours.beat()
    lead = await sending(store, 1, other.worker)
    clock.ms += 15_000
    with monkeypatch.context() as fault:
        fault.setattr(Store, "renew_lease", away)
        with pytest.raises(StorageError):
            await ours.beat()
    clock.ms += 5_000
    await ours.beat()
    assert await state_of(store, lead.lead_id) is LeadState.SENDING
    clock.ms += 5_001
    await ours.beat()
    assert await state_of(store, lead.lead_id) is LeadState.UNKNOWN


async def test_lead_of_a_process_that_has_ended_is_swept_at_once(store: Store, clock: MovedClock):
    """Its lease may run on: its pid tells that it is gone. So does a lease that was ended."""
    dead, ended = of_dead_process(), a_lease(store, clock)
    assert (runs(dead), runs(ended.worker)) == (False, True)
    await store.renew_lease(dead, until_ms=NOW_MS + 10_000)
    await ended.beat()
    leads = [await sending(store, 1, dead), await sending(store, 2, ended.worker)]
    await ended.end()
    await a_lease(store, clock).beat()
    assert [await state_of(store, lead.lead_id) for lead in leads] == [LeadState.UNKNOWN] * 2


async def test_pid_of_another_machine_says_nothing(store: Store, clock: MovedClock):
    """A process is only known to be gone where its pid means something; else its lease decides."""
    elsewhere = a_lease_elsewhere(store, clock, pid=os.getpid())
    assert runs(elsewhere.worker) is None
    assert runs("nonsense") is None
    await elsewhere.beat()
    lead = await sending(store, 1, elsewhere.worker)
    await a_lease(store, clock).beat()
    assert await state_of(store, lead.lead_id) is LeadState.SENDING


async def test_process_of_this_machine_that_is_stopped_keeps_its_leads(store: Store, clock: MovedClock):
    """It is there, whatever its lease says, or a clock that was set: it will tell itself what became of them."""
    stopped, other = a_lease(store, clock), a_lease(store, clock)
    await stopped.beat()
    lead = await sending(store, 1, stopped.worker)
    clock.ms += 3_600_000
    await other.beat()
    assert await state_of(store, lead.lead_id) is LeadState.SENDING
    assert (await store.leases()).keys() == {stopped.worker, other.worker}


async def test_lease_that_a_wrong_clock_made_is_none(store: Store, clock: MovedClock):
    """Else the leads of a machine whose clock was ahead when it died would be in flight for so long."""
    ahead = a_lease_elsewhere(store, clock)
    clock.ms += 3_600_000
    await ahead.beat()
    lead = await sending(store, 1, ahead.worker)
    clock.ms -= 3_600_000
    await a_lease(store, clock).beat()
    assert await state_of(store, lead.lead_id) is LeadState.UNKNOWN


def test_process_is_gone_when_another_has_its_pid():
    """A pid is used again; the moment of the start is not."""
    place, pid, started, own = new_worker().split(".")
    assert runs(f"{place}.{pid}.{started}.{own}") is True
    assert runs(f"{place}.{pid}.{int(started) - 1}.{own}") is False


def test_process_is_gone_when_it_only_waits_to_be_buried():
    """Nobody may have taken note of its end yet."""
    script = "from lexchange.leases import new_worker; print(new_worker(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as one:
        assert one.stdout is not None
        worker = one.stdout.readline().strip()
        assert runs(worker)
        one.kill()
        os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table of processes
        assert runs(worker) is False


@pytest.mark.parametrize(("after_ms", "state"), [(299_999, LeadState.SENDING), (300_000, LeadState.UNKNOWN)])
async def test_lead_of_nobody_is_swept_when_it_is_old(store: Store, clock: MovedClock, after_ms: int, state: LeadState):
    """A version that knew no leases left it."""
    lead = await sending(store, 1, "")
    clock.ms = lead.updated_ms + after_ms
    await a_lease(store, clock).beat()
    assert await state_of(store, lead.lead_id) is state


async def test_claimed_lead_fails_and_gives_its_slot_back(store: Store, clock: MovedClock):
    """No attempt had begun, so no byte can have left."""
    lead = await sending(store, 1, of_dead_process(), state=LeadState.CLAIMED, attempts=[])
    await a_lease(store, clock).beat()
    assert await state_of(store, lead.lead_id) is LeadState.FAILED
    assert await store.read_counters(["c"]) == {"c": 0}


async def test_process_that_was_only_slow_sends_no_further_attempt(store: Store, clock: MovedClock):
    """Its lead was swept meanwhile: the next buyer is not called, and its outcome changes nothing."""
    slow, other = a_lease_elsewhere(store, clock), a_lease(store, clock)
    await slow.beat()
    lead = await sending(store, 1, slow.worker)
    clock.ms += 10_001
    await other.beat()
    started = await store.start_attempt(replace(lead, updated_ms=clock.ms, attempts=[*lead.attempts, an_attempt(2)]))
    assert started.outcome == "ended"
    assert not await store.finish_lead(replace(lead, state=LeadState.DELIVERED, updated_ms=clock.ms))
    assert await state_of(store, lead.lead_id) is LeadState.UNKNOWN


async def test_sweep_loses_to_an_attempt_that_began_meanwhile(store: Store, clock: MovedClock):
    """What was found before is not written over what is there now."""
    lead = await sending(store, 1, "x")
    following = replace(lead, updated_ms=lead.updated_ms + 1, attempts=[*lead.attempts, an_attempt(2)])
    assert (await store.start_attempt(following)).outcome == "started"
    assert not await store.sweep_lead(replace(lead, state=LeadState.UNKNOWN), lead)
    assert await store.audit.find_lead(lead.lead_id) == following


@pytest.mark.parametrize(
    ("is_dead", "has_lead", "outcome"),
    [(True, False, CallOutcome.NEW), (True, True, CallOutcome.IN_FLIGHT), (False, False, CallOutcome.IN_FLIGHT)],
)
async def test_call_of_a_process_that_is_gone_can_be_made_again(
    store: Store, clock: MovedClock, is_dead: bool, has_lead: bool, outcome: CallOutcome
):
    """At once, unless it has claimed a lead: then that one tells what became of it."""
    lease = a_lease(store, clock)
    worker = of_dead_process() if is_dead else lease.worker

    async def begin() -> CallOutcome:
        started = await store.begin_call("S", "key-1", "body", now_ms=NOW_MS, remember_ms=10**9, worker=worker)
        return started.outcome

    assert await begin() is CallOutcome.NEW
    if has_lead:
        lead = a_lead(1, src="S", ping_id=None)
        mark = CallMark(idempotency_key="key-1", begun_ms=NOW_MS)
        assert (await store.claim_lead(lead, now_ms=NOW_MS, mark=mark)).outcome == "claimed"
    await lease.beat()
    assert await begin() is outcome


async def spoil(store: Store, lead_id: str) -> None:
    """Have a lead say what a later lexchange may write, and this one does not know."""
    spoilt = Statement(
        sql='UPDATE leads SET record = REPLACE(record, \'"dropped":\', \'"shade":1,"dropped":\') WHERE lead_id = ?',
        params=(lead_id,),
    )
    await store._connector.write((spoilt,))
    with pytest.raises(TypeError, match="shade"):
        await store.audit.find_lead(lead_id)


async def test_lead_that_cannot_be_read_keeps_no_other_in_flight(store: Store, clock: MovedClock):
    """A later lexchange has sent it, and ended: this one settles what it can, and lives."""
    for number in (1, 2):
        await store.claim_lead(a_lead(number, ping_id=None, worker=of_dead_process()), now_ms=NOW_MS)
    await spoil(store, a_lead(1).lead_id)
    await a_lease(store, clock).beat()
    other = await store.audit.find_lead(a_lead(2).lead_id)
    assert other is not None
    assert other.state is LeadState.UNKNOWN
    assert [lead.lead_id for lead in await store.audit.unresolved_leads()] == [other.lead_id]


async def test_lead_that_cannot_be_swept_keeps_no_other_in_flight(
    store: Store, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
):
    """Whatever is wrong with it; it is told, and left to an operator."""
    for number in (1, 2):
        await store.claim_lead(a_lead(number, ping_id=None, worker=of_dead_process()), now_ms=NOW_MS)
    sweep = store.sweep_lead

    async def sweep_but_the_first(swept: Lead, found: Lead) -> bool:
        if found.lead_id == a_lead(1).lead_id:
            raise AssertionError("no lead goes so")
        return await sweep(swept, found)

    monkeypatch.setattr(store, "sweep_lead", sweep_but_the_first)
    await a_lease(store, clock).beat()
    states = {lead.lead_id: lead.state for lead in await store.audit.unresolved_leads()}
    assert states == {a_lead(1).lead_id: LeadState.SENDING, a_lead(2).lead_id: LeadState.UNKNOWN}
