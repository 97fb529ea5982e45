"""Offers: which buyers may get a lead, in which order, and for which payout. Pure.

On a post the winner comes first, then whoever else bid and still covers the promise; on a direct post every bidder,
best first, each with the payout his own bid makes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lexchange.buyers.documents import reparse
from lexchange.campaign import CapReserve
from lexchange.caps import lead_takes
from lexchange.catalog import LiveBuyer, Route
from lexchange.duplicates import fingerprint
from lexchange.lead import BuyerPing, CapTake, Lead, Ping, PingOutcome
from lexchange.payout import source_payout
from lexchange.routing import Bidder, rank
from lexchange.sale import Offer


def offers_of_ping(route: Route, ping: Ping, lead: Lead) -> list[Offer]:
    """The winner and his followers; none when the winner is no longer there to keep his promise."""
    routing = route.live.campaign.routing
    parts = {part.buyer: part for part in ping.buyers if part.outcome is PingOutcome.BID}
    promised_micros = ping.payout_micros or 0
    offers = []
    for name in _winner_first(route, ping, parts):
        live = route.live.buyers.get(name)
        is_winner = name == ping.winner
        if live is None or not live.buyer.is_active:
            if is_winner:
                return []
            continue
        bid_micros = parts[name].bid_micros or 0
        if is_winner or routing.allow_loss or bid_micros >= promised_micros:
            offer = _offer(route, live, parts[name], promised_micros, lead)
            offers.append(_with_held_slots(offer, ping, lead) if is_winner else offer)
    return offers


def offers_of_bids(route: Route, ranked: Sequence[Bidder], lead: Lead) -> list[Offer]:
    """Every bidder of a direct post, best first."""
    parts = {part.buyer: part for part in lead.buyers}
    offers = []
    for bidder in ranked:
        split = source_payout(route.payout, bidder.bid_micros)
        assert split is not None, "a bid that cannot pay the source has not bid"
        live = route.live.buyers[bidder.buyer]
        offers.append(_offer(route, live, parts[bidder.buyer], split.payout_micros, lead))
    return offers


def _winner_first(route: Route, ping: Ping, parts: Mapping[str, BuyerPing]) -> list[str]:
    bidders = [
        Bidder(
            buyer=name,
            bid_micros=part.bid_micros or 0,
            priority=route.live.buyers[name].buyer.priority,
            weight=route.live.buyers[name].buyer.weight,
            turn_ms=ping.turns.get(name, 0),
        )
        for name, part in parts.items()
        if name in route.live.buyers
    ]
    ranked = [bidder.buyer for bidder in rank(route.live.campaign.routing.mode, bidders, ping.seed)]
    winner = ping.winner or ""
    return [winner, *(name for name in ranked if name != winner)]


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


def _with_held_slots(offer: Offer, ping: Ping, lead: Lead) -> Offer:
    """The winner's slots of `reserve: ping` are those of the ping's day, whatever day it is posted."""

    def takes(at_ms: int, reserve: CapReserve) -> tuple[CapTake, ...]:
        live = offer.live
        return lead_takes(
            live.buyer.caps, live.owner, at_ms, live.zone, offer.bid_micros, src=lead.src, reserve=reserve
        )

    held = takes(ping.created_ms, CapReserve.PING)
    return replace(offer, takes=(*held, *takes(lead.created_ms, CapReserve.POST)))
