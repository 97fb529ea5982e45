"""Catalog: the configuration, compiled for the hot path. Immutable; a reload swaps it whole.

Everything that can be decided once per configuration is decided here: schemas, filters, mappings, answer rules.
A request takes the catalog once and uses that one to its end.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from lexchange.buyers.call import BuyerCall, compile_call
from lexchange.campaign import Buyer, BuyerDelivery, Campaign, CapCounts, CapReserve, FieldSpec, PayoutRule, Source
from lexchange.caps import buyer_owner, source_owner
from lexchange.config import Limits
from lexchange.eligibility import compile_filter
from lexchange.fields import Schema, compile_schema
from lexchange.payout import describe_rule, least_bid_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveBuyer:
    """A buyer, ready to be asked."""

    buyer: Buyer
    zone: ZoneInfo
    failed_rule: Callable[[Mapping[str, str]], str | None]
    owner: str  # of his cap counters
    ping: BuyerCall | None
    post: BuyerCall


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCampaign:
    """A campaign, ready to take calls. `buyers` keeps the file's order."""

    campaign: Campaign
    zone: ZoneInfo
    schema: Schema
    buyers: dict[str, LiveBuyer]
    has_caps: bool  # any buyer has a cap
    has_holds: bool  # any buyer's cap is reserved by a won ping


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a SRC leads: its source and its campaign."""

    live: LiveCampaign
    source: Source
    payout: PayoutRule
    payout_text: str  # the rule as it is kept with each ping
    least_bid_micros: int  # a smaller bid does not cover what the rule promises the source
    owner: str  # of the source's cap counters
    has_ping_caps: bool
    has_lead_caps: bool
    has_budgets: bool  # caps on what it earns


class Catalog:
    """All campaigns of one configuration version, found by SRC."""

    def __init__(
        self, campaigns: Iterable[Campaign], *, version: str, limits: Limits, calls: Iterable[BuyerCall] = ()
    ) -> None:
        """Compile all but the `calls` that are compiled already."""
        self.version = version
        self.campaigns = tuple(campaigns)
        compiler = _Compiler(limits, calls)
        self.live = tuple(compiler.live(campaign) for campaign in self.campaigns)
        self.has_idempotent_buyers = any(
            buyer.post.is_idempotent for campaign in self.campaigns for buyer in campaign.buyers
        )
        self.retentions = {campaign.campaign: campaign.retention for campaign in self.campaigns}
        least_bids: dict[PayoutRule, int] = {}
        self._routes: dict[str, Route] = {}
        for campaign, live in zip(self.campaigns, self.live, strict=True):
            for source in campaign.sources:
                payout = source.payout or campaign.payout
                if payout not in least_bids:
                    least_bids[payout] = least_bid_micros(payout)
                self._routes[source.src] = Route(
                    live=live,
                    source=source,
                    payout=payout,
                    payout_text=describe_rule(payout),
                    least_bid_micros=least_bids[payout],
                    owner=source_owner(campaign.campaign, source.src),
                    has_ping_caps=any(cap.counts is CapCounts.PINGS for cap in source.caps),
                    has_lead_caps=any(cap.counts is CapCounts.LEADS for cap in source.caps),
                    has_budgets=any(cap.budget_micros is not None for cap in source.caps),
                )

    def route(self, src: str) -> Route | None:
        """The route of a SRC; None when nobody has it."""
        return self._routes.get(src)


class _Compiler:
    """What is equal in many campaigns is compiled once."""

    def __init__(self, limits: Limits, calls: Iterable[BuyerCall]) -> None:
        self._limits = limits
        self._calls = {id(call.delivery): call for call in calls}
        self._schemas: dict[tuple[FieldSpec, ...], Schema] = {}

    def live(self, campaign: Campaign) -> LiveCampaign:
        caps = [cap for buyer in campaign.buyers for cap in buyer.caps]
        return LiveCampaign(
            campaign=campaign,
            zone=ZoneInfo(campaign.time_zone),
            schema=self._schema(campaign.fields),
            buyers={buyer.buyer: self._live_buyer(buyer, campaign) for buyer in campaign.buyers},
            has_caps=bool(caps),
            has_holds=any(cap.reserve is CapReserve.PING for cap in caps),
        )

    def _schema(self, fields: tuple[FieldSpec, ...]) -> Schema:
        found = self._schemas.get(fields)
        if found is None:
            found = self._schemas[fields] = compile_schema(fields, self._limits)
        return found

    def _live_buyer(self, buyer: Buyer, campaign: Campaign) -> LiveBuyer:
        return LiveBuyer(
            buyer=buyer,
            zone=ZoneInfo(buyer.time_zone or campaign.time_zone),
            owner=buyer_owner(campaign.campaign, buyer.buyer),
            failed_rule=compile_filter(buyer.filters),
            ping=self._call(buyer.ping) if buyer.ping else None,
            post=self._call(buyer.post),
        )

    def _call(self, delivery: BuyerDelivery) -> BuyerCall:
        return self._calls.get(id(delivery)) or compile_call(delivery)
