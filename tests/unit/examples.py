"""A campaign of a few buyers, compiled; each test names only what it is about."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

from lexchange.call import Call
from lexchange.campaign import (
    AnswerRule,
    AnswerRules,
    BodyFormat,
    Buyer,
    BuyerDelivery,
    Campaign,
    CampaignStatus,
    MappedField,
    PayoutMode,
    PayoutRule,
    Routing,
    Source,
    SourceKey,
    TrafficType,
)
from lexchange.catalog import Catalog, Route
from lexchange.config import Limits
from lexchange.keys import hash_key
from lexchange.lead import BuyerPing, Lead, LeadState, Ping, PingOutcome, PingState

NOW_MS = 1_764_000_000_000
KEY = "live_key_value"
DATA = {"zipcode": "90210", "email": "sam.carter@example.com"}


def an_endpoint(buyer: str, **changes: Any) -> BuyerDelivery:
    """Sends the zipcode; `{"ok": "yes", "bid": 5}` is a bid."""
    endpoint = BuyerDelivery(
        url=f"https://{buyer}.example/",
        format=BodyFormat.JSON,
        timeout_ms=1_000,
        fields=(MappedField(path="zip", sources=("lead.zipcode",)),),
        answer=AnswerRules(
            accepted=AnswerRule(path="ok", one_of=("yes",)), bid_path="bid", reason_path="why", price_path="price"
        ),
    )
    return replace(endpoint, **changes)


def a_buyer(name: str, **changes: Any) -> Buyer:
    """A buyer who is pinged."""
    buyer = Buyer(buyer=name, name=name.title(), ping=an_endpoint(name), post=an_endpoint(name))
    return replace(buyer, **changes)


def a_campaign(*buyers: Buyer, **changes: Any) -> Campaign:
    """An active one with one source, who gets 85 % of a bid."""
    campaign = Campaign(
        campaign="home",
        name="Home",
        status=CampaignStatus.ACTIVE,
        traffic_type=TrafficType.PING_POST,
        routing=Routing(),
        payout=PayoutRule(mode=PayoutMode.REVENUE_SHARE, share=Fraction("0.85")),
        sources=(Source(src="SRC_MAIN", name="Main", keys=(SourceKey(hmac_hex=hash_key(KEY, b"")),)),),
        buyers=buyers,
    )
    return replace(campaign, **changes)


def a_catalog(campaign: Campaign) -> Catalog:
    return Catalog([campaign], version="v1", limits=Limits())


def a_route(*buyers: Buyer, **changes: Any) -> Route:
    """Where SRC_MAIN leads."""
    route = a_catalog(a_campaign(*buyers, **changes)).route("SRC_MAIN")
    assert route is not None
    return route


def a_call(**changes: Any) -> Call:
    return replace(Call(src="SRC_MAIN", key=KEY, data=DATA), **changes)


def a_bid(buyer: str, bid_micros: int, **changes: Any) -> BuyerPing:
    return replace(BuyerPing(buyer=buyer, outcome=PingOutcome.BID, bid_micros=bid_micros), **changes)


def a_ping(*buyers: BuyerPing, **changes: Any) -> Ping:
    """Offered; acme won it with 7.00."""
    ping = Ping(
        ping_id="PING-1",
        campaign="home",
        src="SRC_MAIN",
        is_test=False,
        created_ms=NOW_MS,
        expires_ms=NOW_MS + 900_000,
        state=PingState.OFFERED,
        config_version="v1",
        winner="acme",
        bid_micros=7_000_000,
        payout_micros=5_950_000,
        payout_rule="revenue_share 0.85",
        routing_mode="highest_bid",
        data=DATA,
        buyers=list(buyers),
    )
    return replace(ping, **changes)


def a_lead(**changes: Any) -> Lead:
    """The lead of that ping, before it is claimed."""
    lead = Lead(
        lead_id="L-1",
        ping_id="PING-1",
        campaign="home",
        src="SRC_MAIN",
        is_test=False,
        created_ms=NOW_MS,
        updated_ms=NOW_MS,
        state=LeadState.CLAIMED,
        config_version="v1",
        data=DATA,
    )
    return replace(lead, **changes)
