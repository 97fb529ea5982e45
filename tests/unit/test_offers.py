from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from lexchange.buyers.documents import answer_text, compile_walk, parse_answer
from lexchange.buyers.paths import parse_path
from lexchange.campaign import Cap, CapReserve, CapWindow, Duplicates, DuplicateScope, Routing, RoutingMode
from lexchange.caps import buyer_owner, lead_takes
from lexchange.lead import BuyerPing, PingOutcome
from lexchange.offers import offers_of_bids, offers_of_ping
from lexchange.routing import Bidder
from tests.unit.examples import NOW_MS, a_bid, a_buyer, a_lead, a_ping, a_route

DAY_MS = 86_400_000
WON = a_bid("acme", 7_000_000)
NO_BID = BuyerPing(buyer="gamma", outcome=PingOutcome.NO_BID)
LATE = BuyerPing(buyer="late", outcome=PingOutcome.LATE, bid_micros=9_000_000)


def offered(*parts: BuyerPing, buyers: dict[str, dict[str, Any]] | None = None, **campaign: Any) -> list[str]:
    """Who may have the lead of a ping that acme won, promising 5.95; `buyers` are those of the campaign now."""
    now = buyers if buyers is not None else {part.buyer: {} for part in parts}
    route = a_route(*(a_buyer(name, **changes) for name, changes in now.items()), **campaign)
    return [offer.live.buyer.buyer for offer in offers_of_ping(route, a_ping(*parts), a_lead(), with_followers=True)]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([WON, a_bid("beta", 5_950_000)], ["acme", "beta"]),
        ([WON, a_bid("beta", 5_949_999)], ["acme"]),
        ([a_bid("beta", 6_000_000), a_bid("alto", 6_500_000), WON], ["acme", "alto", "beta"]),
        ([a_bid("beta", 6_000_000), a_bid("alto", 6_000_000), WON], ["acme", "alto", "beta"]),
        ([WON, NO_BID, LATE], ["acme"]),
    ],
)
def test_followers_cover_the_promise(parts: list[BuyerPing], expected: list[str]) -> None:
    """The winner first, then the next best bids that still pay what the source was promised."""
    assert offered(*parts) == expected


def test_loss_is_made_only_where_it_is_allowed() -> None:
    """`allow_loss` lets a lower bid follow."""
    parts = [WON, a_bid("beta", 1_000_000)]
    assert offered(*parts, routing=Routing(allow_loss=True)) == ["acme", "beta"]


def test_winner_stays_first_whatever_the_mode_says_now() -> None:
    """He was told that the lead is his; a reload changes the order of the others only."""
    buyers = {"acme": {"priority": 9}, "beta": {"priority": 2}, "alto": {"priority": 1}}
    parts = [WON, a_bid("beta", 6_500_000), a_bid("alto", 6_000_000)]
    assert offered(*parts, buyers=buyers, routing=Routing(mode=RoutingMode.PRIORITY)) == ["acme", "alto", "beta"]


@pytest.mark.parametrize(
    ("buyers", "expected"),
    [
        ({"beta": {}}, []),
        ({"acme": {"is_active": False}, "beta": {}}, []),
        ({"acme": {}}, ["acme"]),
        ({"acme": {}, "beta": {"is_active": False}}, ["acme"]),
    ],
    ids=["winner gone", "winner paused", "follower gone", "follower paused"],
)
def test_buyer_who_is_gone_gets_no_lead(buyers: dict[str, dict[str, Any]], expected: list[str]) -> None:
    """Without the winner nobody has promised anything; a follower is passed over."""
    assert offered(WON, a_bid("beta", 6_000_000), buyers=buyers) == expected


def test_every_offer_of_a_ping_pays_what_was_promised() -> None:
    """The margin is smaller with a lower bid, the payout is not."""
    route = a_route(a_buyer("acme"), a_buyer("beta"))
    offers = offers_of_ping(route, a_ping(WON, a_bid("beta", 6_000_000)), a_lead(), with_followers=True)
    assert [(offer.bid_micros, offer.payout_micros) for offer in offers] == [
        (7_000_000, 5_950_000),
        (6_000_000, 5_950_000),
    ]


def test_every_offer_of_a_direct_post_pays_its_own_share() -> None:
    """In the order of the ranking, each with the payout that his bid makes."""
    route = a_route(a_buyer("acme"), a_buyer("beta"))
    ranked = [Bidder(buyer=name, bid_micros=bid, priority=1, weight=1, turn_ms=0) for name, bid in BIDS]
    lead = a_lead(ping_id=None, buyers=[a_bid(name, bid) for name, bid in reversed(BIDS)])
    offers = offers_of_bids(route, ranked, lead)
    assert [(offer.live.buyer.buyer, offer.bid_micros, offer.payout_micros) for offer in offers] == [
        ("beta", 4_000_000, 3_400_000),
        ("acme", 7_000_000, 5_950_000),
    ]


