"""An operator's word on a lead that several buyers share. On a lead of one buyer: tests/storage/test_audit.py."""

from dataclasses import replace

import pytest

from lexchange.lead import Attempt, AttemptOutcome, CapTake, LeadState
from lexchange.resolution import resolve
from tests.unit.examples import NOW_MS, a_lead


def take(owner: str, unit: str, amount: int) -> CapTake:
    return CapTake(counter=f"home:{owner}:{unit}:total:", amount=amount, limit=10**9)


def an_attempt(buyer: str, outcome: AttemptOutcome, bid: int, **changes: object) -> Attempt:
    attempt = Attempt(
        delivery_id=f"DEL-{buyer}",
        buyer=buyer,
        bid_micros=bid,
        payout_micros=bid // 2,
        outcome=outcome,
        started_ms=NOW_MS,
    )
    return replace(attempt, **changes)  # type: ignore[arg-type]  # literal changes of the tests below


COUNT = take("source:SRC_MAIN", "leads", 1)
HELD = {
    "acme": [take("source:SRC_MAIN", "money", 3), take("buyer:acme", "leads", 1), take("buyer:acme", "money", 6)],
    "bright": [take("source:SRC_MAIN", "money", 2), take("buyer:bright", "leads", 1)],
    "corner": [take("buyer:corner", "leads", 1)],  # held by the ping, never tried
}
SENDING = a_lead(
    state=LeadState.SENDING,
    buyer="bright",
    attempts=[
        an_attempt("acme", AttemptOutcome.ACCEPTED, 6, price_micros=5),
        an_attempt("bright", AttemptOutcome.SENDING, 4),
    ],
    takes=[COUNT, *HELD["acme"], *HELD["bright"], *HELD["corner"]],
)


@pytest.mark.parametrize(
    ("to", "price", "payout", "kept", "released", "outcome"),
    [
        (LeadState.DELIVERED, 9, 5, ["acme", "bright"], ["corner"], AttemptOutcome.ACCEPTED),
        (LeadState.FAILED, 5, 3, ["acme"], ["bright", "corner"], AttemptOutcome.REJECTED),
    ],
)
def test_word_is_on_the_buyer_who_is_not_known(to, price, payout, kept, released, outcome):
    """Who has the lead keeps it, and owes; the slots of the others, tried or not, come back."""
    resolution = resolve(SENDING, to, note="asked bright", now_ms=NOW_MS + 1)
    lead = resolution.lead
    assert (lead.state, lead.buyer, lead.delivery_id) == (LeadState.DELIVERED, "acme", "DEL-acme")
    assert (lead.price_micros, lead.payout_micros, lead.detail) == (price, payout, "asked bright")
    assert [attempt.outcome for attempt in lead.attempts] == [AttemptOutcome.ACCEPTED, outcome]
    assert lead.takes == [COUNT, *(each for name in kept for each in HELD[name])]
    assert resolution.releases == [each for name in released for each in HELD[name]]
