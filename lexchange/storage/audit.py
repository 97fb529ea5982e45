"""What operators ask: how a ping went, what became of a lead, and which leads nobody knows the end of.

Its lists are read beside the traffic. It changes what an operator knows better: the outcome of a lead that nobody
knows, and a breaker whose buyer is back.
"""

from collections.abc import Collection, Sequence
from typing import Any

from lexchange.lead import Lead, LeadState, Ping
from lexchange.resolution import resolve
from lexchange.storage import statements, units
from lexchange.storage.connector import Connector, Value
from lexchange.storage.rows import breakers, config_versions, leads, pings, readable
from lexchange.storage.values import BreakerRow, ConfigVersion

SEARCHED_ROWS = 100_000  # the newest ones, among which a source or a reason is looked for
ANY_TIME_MS = 1 << 62
ORPHANED_MS = 300_000  # no delivery takes so long: the process that sent the lead is gone


class Audit:
    """Questions about what is stored."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    async def find_ping(self, ping_id: str) -> Ping | None:
        """The ping with this id, of whatever campaign."""
        found = pings(await self._connector.read(statements.FIND_ANY_PING, (ping_id,)))
        return found[0] if found else None

    async def find_lead(self, lead_id: str) -> Lead | None:
        """The lead with this id."""
        return await self._lead(statements.FIND_LEAD, (lead_id,))

    async def find_lead_of_ping(self, ping_id: str) -> Lead | None:
        """The lead that consumed this ping."""
        return await self._lead(statements.FIND_LEAD_OF_ANY_PING, (ping_id,))

    async def find_delivery(self, delivery_id: str) -> Lead | None:
        """The lead one of whose attempts has this id."""
        return await self._lead(statements.FIND_DELIVERY, (delivery_id, delivery_id))

    async def recent_pings(self, limit: int, *, src: str = "", reason: str = "") -> list[Ping]:
        """The newest pings first; of one source, with one reason, where given."""
        return pings(await self._connector.scan(statements.RECENT_PINGS, _listed(limit, src, reason)))

    async def recent_leads(self, limit: int, *, src: str = "", reason: str = "") -> list[Lead]:
        """The newest leads first; of one source, with one reason, where given."""
        return leads(await self._connector.scan(statements.RECENT_LEADS, _listed(limit, src, reason)))

    async def in_flight_leads(self, *, except_of: Collection[str]) -> list[Lead]:
        """Leads that are claimed or sending now, but for those of these processes."""
        records = tuple(f'%"worker":"{worker}"%' for worker in except_of)
        return readable(await self._connector.scan(statements.in_flight_leads(len(records)), records), leads)

    async def unresolved_leads(self, *, limit: int = 1_000, before_ms: int = ANY_TIME_MS) -> list[Lead]:
        """Leads that are claimed, sending or unknown and were last touched before `before_ms`, the oldest first."""
        return readable(await self._connector.scan(statements.UNRESOLVED_LEADS, (before_ms, limit)), leads)

    async def unknown_leads(self, *, since_ms: int, before_ms: int, limit: int = 1_000) -> list[Lead]:
        """Leads of unknown outcome that were made at or after `since_ms` and last touched before `before_ms`."""
        params = (f"L-{since_ms:012X}", before_ms, limit)
        return readable(await self._connector.scan(statements.UNKNOWN_LEADS, params), leads)

    async def resolve_lead(self, lead_id: str, to: LeadState, *, note: str, now_ms: int) -> bool:
        """Bring an unknown lead, or one that has been sending for 5 minutes, to `delivered` or `failed`.

        Guarded by its stored state: False when it is not so (any more), or when it is just asked again what became of
        it. What follows is `resolution.py`'s.
        """
        assert to in (LeadState.DELIVERED, LeadState.FAILED), to
        lead = await self.find_lead(lead_id)
        if lead is None:
            return False
        before = [LeadState.UNKNOWN]
        if lead.state is LeadState.SENDING and lead.updated_ms <= now_ms - ORPHANED_MS:
            before.append(LeadState.SENDING)
        resolution = resolve(lead, to, note=note, now_ms=now_ms)
        unit = units.end_lead(resolution.lead, before=before, releases=resolution.releases, found=lead)
        return (await self._connector.write(unit)).failed_guard is None

    async def totals(self) -> dict[str, Any]:
        """What the store adds up to: leads by state, live sales by campaign, what is used of every cap."""
        sold = sorted(await self._connector.scan(statements.SOLD_BY_CAMPAIGN))
        names = ("leads", "price_micros", "payout_micros")
        return {
            "leads": dict(await self._connector.scan(statements.LEADS_BY_STATE)),
            "sold": {campaign: dict(zip(names, sums, strict=True)) for campaign, *sums in sold},
            "counters": dict(await self._connector.scan(statements.COUNTERS)),
        }

    async def configs(self) -> list[ConfigVersion]:
        """Every configuration that was ever in force, the oldest first."""
        return config_versions(await self._connector.scan(statements.CONFIGS))

    async def breakers(self) -> list[BreakerRow]:
        """The latest word on every breaker that has ever opened."""
        return breakers(await self._connector.scan(statements.BREAKERS))

    async def reset_breakers(self, campaign: str, buyer: str, *, now_ms: int) -> bool:
        """Have every process close this buyer's breakers; False when none has ever opened."""
        (rows,) = (await self._connector.write(units.reset_breakers(campaign, buyer, now_ms))).rows
        return bool(rows)

    async def _lead(self, sql: str, params: Sequence[Value]) -> Lead | None:
        found = leads(await self._connector.read(sql, params))
        return found[0] if found else None


def _listed(limit: int, src: str, reason: str) -> tuple[Value, ...]:
    searched = SEARCHED_ROWS if src or reason else limit
    return searched, src, src, reason, reason, limit
