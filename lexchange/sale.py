"""Sale: one lead, handed to one buyer after the other until as many as may have it do, or none may follow.

The claim, and every further attempt, is durable before the first byte goes to its buyer. Which outcome leaves the place
to the next buyer is the caller's rule; an unknown outcome never does.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence

from lexchange import failpoints
from lexchange.buyers.client import BuyerClient
from lexchange.buyers.documents import Document
from lexchange.buyers.mapping import MappingValues
from lexchange.campaign import DuplicateScope
from lexchange.caps import is_money, lead_takes
from lexchange.catalog import LiveBuyer, Route
from lexchange.clock import Clock
from lexchange.delivery import DEFINITE_ANSWERS, MEANINGS, deliver
from lexchange.duplicates import scope_key
from lexchange.errors import StorageError
from lexchange.frozen import frozen, replace
from lexchange.gates import Gates
from lexchange.ids import Ids
from lexchange.lead import IN_FLIGHT, Attempt, AttemptOutcome, CapTake, Fingerprint, Lead, LeadState
from lexchange.reasons import Reason
from lexchange.storage import CallMark, ClaimOutcome, ClaimResult, StartOutcome, Store

MEND_S = 1.0  # between two tries
STORE_FAILED = "the store failed before anything was sent"


@frozen
class Offer:
    """A buyer who may get the lead: at which bid, for which payout, with which promise from his ping answer."""

    live: LiveBuyer
    bid_micros: int
    payout_micros: int
    takes: tuple[CapTake, ...] = ()  # the buyer's cap slots
    held: tuple[CapTake, ...] = ()  # those of them that his ping holds already
    ping_response: Document | None = None
    fingerprints: tuple[Fingerprint, ...] = ()


@frozen
class SaleRule:
    """When the next buyer may have a try. `deadline` is on the loop's clock."""

    moves_on: frozenset[AttemptOutcome]
    may_pass_over: bool  # a buyer whose cap is full is passed over; else the lead stays unclaimed
    sell_to: int  # how many buyers may have it
    max_attempts: int
    deadline: float
    may_hold: bool = False  # slots may be held for its ping: of this configuration, or of the one it was made under


@frozen
class NotClaimed:
    """No buyer was called and nothing is consumed."""

    reason: Reason


