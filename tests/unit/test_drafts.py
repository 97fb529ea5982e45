import pytest

from lexchange.auction import Bids
from lexchange.call import FieldProblem
from lexchange.campaign import Routing, RoutingMode
from lexchange.drafts import PingDraft, digest, new_lead, without_slot
from lexchange.fields import Checked
from lexchange.lead import LeadState, PingOutcome, PingState, SkipReason
from lexchange.reasons import Reason
from lexchange.routing import Bidder
from tests.unit.examples import DATA, NOW_MS, a_bid, a_buyer, a_route

ROUTE = a_route(a_buyer("acme"), a_buyer("beta"), routing=Routing(mode=RoutingMode.WEIGHTED, ping_ttl_s=60))
CHECKED = Checked(data=DATA, dropped=("colour",), problems=(), is_test=False)
ACME = Bidder(buyer="acme", bid_micros=7_000_000, priority=1, weight=1, turn_ms=0)
BETA = Bidder(buyer="beta", bid_micros=5_000_000, priority=1, weight=1, turn_ms=0)
BIDS = Bids(
    buyers=[a_bid("acme", 7_000_000), a_bid("beta", 5_000_000)], ranked=[ACME, BETA], seed=42, turns={"acme": 3}
)


def draft(checked: Checked = CHECKED, repeat_key: str | None = None) -> PingDraft:
    return PingDraft(
        route=ROUTE, checked=checked, ping_id="PING-1", now_ms=NOW_MS, config_version="v1", repeat_key=repeat_key
    )


def test_offered_ping_keeps_how_it_was_won() -> None:
    """Winner, bid, payout and its rule, and what a replay needs: mode, seed, turns and every buyer's part."""
    ping = draft().offered([ACME], BIDS)
    assert (ping.state, ping.winner, ping.reason) == (PingState.OFFERED, "acme", "")
    assert (ping.bid_micros, ping.payout_micros, ping.payout_rule) == (7_000_000, 5_950_000, "revenue_share 0.85")
    assert (ping.routing_mode, ping.seed, ping.turns) == (RoutingMode.WEIGHTED, 42, {"acme": 3})
    assert (ping.created_ms, ping.expires_ms) == (NOW_MS, NOW_MS + 60_000)
    assert (ping.data, ping.dropped, ping.buyers) == (DATA, ["colour"], BIDS.buyers)


def test_unsold_ping_keeps_why() -> None:
    """The reason, the fields at fault, and who was asked in vain; nothing is promised."""
    problem = FieldProblem(field="email", code="required", message="expected a value")
    ping = draft().unsold(Reason.SCHEMA_VALIDATION_FAILED, (problem,), BIDS)
    assert (ping.state, ping.reason) == (PingState.NO_SALE, Reason.SCHEMA_VALIDATION_FAILED)
    assert ping.problems == [{"field": "email", "code": "required", "message": "expected a value"}]
    assert (ping.winner, ping.bid_micros, ping.payout_micros) == (None, None, None)
    assert ping.buyers == BIDS.buyers


def test_test_ping_has_a_payout_and_no_buyer() -> None:
    """Nobody was asked, so nobody has won."""
    ping = draft(Checked(data=DATA, dropped=(), problems=(), is_test=True)).offered_as_test(1_000_000)
    assert (ping.state, ping.is_test, ping.payout_micros) == (PingState.OFFERED, True, 1_000_000)
    assert (ping.winner, ping.bid_micros, ping.buyers, ping.seed, ping.turns) == (None, None, [], 0, {})


def test_lead_begins_claimed_with_its_data() -> None:
    """Of a post it names its ping; of a direct post it has none."""
    lead = new_lead(ROUTE, CHECKED, "v1", lead_id="L-1", ping_id=None, now_ms=NOW_MS)
    assert (lead.state, lead.ping_id, lead.config_version) == (LeadState.CLAIMED, None, "v1")
    assert (lead.created_ms, lead.updated_ms, lead.data, lead.dropped) == (NOW_MS, NOW_MS, DATA, ["colour"])
    assert new_lead(ROUTE, CHECKED, "v1", lead_id="L-1", ping_id="PING-1", now_ms=NOW_MS).ping_id == "PING-1"


def test_bid_without_its_slot_is_out_and_says_why() -> None:
    """The next best bid wins; the other one stays in sight, and what ranked them stays as it was."""
    left = without_slot(BIDS, ACME)
    assert left.ranked == [BETA]
    assert [(part.buyer, part.outcome, part.skip) for part in left.buyers] == [
        ("acme", PingOutcome.BID, SkipReason.CAP_REACHED),
        ("beta", PingOutcome.BID, None),
    ]
    assert (left.seed, left.turns) == (42, {"acme": 3})


@pytest.mark.parametrize(
    ("first", "second", "is_equal"),
    [
        ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}, True),
        ({"a": "1"}, {"a": "1 "}, False),
        ({"a": "1"}, {"b": "1"}, False),
        ({}, {}, True),
    ],
)
def test_digest_is_equal_when_names_and_values_are(
    first: dict[str, str], second: dict[str, str], is_equal: bool
) -> None:
    """In whatever order they were sent."""
    assert (digest(first) == digest(second)) is is_equal
