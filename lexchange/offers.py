"""Offers: which buyers may get a lead, in which order, and for which payout. Pure.

On a post the winners come first, then whoever else bid and still covers the promise; on a direct post every bidder,
best first, each with the payout his own bid makes.
"""

from collections.abc import Mapping, Sequence

from lexchange.buyers.documents import reparse
from lexchange.campaign import CapReserve
from lexchange.caps import lead_takes
from lexchange.catalog import LiveBuyer, Route
from lexchange.duplicates import fingerprint
from lexchange.frozen import replace
from lexchange.lead import BuyerPing, CapTake, Lead, Ping, PingOutcome
from lexchange.payout import source_payout
from lexchange.routing import Bidder, choose, rank
from lexchange.sale import Offer


def offers_of_ping(route: Route, ping: Ping, lead: Lead, *, with_followers: bool) -> list[Offer]:
    """The winners, and who may follow; none when no winner is there any more to keep his promise."""
    routing = route.live.campaign.routing
    parts = {part.buyer: part for part in ping.buyers if part.outcome is PingOutcome.BID}
    winners = ping.winners or [ping.winner or ""]
    offers = []
    for name in winners:
        live = route.live.buyers.get(name)
        if live is not None and live.buyer.is_active:
            payout_micros = parts[name].payout_micros
            promised_micros = ping.payout_micros or 0 if payout_micros is None else payout_micros
            offers.append(_with_held_slots(route, _offer(route, live, parts[name], promised_micros, lead), ping, lead))
    if not offers or not with_followers:
        return offers
    for name in _ranked(route, ping, parts):
        live = route.live.buyers[name]
        if name in winners or not live.buyer.is_active:
            continue
        bid_micros = parts[name].bid_micros or 0
        payout_micros = _followers_payout(route, routing.sell_to, bid_micros, ping)
        if payout_micros is not None:
            offers.append(_offer(route, live, parts[name], payout_micros, lead))
    return offers


def _followers_payout(route: Route, sell_to: int, bid_micros: int, ping: Ping) -> int | None:
    """What the source earns of one who follows: what it was promised, if his bid covers that. None: he may not follow.

    Where several share a lead each pays for himself, so it is what his own bid makes.
    """
    if sell_to > 1:
        split = source_payout(route.payout, bid_micros)
        return split.payout_micros if split else None
    promised_micros = ping.payout_micros or 0
    covers = bid_micros >= promised_micros or route.live.campaign.routing.allow_loss
    return promised_micros if covers else None


def offers_of_bids(route: Route, ranked: Sequence[Bidder], lead: Lead) -> list[Offer]:
    """Every bidder of a direct post: who is to have it, then the others, best first."""
    parts = {part.buyer: part for part in lead.buyers}
    routing = route.live.campaign.routing
    chosen = choose(routing.mode, ranked, routing.sell_to)
    offers = []
    for bidder in [*chosen, *(each for each in ranked if each not in chosen)]:
        split = source_payout(route.payout, bidder.bid_micros)
        assert split is not None, "a bid that cannot pay the source has not bid"
        live = route.live.buyers[bidder.buyer]
        offers.append(_offer(route, live, parts[bidder.buyer], split.payout_micros, lead))
    return offers


def offers_of_parts(route: Route, lead: Lead) -> list[Offer]:
    """The bids of a stored direct post, in no order."""
    offers = []
    for part in lead.buyers:
        live = route.live.buyers.get(part.buyer)
        split = source_payout(route.payout, part.bid_micros or 0)
        if part.outcome is PingOutcome.BID and live is not None and live.buyer.is_active and split is not None:
            offers.append(_offer(route, live, part, split.payout_micros, lead))
    return offers


def _ranked(route: Route, ping: Ping, parts: Mapping[str, BuyerPing]) -> list[str]:
    bidders = [
        Bidder.of(route.live.buyers[name].buyer, part.bid_micros or 0, ping.turns)
        for name, part in parts.items()
        if name in route.live.buyers
    ]
    return [bidder.buyer for bidder in rank(route.live.campaign.routing.mode, bidders, ping.seed)]


def _offer(route: Route, live: LiveBuyer, part: BuyerPing, payout_micros: int, lead: Lead) -> Offer:
    campaign = route.live.campaign
    mark = fingerprint(campaign, lead.data, lead.created_ms, src=lead.src, buyer=live.buyer.buyer)
    return Offer(
        live=live,
        bid_micros=part.bid_micros or 0,
        payout_micros=payout_micros,
        takes=lead_takes(live.buyer.caps, live.owner, lead.created_ms, live.zone, part.bid_micros or 0, src=lead.src),
        ping_response=reparse(part.answer, part.content_type) if part.answer is not None else None,
        fingerprints=(mark,) if mark else (),
    )


def _with_held_slots(route: Route, offer: Offer, ping: Ping, lead: Lead) -> Offer:
    """A winner's slots of `reserve: ping` are those of the ping's day, whatever day it is posted."""
    if not route.live.has_holds:
        return offer

    def takes(at_ms: int, reserve: CapReserve) -> tuple[CapTake, ...]:
        live = offer.live
        return lead_takes(
            live.buyer.caps, live.owner, at_ms, live.zone, offer.bid_micros, src=lead.src, reserve=reserve
        )

    held = takes(ping.created_ms, CapReserve.PING)
    return replace(offer, takes=(*held, *takes(lead.created_ms, CapReserve.POST)), held=held)
