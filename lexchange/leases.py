"""Leases: says that this process lives, and settles the leads that processes which do not have left in flight.

A lead belongs to the process that sends it. While its lease runs nobody else touches it; when the process is gone,
nobody can know whether the buyer has the lead, so it becomes unknown, and an operator's.
"""

import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from lexchange.background import beside, describe, keep_on
from lexchange.clock import Clock
from lexchange.errors import StorageError
from lexchange.lead import AttemptOutcome, Lead, LeadState
from lexchange.reasons import Reason
from lexchange.storage import Store
from lexchange.storage.audit import ORPHANED_MS
from lexchange.telemetry import log_event

BEATS_A_LEASE = 4  # so that a slow one, or one that fails, costs nothing
LONGEST_LEASES = 2  # what clocks of machines may differ by, in leases, and one
DETAIL = "the exchange ended while the lead was being sent"


def new_worker() -> str:
    """A name for this process: where its pid means something, the pid, its start, and what no other process has."""
    pid = os.getpid()
    return f"{_place()}.{pid}.{_started(pid)}.{secrets.token_hex(4)}"


def runs(worker: str) -> bool | None:
    """Whether the process is there, if it is one of this machine; None of others, of which only their lease tells."""
    place, _, rest = worker.partition(".")
    pid, _, rest = rest.partition(".")
    return _started(int(pid)) == rest.partition(".")[0] if place == _place() else None


def alive(leases: Mapping[str, int], now_ms: int, lease_ms: int, spares_until_ms: int = 0) -> dict[str, int]:
    """The leases of processes that live.

    On this machine a process itself tells. A lease that is longer than any was made by a wrong clock; until
    `spares_until_ms` one that is over counts as well.
    """
    living = {}
    for worker, until_ms in leases.items():
        is_over = until_ms <= now_ms and spares_until_ms <= now_ms
        has_lease = not is_over and until_ms <= now_ms + LONGEST_LEASES * lease_ms
        if runs(worker) or (runs(worker) is None and has_lease):
            living[worker] = until_ms
    return living


def _started(pid: int) -> str:
    """When a process started, in ticks since the boot; empty for one that is not there, or only waits to be buried."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # what comes before may hold anything: the program's name
    return "" if fields[_STATE] in _DEAD else fields[_START]


_STATE, _START = 0, 19  # the third and the 22nd of proc(5)
_DEAD = ("Z", "X")


def _place() -> str:
    """This boot of this machine, and the namespace that its pids are of; alone in the world where that is not told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return _NOWHERE


_NOWHERE = secrets.token_hex(8)


@asynccontextmanager
async def leased(store: Store, clock: Clock, lease_s: int) -> AsyncIterator[str]:
    """Hold a lease until the block ends; gives the name that this process's leads carry."""
    lease = Lease(store, clock, lease_s, new_worker())
    await lease.beat()
    async with beside(lease.beat_on()):
        yield lease.worker
    await lease.end()


class Lease:
    """This process's lease. Each beat renews it and sweeps."""

    def __init__(self, store: Store, clock: Clock, lease_s: int, worker: str) -> None:
        self._store = store
        self._clock = clock
        self._lease_ms = lease_s * 1000
        self._spares_until_ms = 0
        self.worker = worker

    async def beat_on(self) -> None:
        """Beat until cancelled; a store that fails is asked again."""
        await keep_on(self._lease_ms / 1000 / BEATS_A_LEASE, self.beat, "lease_not_renewed")

    async def beat(self) -> None:
        """Renew the lease, then settle what others have left behind."""
        now_ms = self._clock.now_ms()
        try:
            await self._store.renew_lease(self.worker, until_ms=now_ms + self._lease_ms)
        except StorageError:  # others may not have renewed theirs either: once it is back, they get the time to
            self._spares_until_ms = self._clock.now_ms() + self._lease_ms
            raise
        living = await self._alive(now_ms)
        orphans = await self._store.audit.in_flight_leads(except_of=living)
        living |= await self._alive(now_ms)  # who has started since, and may have claimed some of them
        for lead in orphans:
            is_orphan = lead.worker not in living if lead.worker else lead.updated_ms <= now_ms - ORPHANED_MS
            if is_orphan:
                await self._sweep(lead, now_ms)
        if returned := await self._store.return_orphaned_caps(living):
            log_event("cap_leases_swept", count=returned)
        await self._store.sweep_workers(living, now_ms)

    async def _sweep(self, lead: Lead, now_ms: int) -> None:
        try:
            if await self._store.sweep_lead(swept(lead, now_ms), lead):
                log_event("lead_swept", lead_id=lead.lead_id, buyer=lead.buyer)
        except Exception as error:  # noqa: BLE001 - one lead that cannot be settled must not keep the others in flight
            log_event("lead_not_swept", lead_id=lead.lead_id, error=describe(error))

    async def _alive(self, now_ms: int) -> set[str]:
        return set(alive(await self._store.leases(), now_ms, self._lease_ms, self._spares_until_ms))

    async def end(self) -> None:
        """Nothing of this process is under way any more."""
        try:
            await self._store.end_lease(self.worker)
        except StorageError as error:
            log_event("lease_not_ended", error=str(error))


def swept(lead: Lead, now_ms: int) -> Lead:
    """The lead as an operator finds it: failed where no attempt had begun, else unknown with its slots kept."""
    if lead.state is LeadState.CLAIMED:
        reason = Reason.BUYER_DELIVERY_FAILED
        return replace(lead, state=LeadState.FAILED, reason=reason, detail=DETAIL, updated_ms=now_ms, takes=[])
    attempts = [
        replace(each, outcome=AttemptOutcome.BROKEN, detail=DETAIL) if each.outcome is AttemptOutcome.SENDING else each
        for each in lead.attempts
    ]
    return replace(
        lead,
        state=LeadState.UNKNOWN,
        reason="" if lead.takers else Reason.DOWNSTREAM_TIMEOUT,
        detail=DETAIL,
        updated_ms=now_ms,
        attempts=attempts,
    )
