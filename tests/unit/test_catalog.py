"""Compiling a configuration: what is equal, or was compiled when it was read, is compiled once."""

from dataclasses import replace
from pathlib import Path

from lexchange.campaign_file import load_campaigns
from lexchange.catalog import Catalog
from lexchange.config import Limits

DEMO = Path(__file__).parents[2] / "campaigns" / "demo.yaml"


def test_endpoints_are_compiled_once() -> None:
    """The reader tries each of them out; what comes of it is what is served."""
    loaded = load_campaigns(DEMO, is_dev=True, pepper=b"", environment={})
    catalog = Catalog(loaded.campaigns, version="v1", limits=Limits(), calls=loaded.calls)
    served = [call for buyer in catalog.live[0].buyers.values() for call in (buyer.ping, buyer.post) if call]
    assert {id(call) for call in served} == {id(call) for call in loaded.calls}


def test_endpoints_are_compiled_where_nobody_has() -> None:
    """A call of an equal endpoint that was compiled for another campaign object is not taken for it."""
    loaded = load_campaigns(DEMO, is_dev=True, pepper=b"", environment={})
    campaign = loaded.campaigns[0]
    moved = [replace(buyer, post=replace(buyer.post, timeout_ms=77)) for buyer in campaign.buyers]
    catalog = Catalog([replace(campaign, buyers=tuple(moved))], version="v1", limits=Limits(), calls=loaded.calls)
    assert {buyer.post.delivery.timeout_ms for buyer in catalog.live[0].buyers.values()} == {77}


def test_campaigns_with_equal_fields_share_their_schema() -> None:
    """And one with other fields has its own."""
    (campaign,) = load_campaigns(DEMO, is_dev=True, pepper=b"", environment={}).campaigns
    other = replace(campaign, campaign="other", sources=())
    short = replace(campaign, campaign="short", sources=(), fields=campaign.fields[:-1])
    catalog = Catalog([campaign, other, short], version="v1", limits=Limits())
    assert catalog.live[0].schema is catalog.live[1].schema
    assert catalog.live[2].schema.known < catalog.live[0].schema.known
