"""Market: who may be asked about a lead, and whether the lead may be sold at all.

Reads counters and fingerprints from the store, at most one query each and only where the campaign has such rules;
the rules themselves are pure (`eligibility.py`, `caps.py`, `duplicates.py`). Every buyer not asked keeps his reason.
"""

from collections.abc import Mapping, Sequence

from lexchange.campaign import CapReserve, DuplicateScope, RoutingMode
from lexchange.caps import MINUTE_MS, full_cap, is_money, lead_takes, ping_takes
from lexchange.catalog import LiveBuyer, Route
from lexchange.duplicates import fingerprint, scope_key
from lexchange.eligibility import Moment, first_skip
from lexchange.frozen import frozen
from lexchange.lead import BuyerPing, CapTake, PingOutcome, SkipReason, make_buyer_ping
from lexchange.rates import RateWindow
from lexchange.reasons import Reason
from lexchange.routing import Bidder
from lexchange.storage import Store

NO_BUDGETS: Mapping[str, int] = {}


@frozen
class Turnout:
    """The buyers of one lead: those to ask, and by name those not, with their reasons."""

    asked: list[LiveBuyer]
    skipped: dict[str, BuyerPing]
    left_micros: Mapping[str, int]  # of the budgets of who has some


@frozen
class _Takes:
    """What a lead of one route takes of its buyers' caps within one minute, and the counters that this reads."""

    route: Route
    by_buyer: dict[str, tuple[CapTake, ...]]
    budgets: dict[str, tuple[CapTake, ...]]  # those of money, of who has some
    counters: tuple[str, ...]


class Market:
    """Answers two questions per lead: may it be sold, and to whom may it be offered?"""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rates = RateWindow()
        self._minute = 0
        self._takes: dict[str, _Takes] = {}  # by source, of that minute alone: each holds its whole campaign

    async def refusal(self, route: Route, data: Mapping[str, str], now_ms: int) -> Reason | None:
        """Why the lead may not be sold: it was sold before, or its source has reached a cap."""
        if not _protects_buyers(route) and await self._sold_before(route, data, now_ms):
            return Reason.DUPLICATE_LEAD
        if route.has_lead_caps and not await self.can_earn(route, 0, now_ms):
            return Reason.SOURCE_CAP_REACHED
        return None

    async def can_earn(self, route: Route, payout_micros: int, now_ms: int) -> bool:
        """Whether a lead with this payout fits in the caps of its source; with 0, whether any does."""
        takes = lead_takes(route.source.caps, route.owner, now_ms, route.live.zone, payout_micros, src=route.source.src)
        return full_cap(takes, await self._store.read_counters([take.counter for take in takes])) is None

    async def count_ping(self, route: Route, now_ms: int) -> Reason | None:
        """Count a ping against its source's caps on pings; exact under any number of workers."""
        if not route.has_ping_caps:
            return None
        takes = ping_takes(route.source.caps, route.owner, now_ms, route.live.zone)
        return Reason.SOURCE_CAP_REACHED if await self._store.take_caps(takes) else None

    async def turnout(self, route: Route, data: Mapping[str, str], now_ms: int) -> Turnout:
        """Split the campaign's buyers into those to ask and those not to."""
        takes = self._takes_of(route, now_ms)
        used = await self._used(route, takes.counters, now_ms)
        moment = Moment(src=route.source.src, data=data, now_ms=now_ms, used=used)
        past = await self._sold_before(route, data, now_ms) if _protects_buyers(route) else {}
        left_micros = _left_micros(takes.budgets, used) if takes.budgets else NO_BUDGETS
        turnout = Turnout(asked=[], skipped={}, left_micros=left_micros)
        for name, live in route.live.buyers.items():
            skip = self._skip(live, moment, takes.by_buyer[name], past)
            if skip is None:
                turnout.asked.append(live)
            else:
                turnout.skipped[name] = make_buyer_ping(
                    buyer=name, outcome=PingOutcome.NOT_ASKED, skip=skip[0], detail=skip[1]
                )
        return turnout

    async def turns(self, route: Route) -> dict[str, int]:
        """When each buyer last bought, for round_robin."""
        if route.live.campaign.routing.mode is not RoutingMode.ROUND_ROBIN:
            return {}
        return await self._store.last_sales(route.live.campaign.campaign)

    def holds(self, route: Route, winner: Bidder, now_ms: int) -> tuple[CapTake, ...]:
        """The cap slots a won ping holds until it is posted or expires (`reserve: ping`)."""
        if not route.live.has_holds:
            return ()
        live = route.live.buyers[winner.buyer]
        return lead_takes(
            live.buyer.caps,
            live.owner,
            now_ms,
            live.zone,
            winner.bid_micros,
            src=route.source.src,
            reserve=CapReserve.PING,
        )

    def _skip(
        self, live: LiveBuyer, moment: Moment, takes: Sequence[CapTake], past: Mapping[str, str]
    ) -> tuple[SkipReason, str] | None:
        skip = first_skip(live.buyer, moment, zone=live.zone, failed_rule=live.failed_rule, takes=takes)
        if skip is not None:
            return skip
        if past and scope_key(DuplicateScope.BUYER, src="", buyer=live.buyer.buyer) in past:
            return SkipReason.DUPLICATE, "bought this lead before"
        if not self._rates.admit(live.owner, live.buyer.ping_limit_per_second, moment.now_ms):
            return SkipReason.PING_LIMIT, f"{live.buyer.ping_limit_per_second} pings a second"
        return None

    def _takes_of(self, route: Route, now_ms: int) -> _Takes:
        """Kept for a minute, within which it is the same for all leads: no window begins or ends in between."""
        minute, src = now_ms // MINUTE_MS, route.source.src
        if minute != self._minute:
            self._minute, self._takes = minute, {}
        known = self._takes.get(src)
        if known is None or known.route is not route:
            by_buyer = {
                name: lead_takes(live.buyer.caps, live.owner, now_ms, live.zone, 0, src=src)
                for name, live in route.live.buyers.items()
            }
            counters = tuple(take.counter for takes in by_buyer.values() for take in takes)
            budgets = {name: money for name, takes in by_buyer.items() if (money := tuple(filter(is_money, takes)))}
            known = self._takes[src] = _Takes(route=route, by_buyer=by_buyer, budgets=budgets, counters=counters)
        return known

    async def _used(self, route: Route, counters: Sequence[str], now_ms: int) -> Mapping[str, int]:
        """The counters of all buyers' caps; expired holds are given back first."""
        if not counters:
            return {}
        if route.live.has_holds:
            await self._store.release_expired_holds(route.live.campaign.campaign, now_ms)
        return await self._store.read_counters(counters)

    async def _sold_before(self, route: Route, data: Mapping[str, str], now_ms: int) -> Mapping[str, str]:
        """Equal leads within the window that are sold or may be, by scope."""
        campaign, src = route.live.campaign, route.source.src
        own = fingerprint(campaign, data, now_ms, src=src)
        if own is None:
            return {}
        found = await self._store.find_duplicates(campaign.campaign, own.digest, since_ms=own.since_ms)
        return found if _protects_buyers(route) else {key: found[key] for key in (own.scope_key,) if key in found}


def _left_micros(budgets: Mapping[str, Sequence[CapTake]], used: Mapping[str, int]) -> dict[str, int]:
    return {name: min(take.limit - used[take.counter] for take in takes) for name, takes in budgets.items()}


def _protects_buyers(route: Route) -> bool:
    rule = route.live.campaign.duplicates
    return rule is not None and rule.scope is DuplicateScope.BUYER
