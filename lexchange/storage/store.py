"""What the exchange remembers, as verbs that are transitions.

Each happens as a whole or not at all, and is on disk when its call returns; StorageError means that this is not known.

Knows no engine: statements go through a Connector. Decides nothing: limits, states and times come from the caller.
A caller that is cancelled while it waits leaves its transition to happen; one that must know shields the call.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from lexchange.blocks import BlockRule, Draw
from lexchange.errors import ConfigError
from lexchange.lead import IN_FLIGHT, BuyerPing, CapTake, Fingerprint, Lead, LeadState, Ping
from lexchange.storage import statements, units
from lexchange.storage.audit import Audit
from lexchange.storage.cap_units import take_caps
from lexchange.storage.connector import Connector, Statement, Unit, UnitResult
from lexchange.storage.contents import Contents
from lexchange.storage.postgres import Bounds, PostgresConnector, redacted
from lexchange.storage.purges import Purges
from lexchange.storage.rooms import Rooms
from lexchange.storage.rows import current_config, leads, pings
from lexchange.storage.schema import Opening
from lexchange.storage.sqlite import SqliteConnector, back_up_file
from lexchange.storage.takes import Takes
from lexchange.storage.values import (
    ANY_GENERATION,
    BreakerRow,
    CallMark,
    CallOutcome,
    CallStart,
    ClaimOutcome,
    ClaimResult,
    CurrentConfig,
    StartOutcome,
    StartResult,
)

ABANDONED_MS = 60_000  # a call that has not answered for so long never will


class Store:
    """The verbs. `audit` holds what operators ask."""

    def __init__(self, connector: Connector, applied: Sequence[str] = ()) -> None:
        self._connector = connector
        self._takes = Takes(connector)
        self.audit = Audit(connector)
        self.contents = Contents(connector)
        self.purges = Purges(connector)
        self.rooms = Rooms(connector)
        self.applied = applied  # the migrations that opening it has applied

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        busy_timeout_ms: int = 5_000,
        waiting_units: int = 10_000,
        writers: int = 4,
        scan_ms: int = 30_000,
        opening: Opening = Opening.MIGRATE,
    ) -> AsyncIterator["Store"]:
        """Open and migrate a store: `sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite:///:memory:`, or
        `postgresql://user:password@host:port/database`, also with several hosts.

        A write waits `busy_timeout_ms` for other processes, and for a server that is away; above `waiting_units` calls
        are refused at once. `writers` is how many connections commit, where an engine has several, and `scan_ms` how
        long an operator's query may take on a server. Raises ConfigError for an URL or a database that cannot be used,
        StorageError for one that cannot be opened now.
        """
        bounds = Bounds(busy_timeout_ms=busy_timeout_ms, waiting_units=waiting_units, writers=writers, scan_ms=scan_ms)
        connector = await _open_connector(url, bounds, opening)
        try:
            yield cls(connector, connector.applied)
        finally:
            await connector.aclose()

    # ------------------------------------------------------------------------------------------------------ pings

    async def record_ping(self, ping: Ping, holds: Sequence[CapTake] = ()) -> CapTake | None:
        """Store a ping; with `holds`, also take those slots and keep them for it until `expires_ms`.

        Guarded by every cap in `holds`: the first full one is returned, and then nothing is stored.
        """
        if not holds:
            await self._connector.write(units.record_ping(ping, ()))
            return None
        unit_of = partial(units.record_ping, ping)
        return _full_cap(await self._takes.write(holds, unit_of, may_lease=False))

    async def find_ping(self, ping_id: str, *, campaign: str) -> Ping | None:
        """The campaign's ping, with the late answers that have come in."""
        return _only(pings(await self._connector.read(statements.FIND_PING, (campaign, ping_id))))

    async def find_repeat(self, campaign: str, src: str, repeat_key: str, *, since_ms: int, now_ms: int) -> Ping | None:
        """The latest equal live ping since `since_ms` that is unexpired and unclaimed, offered or not sold."""
        params = (campaign, repeat_key, campaign, src, since_ms, now_ms)
        return _only(pings(await self._connector.read(statements.FIND_REPEAT, params)))

    async def record_late_answers(self, campaign: str, owner_id: str, answers: Sequence[BuyerPing]) -> None:
        """Replace those buyers' entries in the auction of a ping, or of a direct post's lead: `owner_id` is its id."""
        if answers:
            await self._connector.write(units.record_late_answers(campaign, owner_id, answers))

    # ------------------------------------------------------------------------------------------------------ leads

    async def claim_lead(
        self,
        lead: Lead,
        *,
        takes: Sequence[CapTake] = (),
        fingerprints: Sequence[Fingerprint] = (),
        now_ms: int,
        mark: CallMark | None = None,
        held: Sequence[CapTake] = (),
        may_hold: bool = True,
    ) -> ClaimResult:
        """Consume the lead's ping (if it has one), take its slots, and store it as it is, usually `sending`.

        Guarded by: the ping is offered, unexpired, this source's and of this kind; no equal fingerprint of another
        lead; no cap full. If any fails, nothing has changed. `takes` names every slot the lead needs: those that its
        ping holds, `held`, are given back in the same step, so they are neither missing nor counted twice, unless it
        `may_hold` none. With a `mark` the running call learns its lead, and is guarded: no repeat has taken it over.
        """

        def unit_of(draws: Sequence[Draw]) -> Unit:
            return units.claim_lead(lead, draws, fingerprints, now_ms, mark, may_hold=may_hold)

        result = await self._takes.write(takes, unit_of, freed=held, now_ms=now_ms)
        match result.failed_guard:
            case None:
                return ClaimResult(outcome=ClaimOutcome.CLAIMED)
            case CapTake(counter=counter):
                return ClaimResult(outcome=ClaimOutcome.CAP_FULL, counter=counter)
            case Fingerprint() as twin:
                found = await self.find_duplicates(twin.campaign, twin.digest, since_ms=twin.since_ms)
                first = found.get(twin.scope_key)
                return ClaimResult(outcome=ClaimOutcome.DUPLICATE, scope_key=twin.scope_key, lead_id=first)
            case CallMark():
                return ClaimResult(outcome=ClaimOutcome.CALL_TAKEN_OVER)
            case _:
                return await self._why_unclaimed(lead)

    async def outlast_claim(self, lead_id: str) -> None:
        """Wait until a claim whose answer was lost has come to its end: from then on the lead is there, or never."""
        await self._connector.write(units.outlast_claim(lead_id))

    async def start_attempt(
        self,
        lead: Lead,
        *,
        takes: Sequence[CapTake] = (),
        releases: Sequence[CapTake] = (),
        adjustments: Sequence[tuple[str, int]] = (),
        fingerprints: Sequence[Fingerprint] = (),
    ) -> StartResult:
        """Move a claimed or sending lead to `sending` at its next buyer, before a byte goes to him.

        Guarded by: nobody has ended the lead; no cap full; no equal fingerprint of another lead. `releases` are the
        last buyer's slots, `adjustments` settle his final price, `takes` are the next one's slots, and `fingerprints`
        replace the lead's (needed in scope `buyer` only).
        """
        assert lead.state is LeadState.SENDING, lead.state

        def unit_of(draws: Sequence[Draw]) -> Unit:
            return units.start_attempt(lead, draws, releases, adjustments, fingerprints)

        result = await self._takes.write(takes, unit_of, freed=releases, now_ms=lead.updated_ms)
        match result.failed_guard:
            case None:
                return StartResult(outcome=StartOutcome.STARTED)
            case CapTake(counter=counter):
                return StartResult(outcome=StartOutcome.CAP_FULL, counter=counter)
            case Fingerprint(scope_key=scope_key):
                return StartResult(outcome=StartOutcome.DUPLICATE, scope_key=scope_key)
            case _:
                return StartResult(outcome=StartOutcome.ENDED)

    async def finish_lead(
        self,
        lead: Lead,
        *,
        releases: Sequence[CapTake] = (),
        adjustments: Sequence[tuple[str, int]] = (),
        before: Sequence[LeadState] = IN_FLIGHT,
        found: Lead | None = None,
    ) -> bool:
        """Bring a lead from one of the states `before` to delivered, rejected, failed or unknown.

        Guarded by its stored state, by LEAD_TRANSITIONS and, where it was `found` before, by nobody having touched it
        since: False means that somebody else has ended it, or goes on with it, and nothing has changed. `releases` are
        given back; `lead.takes` is what it still holds afterwards. `adjustments` (counter, signed micros) settle a
        final price that differs from the bid. A rejected or failed lead is no duplicate of anything any more; a live
        delivered one is its buyer's latest turn.
        """
        assert lead.state not in IN_FLIGHT, lead.state
        unit = units.end_lead(lead, before=before, releases=releases, adjustments=adjustments, found=found)
        return (await self._connector.write(unit)).failed_guard is None

    async def start_resend(self, asked: Lead, found: Lead) -> bool:
        """Note that an unknown lead goes to its buyer again, before a byte does.

        Guarded: nobody has touched it since it was `found`; of two processes one may send.
        """
        return (await self._connector.write(units.start_resend(asked, found))).failed_guard is None

    async def find_lead_of_ping(self, ping_id: str, *, campaign: str) -> Lead | None:
        """The lead that consumed this ping of the campaign."""
        found = leads(await self._connector.read(statements.FIND_LEAD_OF_PING, (campaign, campaign, ping_id)))
        return found[0] if found else None

    async def find_duplicates(self, campaign: str, digest: str, *, since_ms: int) -> dict[str, str]:
        """Leads with these field values since `since_ms` that are sold, in flight or unknown: lead_id by scope key."""
        rows = await self._connector.read(statements.FIND_DUPLICATES, (campaign, digest, since_ms))
        return dict(rows)

    async def last_sales(self, campaign: str) -> dict[str, int]:
        """When each buyer of a campaign last bought, in epoch ms."""
        return dict(await self._connector.read(statements.LAST_SALES, (campaign,)))

    # ------------------------------------------------------------------------------------------------------- caps

    async def take_caps(self, takes: Sequence[CapTake]) -> CapTake | None:
        """Take all slots, guarded by every cap: the first full one is returned, and then none is taken."""
        if not takes:
            return None
        return _full_cap(await self._takes.write(takes, take_caps))

    async def read_counters(self, counters: Sequence[str]) -> dict[str, int]:
        """What is used of each counter, in flight included; 0 for one that nobody has touched.

        What is only leased, by whomever, is not used: whoever finds no other slot takes it back.
        """
        return await self._takes.used(counters)

    def lease_caps(self, worker: str, rule: BlockRule) -> None:
        """Take blocks of hot counters ahead from now on. Leased and used together stay at or below the cap."""
        self._takes.lease(worker, rule)

    async def return_idle_caps(self) -> None:
        """Give back this process's leases of counters that it has stopped taking from."""
        await self._takes.return_idle()

    async def stop_leasing_caps(self) -> None:
        """Give back this process's leases, and take none any more."""
        await self._takes.stop_leasing()

    async def return_orphaned_caps(self, alive: Collection[str]) -> int:
        """Give back the leases of caps of processes other than these, once; how many."""
        return await self._takes.return_orphans(alive)

    async def release_expired_holds(self, campaign: str, now_ms: int) -> int:
        """Give back the slots of a campaign's pings that expired unclaimed; how many. Any number of workers may."""
        return await self._takes.release_expired(campaign, now_ms)

    async def release_all_expired_holds(self, now_ms: int) -> None:
        """Give back those of all campaigns, whether or not their pings hold slots any more."""
        await self._takes.release_all_expired(now_ms)

    # ------------------------------------------------------------------------------------------- idempotency keys

    async def begin_call(
        self, src: str, idempotency_key: str, body_hash: str, *, now_ms: int, remember_ms: int, worker: str = ""
    ) -> CallStart:
        """Mark a call as running under its key, or say what is there. Guarded: of two equal calls one is `new`.

        A key is forgotten after `remember_ms`. A call that has neither answered nor claimed a lead for 60 s counts as
        abandoned; one that has claimed a lead never does.
        """
        key = (src, idempotency_key)
        begin = (*key, body_hash, now_ms, worker, now_ms - remember_ms, now_ms - ABANDONED_MS)
        begun, found = (await self._connector.write(units.begin_call(begin, *key))).rows
        if begun:
            return CallStart(outcome=CallOutcome.NEW)
        first_body_hash, answer, lead_id = found[0]
        if first_body_hash != body_hash:
            return CallStart(outcome=CallOutcome.REUSED)
        if answer is None:
            return CallStart(outcome=CallOutcome.IN_FLIGHT, lead_id=lead_id)
        return CallStart(outcome=CallOutcome.REPLAY, answer=answer)

    async def finish_call(self, src: str, mark: CallMark, answer: bytes) -> None:
        """Remember the answer of a running call; the first one stays, and so does the call that took this one over."""
        await self._connector.write(units.finish_call(src, mark, answer))

    async def abandon_call(self, src: str, mark: CallMark) -> None:
        """Forget a running call: a refused one may be made again. One with an answer or a claimed lead stays."""
        await self._connector.write(units.abandon_call(src, mark))

    # ---------------------------------------------------------------------------------------------------- workers

    async def renew_lease(self, worker: str, *, until_ms: int) -> None:
        """Say that a process lives, until then."""
        await self._connector.write((Statement(sql=statements.RENEW_LEASE, params=(worker, until_ms)),))

    async def end_lease(self, worker: str) -> None:
        """Say that a process has ended in order."""
        await self._connector.write((Statement(sql=statements.END_LEASE, params=(worker,)),))

    async def leases(self) -> dict[str, int]:
        """Until when each process was to be heard of, in epoch ms."""
        return dict(await self._connector.read(statements.LEASES))

    async def sweep_workers(self, alive: Collection[str], now_ms: int) -> None:
        """Forget leases of others than these that are over, and the calls that they were running without a lead."""
        await self._connector.write(units.sweep_workers(alive, now_ms))

    async def sweep_lead(self, swept: Lead, found: Lead) -> bool:
        """End a lead in flight that nobody works on; False when somebody has touched it since it was `found`."""
        return (await self._connector.write(units.sweep_lead(swept, found))).failed_guard is None

    # ------------------------------------------------------------------------------------------------- upkeep

    async def make_room(self, now_ms: int) -> None:
        """Prepare the tables for what comes next; cheap, so call it every now and then."""
        await self._connector.make_room(now_ms)

    # ------------------------------------------------------------------------------------------ buyers' health

    async def record_breaker(self, row: BreakerRow) -> None:
        """Keep the latest word on a breaker."""
        await self._connector.write(units.record_breaker(row))

    async def breaker_resets(self) -> dict[tuple[str, str], int]:
        """When an operator last reset a buyer's breakers, in epoch ms: by campaign and buyer."""
        rows = await self._connector.read(statements.BREAKER_RESETS)
        return {(campaign, buyer): reset_ms for campaign, buyer, reset_ms in rows}

    # ---------------------------------------------------------------------------------------------- configuration

    async def publish_config(
        self, version: str, documents: bytes, *, summary: str, node: str, now_ms: int, over: int = ANY_GENERATION
    ) -> bool:
        """Keep a configuration, in force instead of one of generation `over` or earlier; False where it is already."""
        unit = units.publish_config(version, documents, summary, node=node, now_ms=now_ms, over=over)
        return (await self._connector.write(unit)).failed_guard is None

    async def current_config(self) -> CurrentConfig | None:
        """The configuration in force; None before the first."""
        return current_config(await self._connector.read(statements.CURRENT_CONFIG))

    async def find_config(self, version: str) -> bytes | None:
        """The documents of a configuration that was in force once; None for any other."""
        rows = await self._connector.read(statements.FIND_CONFIG, (version,))
        return bytes(rows[0][0]) if rows and rows[0][0] is not None else None

    async def _why_unclaimed(self, lead: Lead) -> ClaimResult:
        params = (lead.campaign, lead.ping_id, lead.src, int(lead.is_test))
        claims = await self._connector.read(statements.FIND_CLAIM, params)
        if not claims:
            return ClaimResult(outcome=ClaimOutcome.NOT_OFFERED)
        return ClaimResult(outcome=ClaimOutcome.ALREADY_CLAIMED, lead_id=claims[0][0])


