"""Resolution: what an operator's word makes of a lead whose outcome nobody knew. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lexchange.caps import buyer_owner, is_money, source_owner
from lexchange.lead import Attempt, AttemptOutcome, CapTake, Lead, LeadState
from lexchange.reasons import Reason

DEFINITE = frozenset({AttemptOutcome.ACCEPTED, AttemptOutcome.REJECTED, AttemptOutcome.NOT_SENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The lead in its final state, and the slots that it gives back."""

    lead: Lead
    releases: list[CapTake]


def resolve(lead: Lead, to: LeadState, *, note: str, now_ms: int) -> Resolution:
    """Settle a lead as delivered or failed; the note joins its detail.

    A failed lead gives its slots back; a delivered one owes its last attempt's price, which is its bid where the buyer
    named none. Where other buyers have a shared lead already, the word is on the one who is not known.
    """
    resolved = replace(lead, state=to, updated_ms=now_ms, detail="; ".join(filter(None, (lead.detail, note))))
    if lead.takers:
        return _resolve_shared(resolved, to)
    if to is LeadState.FAILED:
        failed = replace(resolved, takes=[], reason=lead.reason or Reason.BUYER_DELIVERY_FAILED)
        return Resolution(lead=failed, releases=lead.takes)
    price_micros = lead.price_micros
    if price_micros is None and lead.attempts:
        price_micros = _owed_micros(lead.attempts[-1])
    return Resolution(lead=replace(resolved, reason="", price_micros=price_micros), releases=[])


def _resolve_shared(lead: Lead, to: LeadState) -> Resolution:
    outcome = AttemptOutcome.ACCEPTED if to is LeadState.DELIVERED else AttemptOutcome.REJECTED
    attempts = [each if each.outcome in DEFINITE else replace(each, outcome=outcome) for each in lead.attempts]
    sold = [each for each in attempts if each.outcome is AttemptOutcome.ACCEPTED]
    kept = _takes_of(lead, sold)
    releases = list(lead.takes)
    for take in kept:
        releases.remove(take)
    delivered = replace(
        lead,
        state=LeadState.DELIVERED,
        reason="",
        delivery_id=sold[0].delivery_id,
        buyer=sold[0].buyer,
        price_micros=sum(map(_owed_micros, sold)),
        payout_micros=sum(each.payout_micros for each in sold),
        attempts=attempts,
        takes=kept,
    )
    return Resolution(lead=delivered, releases=releases)


def _takes_of(lead: Lead, sold: Sequence[Attempt]) -> list[CapTake]:
    """Of what the lead holds: the slots of these buyers, the source's counts, and its money for each of them."""
    owners = tuple(f"{buyer_owner(lead.campaign, each.buyer)}:" for each in sold)
    source = f"{source_owner(lead.campaign, lead.src)}:"
    payouts: dict[str, list[int]] = {}
    kept = []
    for take in lead.takes:
        if take.counter.startswith(source) and is_money(take):
            left = payouts.setdefault(take.counter, [each.payout_micros for each in sold])
            if take.amount in left:
                left.remove(take.amount)
                kept.append(take)
        elif take.counter.startswith(source) or take.counter.startswith(owners):
            kept.append(take)
    return kept


def _owed_micros(attempt: Attempt) -> int:
    return attempt.bid_micros if attempt.price_micros is None else attempt.price_micros
