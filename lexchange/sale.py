"""Sale: one lead, handed to one buyer after the other until one takes it or none may follow.

The claim, and every further attempt, is durable before the first byte goes to its buyer. Which outcome lets the next
buyer have a try is the caller's rule; an unknown outcome never does.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lexchange.buyers.client import BuyerClient
from lexchange.buyers.documents import Document
from lexchange.buyers.mapping import MappingValues
from lexchange.campaign import DuplicateScope
from lexchange.caps import is_money, lead_takes
from lexchange.catalog import LiveBuyer, Route
from lexchange.clock import Clock
from lexchange.delivery import MEANINGS, deliver
from lexchange.duplicates import scope_key
from lexchange.gates import Gates
from lexchange.ids import Ids
from lexchange.lead import Attempt, AttemptOutcome, CapTake, Fingerprint, Lead, LeadState
from lexchange.reasons import Reason
from lexchange.storage import CallMark, ClaimOutcome, ClaimResult, StartOutcome, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A buyer who may get the lead: at which bid, for which payout, with which promise from his ping answer."""

    live: LiveBuyer
    bid_micros: int
    payout_micros: int
    takes: tuple[CapTake, ...] = ()  # the buyer's cap slots
    ping_response: Document | None = None
    fingerprints: tuple[Fingerprint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleRule:
    """When the next buyer may have a try. `deadline` is on the loop's clock."""

    moves_on: frozenset[AttemptOutcome]
    may_pass_over: bool  # a buyer whose cap is full is passed over; else the lead stays unclaimed
    max_attempts: int
    deadline: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NotClaimed:
    """No buyer was called and nothing is consumed."""

    reason: Reason


class Sale:
    """Sells one lead of a route. `mark` is the call's, where the source gave an idempotency key."""

    def __init__(
        self,
        route: Route,
        mark: CallMark | None,
        *,
        store: Store,
        client: BuyerClient,
        gates: Gates,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._route = route
        self._mark = mark
        self._store = store
        self._client = client
        self._gates = gates
        self._clock = clock
        self._ids = ids

    async def run(
        self, lead: Lead, offers: Sequence[Offer], rule: SaleRule, on_started: Callable[[Lead], None]
    ) -> Lead | NotClaimed:
        """Claim the lead for the first offer that can have it and deliver; returns the lead in its final state.

        `on_started` hears of each attempt before its first byte leaves.
        """
        waiting = list(offers)
        started = await self._claim(lead, waiting, rule)
        if isinstance(started, NotClaimed):
            return started
        while True:
            lead, offer = started
            on_started(lead)
            attempt = await deliver(
                lead.attempts[-1],
                offer.live.post,
                self._values(lead, offer),
                client=self._client,
                breaker=self._gates.gate(offer.live.owner, offer.live.buyer.breaker).post,
                deadline=rule.deadline,
            )
            lead = replace(lead, attempts=[*lead.attempts[:-1], attempt])
            following = None
            if attempt.outcome in rule.moves_on:
                following = await self._start_next(lead, waiting, rule)
            if following is None:
                return await self._finish(lead, offer, attempt)
            started = following

    async def _claim(self, lead: Lead, waiting: list[Offer], rule: SaleRule) -> tuple[Lead, Offer] | NotClaimed:
        refused = NotClaimed(reason=Reason.NO_ELIGIBLE_BUYER)
        while waiting:
            offer = waiting.pop(0)
            claimed = self._started(lead, offer)
            result = await self._store.claim_lead(
                claimed,
                takes=claimed.takes,
                fingerprints=offer.fingerprints,
                now_ms=claimed.created_ms,
                mark=self._mark,
            )
            if result.outcome is ClaimOutcome.CLAIMED:
                return claimed, offer
            refused = NotClaimed(reason=self._refusal(claimed, offer, result))
            if refused.reason is not Reason.NO_ELIGIBLE_BUYER or not rule.may_pass_over:
                break
        return refused

    def _refusal(self, lead: Lead, offer: Offer, result: ClaimResult) -> Reason:
        """What an undone claim tells the source; a limit of this buyer alone only means that he is not eligible."""
        if result.outcome is ClaimOutcome.ALREADY_CLAIMED:
            return Reason.PING_ID_ALREADY_CONSUMED
        if result.outcome is ClaimOutcome.NOT_OFFERED:
            return Reason.INVALID_PING_ID
        if result.outcome is ClaimOutcome.CALL_TAKEN_OVER:
            return Reason.REQUEST_IN_FLIGHT
        if result.outcome is ClaimOutcome.DUPLICATE:
            is_buyers_own = result.scope_key == scope_key(DuplicateScope.BUYER, src="", buyer=offer.live.buyer.buyer)
            return Reason.NO_ELIGIBLE_BUYER if is_buyers_own and lead.ping_id is None else Reason.DUPLICATE_LEAD
        source_counters = {take.counter for take in self._source_takes(lead, offer)}
        return Reason.SOURCE_CAP_REACHED if result.counter in source_counters else Reason.NO_ELIGIBLE_BUYER

    async def _start_next(self, lead: Lead, waiting: list[Offer], rule: SaleRule) -> tuple[Lead, Offer] | None:
        """Make the next attempt durable; None when nobody is left, or no attempt or time."""
        while waiting and len(lead.attempts) < rule.max_attempts:
            if asyncio.get_running_loop().time() >= rule.deadline:
                return None
            offer = waiting.pop(0)
            following = self._started(lead, offer)
            result = await self._store.start_attempt(
                following, takes=following.takes, releases=lead.takes, fingerprints=offer.fingerprints
            )
            if result.outcome is StartOutcome.STARTED:
                return following, offer
            if result.outcome is StartOutcome.ENDED:
                return None
        return None

    def _started(self, lead: Lead, offer: Offer) -> Lead:
        """The lead with a fresh attempt for this offer."""
        now_ms = self._clock.now_ms()
        attempt = Attempt(
            delivery_id=self._ids.delivery_id(),
            buyer=offer.live.buyer.buyer,
            bid_micros=offer.bid_micros,
            started_ms=now_ms,
        )
        return replace(
            lead,
            state=LeadState.SENDING,
            updated_ms=now_ms,
            delivery_id=attempt.delivery_id,
            buyer=attempt.buyer,
            price_micros=offer.bid_micros,
            payout_micros=offer.payout_micros,
            attempts=[*lead.attempts, attempt],
            takes=[*self._source_takes(lead, offer), *offer.takes],
        )

    async def _finish(self, lead: Lead, offer: Offer, attempt: Attempt) -> Lead:
        meaning = MEANINGS[attempt.outcome]
        is_delivered = meaning.state is LeadState.DELIVERED
        final_micros = attempt.price_micros if is_delivered else None
        price_micros = offer.bid_micros if final_micros is None else final_micros
        keeps_caps = is_delivered or meaning.state is LeadState.UNKNOWN
        owed = [take.counter for take in offer.takes if is_money(take)]  # budgets follow the final price
        finished = replace(
            lead,
            state=meaning.state,
            reason=meaning.reason or "",
            detail=attempt.detail,
            updated_ms=self._clock.now_ms(),
            price_micros=price_micros,
            takes=lead.takes if keeps_caps else [],
        )
        is_ours = await self._store.finish_lead(
            finished,
            releases=[] if keeps_caps else lead.takes,
            adjustments=[(counter, price_micros - offer.bid_micros) for counter in owed] if is_delivered else [],
        )
        # Somebody else may have ended it, an operator for one: his word is what is stored, and told.
        stored = None if is_ours else await self._store.audit.find_lead(lead.lead_id)
        return stored or finished

    def _source_takes(self, lead: Lead, offer: Offer) -> tuple[CapTake, ...]:
        route = self._route
        return lead_takes(
            route.source.caps, route.owner, lead.created_ms, route.live.zone, offer.payout_micros, src=lead.src
        )

    def _values(self, lead: Lead, offer: Offer) -> MappingValues:
        campaign = self._route.live.campaign
        return MappingValues(
            lead=lead.data,
            ping_id=lead.ping_id,
            campaign_id=campaign.campaign,
            campaign_name=campaign.name,
            src=lead.src,
            lead_id=lead.lead_id,
            delivery_id=lead.delivery_id,
            now_ms=lead.updated_ms,
            ping_response=offer.ping_response,
        )
