"""Exchange: the whole story of a ping, a post and a direct post, readable top to bottom.

It owns the order of events and nothing else: decisions are pure modules, buyers and the store are called here.
What is answered is durable before; what is claimed is durable before its buyer hears of it.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from lexchange import answers, failpoints
from lexchange.admission import authorise, early_rejection, with_ping_id
from lexchange.auction import Auction, Bids, Terms
from lexchange.background import Background
from lexchange.buyer_watch import BuyerWatch
from lexchange.buyers.client import BuyerClient
from lexchange.buyers.mapping import MappingValues
from lexchange.call import Call, FieldProblem, PingAnswer, PostAnswer
from lexchange.campaign import OnPostReject, RoutingMode, TrafficType
from lexchange.catalog import Catalog, Route
from lexchange.clock import Clock
from lexchange.config import Limits
from lexchange.drafts import PingDraft, digest, new_lead, without_slot
from lexchange.errors import RequestRefused
from lexchange.fields import Checked, Stage, fill_from_ping, frozen_problems
from lexchange.frozen import replace
from lexchange.ids import Ids, is_ping_id
from lexchange.lead import AttemptOutcome, BuyerPing, Lead, LeadState, Ping, PingState
from lexchange.market import Market
from lexchange.offers import offers_of_bids, offers_of_parts, offers_of_ping
from lexchange.once import Once, Progress
from lexchange.places import Places
from lexchange.rates import RateWindow
from lexchange.reasons import Reason
from lexchange.routing import choose
from lexchange.sale import NotClaimed, Offer, Sale, SaleRule
from lexchange.storage import ClaimOutcome, Store
from lexchange.telemetry import log_event

SYNTHETIC_PAYOUT_MICROS = 1_000_000  # what a test call is told
AFTER_REJECTION = frozenset({AttemptOutcome.REJECTED})
AFTER_REJECTION_OR_UNSENT = frozenset({AttemptOutcome.REJECTED, AttemptOutcome.NOT_SENT})
LateAnswers = Callable[[list[BuyerPing]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this process is: the name that its leads carry, and the secret that keys are hashed with."""

    worker: str
    pepper: bytes