@frozen
class Leg:
    """What came of one offer."""

    offer: Offer
    attempt: Attempt

    @property
    def is_sold(self) -> bool:
        """He took it."""
        return self.attempt.outcome is AttemptOutcome.ACCEPTED

    @property
    def is_kept(self) -> bool:
        """He has it, or may have it: his slots stay taken, and nobody else gets his place."""
        return MEANINGS[self.attempt.outcome].state in (LeadState.DELIVERED, LeadState.UNKNOWN)


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
        self._legs: list[Leg] = []
        self._begun: list[Leg] = []  # each offer with its attempt as it began, whether or not the store has it

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
        legs = self._legs
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
            failpoints.reach("post_answered")
            legs.append(Leg(offer=offer, attempt=attempt))
            following = None
            if _has_place_left(legs, rule):
                following = await self._start_next(lead, legs, waiting, rule)
            if following is None:
                return await self._finish(lead, legs, legs[-1])
            started = following

    async def mend(self, lead_id: str) -> None:
        """Settle a lead on whose way the store failed, once it answers again.

        What became of each offer is known here: what has not been sent by then never will be.
        """
        while True:
            try:
                await self._store.outlast_claim(lead_id)
                stored = await self._store.audit.find_lead(lead_id)
                if stored is not None and stored.state in IN_FLIGHT:
                    known = {leg.attempt.delivery_id: leg for leg in [*map(_unsent, self._begun), *self._legs]}
                    legs = [known[attempt.delivery_id] for attempt in stored.attempts]
                    await self._finish(stored, legs, legs[-1])
            except StorageError:
                await asyncio.sleep(MEND_S)
            else:
                return

    async def ask_again(self, lead: Lead, offers: Sequence[Offer], due: Collection[str], deadline: float) -> None:
        """Send an unknown lead again to a buyer who takes a repeat for the same lead; his answer settles it.

        Without one, or where the campaign has changed meanwhile, it stays unknown.
        """
        legs = _legs_of(lead, offers)
        repeatable = (place for place, leg in enumerate(legs) if leg.attempt.delivery_id in due and _may_repeat(leg))
        place = next(repeatable, None)
        if place is None:
            return
        offer, first = legs[place].offer, legs[place].attempt
        again = replace(first, resends=first.resends + 1)
        asked = _with_attempt(replace(lead, updated_ms=self._clock.now_ms()), place, again)
        if not await self._store.start_resend(asked, lead):
            return
        attempt = await deliver(
            again,
            offer.live.post,
            self._values(replace(lead, delivery_id=first.delivery_id, updated_ms=first.started_ms), offer),
            client=self._client,
            breaker=self._gates.gate(offer.live.owner, offer.live.buyer.breaker).post,
            deadline=deadline,
        )
        if attempt.outcome in DEFINITE_ANSWERS:
            legs[place] = replace(legs[place], attempt=attempt)
            await self._finish(asked, legs, legs[place], found=asked)

    async def _claim(self, lead: Lead, waiting: list[Offer], rule: SaleRule) -> tuple[Lead, Offer] | NotClaimed:
        refused = NotClaimed(reason=Reason.NO_ELIGIBLE_BUYER)
        while waiting:
            offer = waiting.pop(0)
            ahead = [take for other in waiting for take in other.held]  # else the claim would let go of them
            claimed = self._started(lead, (), offer, [*self._count_takes(lead), *self._leg_takes(lead, offer), *ahead])
            failpoints.reach("claim_before")
            result = await self._store.claim_lead(
                claimed,
                takes=claimed.takes,
                fingerprints=offer.fingerprints,
                now_ms=claimed.created_ms,
                mark=self._mark,
                held=[*offer.held, *ahead],
                may_hold=rule.may_hold,
            )
            if result.outcome is ClaimOutcome.CLAIMED:
                failpoints.reach("claim_committed")
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
        source_counters = {take.counter for take in self._source_takes(lead, offer.payout_micros)}
        return Reason.SOURCE_CAP_REACHED if result.counter in source_counters else Reason.NO_ELIGIBLE_BUYER

    async def _start_next(
        self, lead: Lead, legs: Sequence[Leg], waiting: list[Offer], rule: SaleRule
    ) -> tuple[Lead, Offer] | None:
        """Make the next attempt durable; None when nobody is left, or no attempt or time."""
        releases = [] if legs[-1].is_kept else self._leg_takes(lead, legs[-1].offer)
        holding = _without(lead.takes, releases)
        kept = [leg.offer for leg in legs if leg.is_kept]
        while waiting and len(legs) < rule.max_attempts:
            if asyncio.get_running_loop().time() >= rule.deadline:
                return None
            offer = waiting.pop(0)
            if kept and offer.live.buyer.is_exclusive:
                continue
            takes = _without(self._leg_takes(lead, offer), offer.held)
            following = self._started(lead, legs, offer, [*holding, *takes])
            marks = [mark for each in (*kept, offer) for mark in each.fingerprints]
            failpoints.reach("attempt_before")
            result = await self._store.start_attempt(
                following,
                takes=takes,
                releases=releases,
                adjustments=_adjustments(legs[-1]),
                fingerprints=list(dict.fromkeys(marks)),
            )
            if result.outcome is StartOutcome.STARTED:
                failpoints.reach("attempt_committed")
                return following, offer
            if result.outcome is StartOutcome.ENDED:
                return None
        return None

    def _started(self, lead: Lead, legs: Sequence[Leg], offer: Offer, takes: list[CapTake]) -> Lead:
        """The lead after these legs, with a fresh attempt for this offer, and the slots it then holds."""
        now_ms = self._clock.now_ms()
        attempt = Attempt(
            delivery_id=self._ids.delivery_id(),
            buyer=offer.live.buyer.buyer,
            bid_micros=offer.bid_micros,
            payout_micros=offer.payout_micros,
            started_ms=now_ms,
        )
        self._begun.append(Leg(offer=offer, attempt=attempt))
        return replace(
            lead,
            state=LeadState.SENDING,
            updated_ms=now_ms,
            delivery_id=attempt.delivery_id,
            buyer=attempt.buyer,
            price_micros=offer.bid_micros,
            payout_micros=offer.payout_micros,
            attempts=[*(leg.attempt for leg in legs), attempt],
            takes=takes,
        )

    async def _finish(self, lead: Lead, legs: Sequence[Leg], heard: Leg, found: Lead | None = None) -> Lead:
        """Store the end; returns what is stored. The final price of what was `heard` last is in no budget yet.

        An unknown lead ends as it was `found` only: what another process has heard meanwhile is not written over.
        """
        finished = self._ended(lead, legs)
        is_ours = await self._store.finish_lead(
            finished,
            releases=_without(lead.takes, finished.takes),
            adjustments=_adjustments(heard),
            before=(found.state,) if found else IN_FLIGHT,
            found=found,
        )
        failpoints.reach("finish_committed")
        # Somebody else may have ended it, an operator for one: his word is what is stored, and told.
        stored = None if is_ours else await self._store.audit.find_lead(lead.lead_id)
        return stored or finished

    def _ended(self, lead: Lead, legs: Sequence[Leg]) -> Lead:
        """The outcome that decides is a sale, else one that is not known, else the last.

        While any is not known the lead stays unknown, for an operator to find out; a sale is told all the same.
        """
        sold = [leg for leg in legs if leg.is_sold]
        open_legs = [leg for leg in legs if leg.is_kept and not leg.is_sold]
        told = [*sold, *open_legs, legs[-1]][0]
        meaning = MEANINGS[told.attempt.outcome]
        paying = sold or [told]
        kept = [take for leg in legs if leg.is_kept for take in self._leg_takes(lead, leg.offer)]
        if told.is_kept:
            kept = [*self._count_takes(lead), *kept]
        return replace(
            lead,
            state=LeadState.UNKNOWN if open_legs else meaning.state,
            reason=meaning.reason or "",
            detail=(open_legs or [told])[0].attempt.detail,
            updated_ms=self._clock.now_ms(),
            delivery_id=told.attempt.delivery_id,
            buyer=told.attempt.buyer,
            price_micros=sum(_price_micros(leg) for leg in paying),
            payout_micros=sum(leg.offer.payout_micros for leg in paying),
            attempts=[leg.attempt for leg in legs],
            takes=kept,
        )

    def _leg_takes(self, lead: Lead, offer: Offer) -> list[CapTake]:
        """What one sale takes: the buyer's slots, and the source's budgets."""
        money = [take for take in self._source_takes(lead, offer.payout_micros) if is_money(take)]
        return [*money, *offer.takes]

    def _count_takes(self, lead: Lead) -> list[CapTake]:
        """What a lead takes, however many buyers share it: one of each limit of its source."""
        return [take for take in self._source_takes(lead, 0) if not is_money(take)]

    def _source_takes(self, lead: Lead, payout_micros: int) -> tuple[CapTake, ...]:
        route = self._route
        if not route.has_lead_caps:
            return ()
        return lead_takes(route.source.caps, route.owner, lead.created_ms, route.live.zone, payout_micros, src=lead.src)

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


