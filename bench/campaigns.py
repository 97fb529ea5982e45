"""Campaign files to measure with: one source, typed fields, buyers with a filter and a day cap. JSON is YAML too."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KEY = "bench_key_value"
TYPES = {
    "email": "email",
    "phone": "phone",
    "zipcode": "zipcode",
    "state": "state",
    "ip_address": "ip",
    "trusted_form_url": "url",
    "landing_page_url": "url",
}
STATES = ["AZ", "CA", "NV", "OR", "WA"]
OTHER_STATES = ["CT", "MA", "NJ", "NY", "RI"]
CAP = 100_000_000  # counted, never reached


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignShape:
    """What differs between measured campaigns. `urls` are the buyers', one each; a lead suits the first `suited`."""

    urls: tuple[str, ...]
    src: str = "SRC_BENCH"
    is_direct: bool = False
    zip_count: int = 0
    suited: int | None = None  # all


def write_campaigns(path: Path, shapes: Sequence[CampaignShape]) -> Path:
    """One file for each campaign in the new folder `path`."""
    path.mkdir()
    for index, shape in enumerate(shapes):
        document = _campaign(f"bench_{index}", shape)
        (path / f"bench_{index}.yaml").write_text(json.dumps(document))
    return path


def _campaign(name: str, shape: CampaignShape) -> dict[str, object]:
    return {
        "campaign": name,
        "status": "active",
        "traffic_type": "direct_post" if shape.is_direct else "ping_post",
        "routing": {"mode": "highest_bid", "ping_timeout_ms": 5000, "post_timeout_ms": 10000, "min_bid": 0.50},
        "payout": {"mode": "revenue_share", "share": 0.85},
        "fields": [{"name": field, "type": kind} for field, kind in TYPES.items()],
        "sources": [{"src": shape.src, "keys": [{"key": KEY}]}],
        "buyers": [_buyer(index, url, shape) for index, url in enumerate(shape.urls)],
    }


def _buyer(index: int, url: str, shape: CampaignShape) -> dict[str, object]:
    states = STATES if shape.suited is None or index < shape.suited else OTHER_STATES
    filters: list[dict[str, object]] = [{"field": "state", "op": "in", "value": states}]
    if shape.zip_count:
        zips = [f"{number:05}" for number in range(99_999 - shape.zip_count, 99_999)]
        filters.append({"field": "zipcode", "op": "in", "value": zips})
    return {
        "buyer": f"buyer_{index}",
        "filters": filters,
        "caps": [{"window": "day", "limit": CAP}],
        "ping": {
            "url": f"{url}/ping",
            "format": "json",
            "timeout_ms": 5000,
            "fields": {
                "lead.zip": {"from": "lead.zipcode"},
                "lead.state": {"from": "lead.state"},
                "vendor": {"value": "bench"},
                "ref": {"from": "ping.ping_id"},
            },
            "ping_response_settings": {"accepted": {"path": "status", "equals": "ok"}, "bid_path": "data.bid"},
        },
        "post": {
            "url": f"{url}/post",
            "format": "json",
            "timeout_ms": 5000,
            "fields": {
                "promise": {"from": "ping_response.data.token"},
                "delivery": {"from": "delivery_id"},
                **{f"lead.{name}": {"from": f"lead.{name}"} for name in _POSTED},
            },
            "post_response_settings": {
                "accepted": {"path": "result", "equals": "sold"},
                "rejected": {"path": "result", "equals": "rejected"},
            },
        },
    }


_POSTED = ("first_name", "last_name", "email", "phone", "street_address", "city", "state", "zipcode", "consent_text")