class Exchange:
    """Sells leads. One per process; `catalog` is replaced whole on a reload."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        store: Store,
        client: BuyerClient,
        background: Background,
        clock: Clock,
        limits: Limits,
        identity: Identity,
    ) -> None:
        self.catalog = catalog
        self._store = store
        self._client = client
        self._background = background
        self._clock = clock
        self._ids = Ids(clock)
        self._limits = limits
        self._identity = identity
        self._market = Market(store)
        self._watch = BuyerWatch(store, background, clock)
        self._once = Once(store=store, background=background, clock=clock, limits=limits, worker=identity.worker)
        self.places = Places(limits)
        self._rates = RateWindow()

    async def ping(self, call: Call) -> PingAnswer:
        """Offer a few fields of a lead to every eligible buyer at once; the answer is durable before it leaves."""
        async with self.places:
            route, checked = self._receive(call, Stage.PING, is_asking=True)
            draft = self._draft(route, checked)
            if reason := early_rejection(route, call, TrafficType.PING_POST, checked):
                return await self._no_sale(draft.unsold(reason, checked.problems), checked.problems)
            if checked.is_test:
                ping = draft.offered_as_test(SYNTHETIC_PAYOUT_MICROS)
                await self._store.record_ping(ping)
                return answers.offered(ping)
            return await self._repeated(draft) or await self._auction(draft, call.deadline)

    async def post(self, call: Call) -> PostAnswer:
        """Deliver the full lead to the buyer that won its ping, once."""
        with self.places:
            route, checked = self._receive(call, Stage.POST, is_asking=False)
            lead = self._new_lead(route, checked, call.ping_id)
            progress = Progress()
            story = partial(self._post, route, call, checked, lead, progress)
            return await self._once.run(call, progress, story)

    async def direct_post(self, call: Call) -> PostAnswer:
        """Sell a full lead in one call: the eligible buyers in routing order, until one takes it."""
        async with self.places:
            route, checked = self._receive(call, Stage.POST, is_asking=True)
            lead = self._new_lead(route, checked, None)
            progress = Progress()
            story = partial(self._direct_post, route, call, checked, lead, progress)
            return await self._once.run(call, progress, story)

    async def ask_again(self, lead: Lead, due: Collection[str]) -> None:
        """Learn what became of a lead of unknown outcome from a buyer who takes a repeat for the same lead.

        `due` are the delivery_ids whose turn it is.
        """
        route = self.catalog.route(lead.src)
        if route is None or route.live.campaign.campaign != lead.campaign or not _has_repeatable(route, lead):
            return
        ping = await self._store.find_ping(lead.ping_id, campaign=lead.campaign) if lead.ping_id else None
        if ping is not None:
            offers = offers_of_ping(route, ping, lead, with_followers=True)
        else:
            offers = offers_of_parts(route, lead)
        deadline = asyncio.get_running_loop().time() + route.live.campaign.routing.post_timeout_ms / 1000
        await self._sale(route, Progress()).ask_again(lead, offers, due, deadline)

    # ---- every call ----

    def _receive(self, call: Call, stage: Stage, *, is_asking: bool) -> tuple[Route, Checked]:
        """Who calls, and what is wrong with his data. A post asks nobody, so that a promise is kept at any rate."""
        route = authorise(self.catalog, call, limits=self._limits, pepper=self._identity.pepper)
        per_second = route.source.ping_limit_per_second if is_asking else None
        if per_second is not None and not self._rates.admit(route.owner, per_second, self._clock.now_ms()):
            raise RequestRefused(Reason.RATE_LIMITED)
        return route, route.live.schema.check(call.data, stage)

    # ---- ping ----

    async def _auction(self, draft: PingDraft, deadline: float | None) -> PingAnswer:
        route, data, now_ms = draft.route, draft.checked.data, draft.now_ms
        reason = await self._market.refusal(route, data, now_ms) or await self._market.count_ping(route, now_ms)
        if reason:
            return await self._no_sale(draft.unsold(reason))

        async def on_late(late: list[BuyerPing]) -> None:
            await self._store.record_late_answers(route.live.campaign.campaign, draft.ping_id, late)

        values = self._values(route, data, now_ms, ping_id=draft.ping_id)
        bids = await self._collect_bids(route, values, deadline, on_late)
        routing = route.live.campaign.routing
        while winners := choose(routing.mode, bids.ranked, routing.sell_to):
            ping = draft.offered(winners, bids)
            if route.has_budgets and not await self._market.can_earn(route, ping.payout_micros or 0, now_ms):
                return await self._no_sale(draft.unsold(Reason.SOURCE_CAP_REACHED, bids=bids))
            holds = [(take, winner) for winner in winners for take in self._market.holds(route, winner, now_ms)]
            failpoints.reach("ping_before_record")
            full = await self._store.record_ping(ping, holds=[take for take, _ in holds])
            if full is None:
                failpoints.reach("ping_recorded")
                return answers.offered(ping)
            loser = next(winner for take, winner in holds if take == full)
            bids = without_slot(bids, loser)  # it went to another ping: the next best bid wins
        return await self._no_sale(draft.unsold(Reason.NO_ELIGIBLE_BUYER, bids=bids))

    async def _collect_bids(
        self, route: Route, values: MappingValues, deadline: float | None, on_late: LateAnswers
    ) -> Bids:
        routing = route.live.campaign.routing
        turnout = await self._market.turnout(route, values.lead, values.now_ms)
        terms = Terms(
            routing=routing,
            min_bid_micros=max(routing.min_bid_micros, route.source.min_bid_micros),
            least_bid_micros=route.least_bid_micros,
            values=values,
            seed=secrets.randbits(63) if routing.mode is RoutingMode.WEIGHTED else 0,
            turns=await self._market.turns(route),
            deadline=deadline,
            left_micros=turnout.left_micros,
            hears_all=route.live.has_holds or route.live.campaign.traffic_type is TrafficType.DIRECT_POST,
        )
        await self._watch.heed_resets()
        auction = Auction(
            terms,
            client=self._client,
            limits=self._limits,
            background=self._background,
            gates=self._watch.gates,
            on_late=on_late,
        )
        ranked = await auction.run(turnout.asked)
        parts = turnout.skipped | auction.pings
        buyers = [parts[buyer] for buyer in route.live.buyers]  # in the file's order
        return Bids(buyers=buyers, ranked=ranked, seed=terms.seed, turns=terms.turns)

    def _values(
        self, route: Route, data: Mapping[str, str], now_ms: int, *, ping_id: str | None, lead_id: str | None = None
    ) -> MappingValues:
        campaign = route.live.campaign
        return MappingValues(
            lead=data,
            ping_id=ping_id,
            campaign_id=campaign.campaign,
            campaign_name=campaign.name,
            src=route.source.src,
            lead_id=lead_id,
            now_ms=now_ms,
        )

    def _draft(self, route: Route, checked: Checked) -> PingDraft:
        remembers = route.live.campaign.repeat_ping_window_s is not None
        return PingDraft(
            route=route,
            checked=checked,
            ping_id=self._ids.ping_id(),
            now_ms=self._clock.now_ms(),
            config_version=self.catalog.version,
            repeat_key=digest(checked.data) if remembers and not checked.is_test else None,
        )

    async def _no_sale(self, ping: Ping, problems: tuple[FieldProblem, ...] = ()) -> PingAnswer:
        await self._store.record_ping(ping)
        return answers.no_sale(Reason(ping.reason), problems)

    async def _repeated(self, draft: PingDraft) -> PingAnswer | None:
        """The first answer to an equal ping within the campaign's window; the buyers are not asked again."""
        campaign = draft.route.live.campaign
        if draft.repeat_key is None or campaign.repeat_ping_window_s is None:
            return None
        first = await self._store.find_repeat(
            campaign.campaign,
            draft.route.source.src,
            draft.repeat_key,
            since_ms=draft.now_ms - campaign.repeat_ping_window_s * 1000,
            now_ms=draft.now_ms,
        )
        if first is None:
            return None
        is_offered = first.state is PingState.OFFERED
        return answers.offered(first) if is_offered else answers.no_sale(Reason(first.reason))

    # ---- post ----

    async def _post(self, route: Route, call: Call, checked: Checked, lead: Lead, progress: Progress) -> PostAnswer:
        checked = with_ping_id(checked, call.ping_id)
        if reason := early_rejection(route, call, TrafficType.PING_POST, checked):
            return answers.rejected_post(reason, checked.problems)
        ping = None
        if is_ping_id(call.ping_id):
            ping = await self._store.find_ping(call.ping_id, campaign=lead.campaign)
        if ping is None or not _is_postable(ping, lead):
            return answers.rejected_post(Reason.INVALID_PING_ID)
        frozen = route.live.campaign.frozen_fields
        if problems := frozen_problems(frozen, checked.data, ping.data):
            return answers.rejected_post(Reason.SCHEMA_VALIDATION_FAILED, problems)
        if ping.state is PingState.CLAIMED:
            return await self._already_posted(lead)
        lead = replace(lead, data=fill_from_ping(checked.data, ping.data, frozen))
        if lead.is_test:
            return await self._deliver_test(lead, progress)
        if reason := await self._market.refusal(route, lead.data, lead.created_ms):
            return answers.rejected_post(reason)
        routing = route.live.campaign.routing
        moves_on = AFTER_REJECTION if routing.on_post_reject is OnPostReject.NEXT_BIDDER else frozenset()
        may_hold = route.live.has_holds or ping.config_version != lead.config_version
        rule = self._rule(route, moves_on=moves_on, may_pass_over=routing.sell_to > 1, may_hold=may_hold)
        offers = offers_of_ping(route, ping, lead, with_followers=bool(moves_on))
        return await self._sell(route, lead, offers, rule, progress)

    async def _direct_post(
        self, route: Route, call: Call, checked: Checked, lead: Lead, progress: Progress
    ) -> PostAnswer:
        if reason := early_rejection(route, call, TrafficType.DIRECT_POST, checked):
            return answers.rejected_post(reason, checked.problems)
        if lead.is_test:
            return await self._deliver_test(lead, progress)
        if reason := await self._market.refusal(route, lead.data, lead.created_ms):
            return await self._keep_unsold(lead, reason, progress)

        async def on_late(late: list[BuyerPing]) -> None:
            await self._store.record_late_answers(lead.campaign, lead.lead_id, late)

        values = self._values(route, lead.data, lead.created_ms, ping_id=None, lead_id=lead.lead_id)
        bids = await self._collect_bids(route, values, call.deadline, on_late)
        lead = replace(lead, buyers=bids.buyers, seed=bids.seed, turns=bids.turns)
        rule = self._rule(route, moves_on=AFTER_REJECTION_OR_UNSENT, may_pass_over=True)
        return await self._sell(route, lead, offers_of_bids(route, bids.ranked, lead), rule, progress)

    def _rule(
        self, route: Route, *, moves_on: frozenset[AttemptOutcome], may_pass_over: bool, may_hold: bool = False
    ) -> SaleRule:
        routing = route.live.campaign.routing
        return SaleRule(
            moves_on=moves_on,
            may_pass_over=may_pass_over,
            sell_to=routing.sell_to,
            max_attempts=routing.max_attempts,
            deadline=asyncio.get_running_loop().time() + routing.post_timeout_ms / 1000,
            may_hold=may_hold,
        )

    async def _sell(
        self, route: Route, lead: Lead, offers: list[Offer], rule: SaleRule, progress: Progress
    ) -> PostAnswer:
        def on_started(started: Lead) -> None:
            progress.lead = started

        sale = self._sale(route, progress)
        try:
            sold = await sale.run(lead, offers, rule, on_started)
        except Exception as error:
            self._background.spawn(sale.mend(lead.lead_id))
            if progress.lead is None:
                raise
            log_event("outcome_not_recorded", lead_id=lead.lead_id, error=type(error).__name__)
            return answers.unrecorded(progress.lead)
        if not isinstance(sold, NotClaimed):
            return answers.settled(sold)
        if sold.reason is Reason.REQUEST_IN_FLIGHT:
            raise RequestRefused(sold.reason)
        if sold.reason is Reason.PING_ID_ALREADY_CONSUMED:
            return await self._already_posted(lead)
        return await self._keep_unsold(lead, sold.reason, progress)

    def _sale(self, route: Route, progress: Progress) -> Sale:
        return Sale(
            route,
            progress.mark,
            store=self._store,
            client=self._client,
            gates=self._watch.gates,
            clock=self._clock,
            ids=self._ids,
        )

    def _new_lead(self, route: Route, checked: Checked, ping_id: str | None) -> Lead:
        return new_lead(
            route,
            checked,
            self.catalog.version,
            lead_id=self._ids.lead_id(),
            ping_id=ping_id,
            now_ms=self._clock.now_ms(),
            worker=self._identity.worker,
        )

    async def _deliver_test(self, lead: Lead, progress: Progress) -> PostAnswer:
        """A test lead is consumed and kept like a real one; no buyer hears of it."""
        delivered = replace(
            lead,
            state=LeadState.DELIVERED,
            delivery_id=self._ids.delivery_id(),
            payout_micros=SYNTHETIC_PAYOUT_MICROS,
        )
        is_kept = await self._keep(delivered, progress)
        return answers.settled(delivered) if is_kept else await self._already_posted(lead)

    async def _keep(self, lead: Lead, progress: Progress) -> bool:
        """Store a lead that goes to no buyer as its call's, so that a repeat finds it; False where its ping is gone."""
        result = await self._store.claim_lead(
            lead, takes=[], fingerprints=[], now_ms=lead.created_ms, mark=progress.mark
        )
        if result.outcome is ClaimOutcome.CALL_TAKEN_OVER:
            raise RequestRefused(Reason.REQUEST_IN_FLIGHT)
        return result.outcome is ClaimOutcome.CLAIMED

    async def _already_posted(self, lead: Lead) -> PostAnswer:
        first = await self._store.find_lead_of_ping(lead.ping_id or "", campaign=lead.campaign)
        return answers.already_posted(first) if first else answers.rejected_post(Reason.INVALID_PING_ID)

    async def _keep_unsold(self, lead: Lead, reason: Reason, progress: Progress) -> PostAnswer:
        """A direct post's lead is kept for audit; a post's ping_id stays unconsumed, so there is no lead yet."""
        if lead.ping_id is not None:
            return answers.rejected_post(reason)
        unsold = replace(lead, state=LeadState.REJECTED, reason=reason)
        await self._keep(unsold, progress)
        return answers.settled(unsold)


def _has_repeatable(route: Route, lead: Lead) -> bool:
    """Whether any buyer who got the lead takes a repeat for the same."""
    got = {attempt.buyer for attempt in lead.attempts}
    return any(route.live.buyers[name].post.delivery.is_idempotent for name in got & route.live.buyers.keys())


def _is_postable(ping: Ping, lead: Lead) -> bool:
    """Whether this source may post this ping now: its own, of the same kind, and offered and alive, or posted."""
    if ping.src != lead.src or ping.campaign != lead.campaign or ping.is_test != lead.is_test:
        return False
    is_alive = ping.state is PingState.OFFERED and ping.expires_ms > lead.created_ms
    return is_alive or ping.state is PingState.CLAIMED