def _has_place_left(legs: Sequence[Leg], rule: SaleRule) -> bool:
    """Whether another buyer may have the lead: a place is used by each outcome that leaves it to nobody else."""
    used = [leg for leg in legs if leg.attempt.outcome not in rule.moves_on]
    return len(used) < rule.sell_to and not any(leg.is_kept and leg.offer.live.buyer.is_exclusive for leg in used)


def _legs_of(lead: Lead, offers: Sequence[Offer]) -> list[Leg]:
    """What came of each offer of a stored lead; none when an offer is not what it was, its slots above all."""
    offered = {offer.live.buyer.buyer: offer for offer in offers}
    if any(attempt.buyer not in offered for attempt in lead.attempts):
        return []
    legs = [Leg(offer=offered[attempt.buyer], attempt=attempt) for attempt in lead.attempts]
    taken = [take for leg in legs if leg.is_kept for take in leg.offer.takes]
    return legs if not _without(taken, lead.takes) else []


def _unsent(begun: Leg) -> Leg:
    """As it stands if it never came to be sent."""
    attempt = replace(begun.attempt, outcome=AttemptOutcome.NOT_SENT, is_sent=False, detail=STORE_FAILED)
    return replace(begun, attempt=attempt)


def _may_repeat(leg: Leg) -> bool:
    return leg.is_kept and not leg.is_sold and leg.offer.live.post.delivery.is_idempotent


def _with_attempt(lead: Lead, place: int, attempt: Attempt) -> Lead:
    return replace(lead, attempts=[*lead.attempts[:place], attempt, *lead.attempts[place + 1 :]])


def _price_micros(leg: Leg) -> int:
    """What the buyer owes: his bid, or the final price that he named when he took it."""
    final_micros = leg.attempt.price_micros if leg.is_sold else None
    return leg.offer.bid_micros if final_micros is None else final_micros


def _adjustments(leg: Leg) -> list[tuple[str, int]]:
    """Budgets follow the final price of who has taken the lead."""
    if not leg.is_sold:
        return []
    return [(take.counter, _price_micros(leg) - leg.offer.bid_micros) for take in leg.offer.takes if is_money(take)]


def _without(takes: Iterable[CapTake], gone: Iterable[CapTake]) -> list[CapTake]:
    """What is left of the takes; an equal one goes once for each that is gone."""
    left = list(takes)
    for take in gone:
        if take in left:
            left.remove(take)
    return left