BIDS = [("beta", 4_000_000), ("acme", 7_000_000)]


def test_slots_that_the_ping_holds_are_those_of_its_day() -> None:
    """A ping won before midnight and posted after it takes the held slot of its day and the others of today."""
    caps = (
        Cap(window=CapWindow.DAY, limit=5, reserve=CapReserve.PING),
        Cap(window=CapWindow.DAY, budget_micros=50_000_000),
    )
    route = a_route(a_buyer("acme", caps=caps))
    lead = a_lead(created_ms=NOW_MS + DAY_MS)
    (offer,) = offers_of_ping(route, a_ping(WON), lead, with_followers=True)
    zone, owner = ZoneInfo("UTC"), buyer_owner("home", "acme")
    held = lead_takes(caps, owner, NOW_MS, zone, 7_000_000, src=lead.src, reserve=CapReserve.PING)
    at_post = lead_takes(caps, owner, NOW_MS + DAY_MS, zone, 7_000_000, src=lead.src, reserve=CapReserve.POST)
    assert offer.takes == (*held, *at_post)
    assert [take.counter.rpartition(":")[2] for take in offer.takes] == ["2025-11-24", "2025-11-25"]


def test_fingerprint_is_the_buyers_own_where_the_scope_says_so() -> None:
    """With scope `buyer` each offer protects its buyer only."""
    rule = Duplicates(fields=("email",), window_h=24, scope=DuplicateScope.BUYER)
    route = a_route(a_buyer("acme"), a_buyer("beta"), duplicates=rule)
    offers = offers_of_ping(route, a_ping(WON, a_bid("beta", 6_000_000)), a_lead(), with_followers=True)
    assert [offer.fingerprints[0].scope_key for offer in offers] == ["buyer:acme", "buyer:beta"]


def test_offer_without_the_rule_has_no_fingerprint() -> None:
    """A campaign without duplicates compares nothing."""
    (offer,) = offers_of_ping(a_route(a_buyer("acme")), a_ping(WON), a_lead(), with_followers=True)
    assert offer.fingerprints == ()


XML = '<?xml version="1.0" encoding="{}"?>\n<r xmlns:a="urn:a"><a:token kind="é">é € ü</a:token></r>'


@pytest.mark.parametrize(
    ("body", "content_type", "path"),
    [
        (b'{"token": "T\xc3\xa9\\u00e9"}', "application/json", "token"),
        (b'\xef\xbb\xbf{"token": "T1"}', "application/json", "token"),
        (b'{"token": 12345678901234567890.5}', "", "token"),
        (XML.format("utf-8").encode(), "text/xml", "r.token"),
        (XML.format("windows-1252").encode("cp1252"), "text/xml", "r.token"),
        (XML.format("windows-1252").encode("cp1252"), "text/xml; charset=utf-8", "r.token.@kind"),
        (XML.replace("€", "").format("ISO-8859-1").encode("latin-1"), "", "r.token"),
        (b"\n" + XML.replace("€", "").format("ISO-8859-1").encode("latin-1"), "", "r.token"),
        (b'<?xml version="1.0" encoding="iso-8859-1"?><r><token>\xc3\xa9</token></r>', "", "r.token"),
        (b"<r><token>T\xc3\xa9</token></r>", "text/xml; charset=iso-8859-1", "r.token"),
        (b"token=T%C3%A9&x=1", "application/x-www-form-urlencoded", "token"),
        (b"token=T\xe9&x=1", "application/x-www-form-urlencoded; charset=iso-8859-1", "token"),
        ("token=T\xe9&x=1".encode(), "text/plain", "token"),
    ],
)
def test_promise_is_read_from_the_stored_answer_as_from_the_first(body: bytes, content_type: str, path: str) -> None:
    """Whatever a ping answer was written in, its values survive being stored as text."""
    walk = compile_walk(parse_path(path))
    first = walk(parse_answer(body, content_type))
    stored = replace(WON, answer=answer_text(body, content_type), content_type=content_type)
    (offer,) = offers_of_ping(a_route(a_buyer("acme")), a_ping(stored), a_lead(), with_followers=True)
    assert offer.ping_response is not None
    assert first is not None
    assert walk(offer.ping_response) == first