def place_of(url: str) -> str:
    """The URL of a store as people may see it: without a password."""
    return url if url.startswith("sqlite:") else redacted(url)


async def back_up(url: str, to: Path) -> None:
    """Write what a store in a file holds at this moment into another, while it is served."""
    if not (path := file_of(url)):
        raise ConfigError(f"{place_of(url)}: expected a store in a file; for a server's see docs/operations.md")
    await asyncio.to_thread(back_up_file, path, to)


def file_of(url: str) -> str:
    """The path of a store in a file; empty for one on a server."""
    scheme, _, path = url.partition(":///")
    return path if scheme == "sqlite" else ""


async def _open_connector(url: str, bounds: Bounds, opening: Opening) -> SqliteConnector | PostgresConnector:
    if path := file_of(url):
        return await SqliteConnector.open(
            path, busy_timeout_ms=bounds.busy_timeout_ms, waiting_units=bounds.waiting_units, opening=opening
        )
    if url.startswith(("postgresql://", "postgres://")):
        return await PostgresConnector.open(url, bounds, opening)
    raise ConfigError(
        "store URL: expected sqlite:///relative/path, sqlite:////absolute/path or "
        f"postgresql://user:password@host:port/database, got {place_of(url)!r}"
    )


def _full_cap(result: UnitResult) -> CapTake | None:
    full = result.failed_guard
    assert full is None or isinstance(full, CapTake)
    return full


def _only(found: Sequence[Ping]) -> Ping | None:
    return found[0] if found else None
