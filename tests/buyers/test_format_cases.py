"""Buyers' APIs as their posting specifications describe them: requests byte for byte, answers with their readings.

A case is one endpoint as it stands in a campaign file, so that the file's reader and the formats agree.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lexchange.buyers.call import compile_call
from lexchange.buyers.client import BuyerAnswer
from lexchange.buyers.documents import parse_answer
from lexchange.buyers.mapping import MappingValues, UnmappableLead
from lexchange.campaign import (
    DATA_FIELDS,
    AnswerRule,
    AnswerRules,
    BodyFormat,
    BuyerDelivery,
    Header,
    MappedField,
)
from lexchange.campaign_file import load_campaigns

CASES = sorted((Path(__file__).parents[1] / "cases" / "formats").glob("*.json"))
STUB = {"url": "https://buyer.example/", "fields": {}}
STUB_PING = {**STUB, "ping_response_settings": {"accepted": {"http_status": [200]}}}
STUB_POST = {**STUB, "post_response_settings": {"accepted": {"http_status": [200]}}}


def load_delivery(case: dict[str, Any], folder: Path) -> BuyerDelivery:
    """The case's endpoint, read by the campaign file's own reader."""
    is_ping = "ping_response_settings" in case["delivery"]
    system_fields = {spec.name for spec in DATA_FIELDS}
    campaign = {
        "campaign": "home",
        "status": "active",
        "traffic_type": "ping_post",
        "payout": {"mode": "fixed", "amount": 1},
        "fields": [{"name": name} for name in case["values"]["lead"] if name not in system_fields],
        "buyers": [
            {
                "buyer": "acme",
                "bid": 1,
                "ping": case["delivery"] if is_ping else STUB_PING,
                "post": STUB_POST if is_ping else case["delivery"],
            }
        ],
    }
    file = folder / "campaign.json"
    file.write_text(json.dumps(campaign))
    loaded = load_campaigns(file, is_dev=False, pepper=b"pepper", environment=case.get("environment", {}))
    buyer = loaded.campaigns[0].buyers[0]
    delivery = buyer.ping if is_ping else buyer.post
    assert delivery is not None
    return delivery


def values_of(case: dict[str, Any]) -> MappingValues:
    given = case["values"]
    response = given.get("ping_response")
    return MappingValues(
        lead=given["lead"],
        ping_id=given.get("ping_id", "PING-0000000000001"),
        campaign_id="home",
        campaign_name="Home insurance",
        src="SRC_MAIN",
        lead_id=given.get("lead_id"),
        delivery_id=given.get("delivery_id"),
        now_ms=1_795_489_445_000,
        ping_response=parse_answer(response["body"].encode(), response["content_type"]) if response else None,
    )


def expected_reading(answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "verdict": answer["verdict"],
        "bid_micros": answer.get("bid_micros"),
        "bid_problem": answer.get("bid_problem", ""),
        "price_micros": answer.get("price_micros"),
        "reason": answer.get("reason", ""),
    }


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path, tmp_path):
    """The request is what the specification shows, and each answer is read as it means."""
    case = json.loads(path.read_text("utf-8"))
    call = compile_call(load_delivery(case, tmp_path))
    if "unmappable" in case:
        with pytest.raises(UnmappableLead) as error:
            call.build(values_of(case))
        assert str(error.value) == case["unmappable"]
    else:
        request = call.build(values_of(case))
        assert {
            "method": request.method,
            "target": request.endpoint.target.decode(),
            "query": request.query,
            "headers": [list(header) for header in request.headers],
            "body": request.body.decode(),
        } == case["request"]
    for answer in case["answers"]:
        reading = call.read(
            BuyerAnswer(
                status=answer["status"],
                content_type=answer.get("content_type", ""),
                body=answer["body"].encode(answer.get("charset", "utf-8")),
            )
        )
        expected = expected_reading(answer)
        assert {name: getattr(reading, name) for name in expected} == expected, answer["body"]


DELIVERY = BuyerDelivery(
    url="https://buyer.example/leads?key=hidden",
    timeout_ms=800,
    fields=(MappedField(path="zip", sources=("lead.zipcode",)),),
    answer=AnswerRules(accepted=AnswerRule(http_status=(200,))),
)
VALUES = MappingValues(
    lead={"zipcode": "02139"},
    ping_id="PING-1",
    campaign_id="c",
    campaign_name="C",
    src="S",
    lead_id="L-1",
    delivery_id="DEL-1",
    now_ms=0,
)


def test_request_carries_its_delivery_id_when_the_delivery_is_idempotent():
    """A buyer who may get a lead twice can tell by the key; a ping has none, and the operator's own header wins."""
    delivery = replace(DELIVERY, is_idempotent=True)
    key = ("Idempotency-Key", "DEL-1")
    assert key in compile_call(delivery).build(VALUES).headers
    assert key not in compile_call(delivery).build(replace(VALUES, delivery_id=None)).headers
    assert key not in compile_call(DELIVERY).build(VALUES).headers
    own = replace(delivery, headers=(Header(name="idempotency-key", value="mine"),))
    assert compile_call(own).build(VALUES).headers == (
        ("Content-Type", "application/json"),
        ("idempotency-key", "mine"),
    )


def test_call_describes_itself_without_secrets():
    """Neither the URL's query nor a header or value is shown."""
    delivery = replace(DELIVERY, headers=(Header(name="Authorization", value="Bearer hidden"),))
    assert compile_call(delivery).describe() == "POST https://buyer.example/leads as json with 1 field"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"url": "ftp://buyer.example/"}, "expected a URL that starts with https:// or http://"),
        ({"url": "https://user:pass@buyer.example/"}, "expected a URL without user name or password"),
        ({"method": "DELETE"}, "method DELETE: expected one of GET, POST, PUT, PATCH"),
        ({"method": "GET"}, "method GET: expected format query, because a GET carries no json body"),
        ({"headers": (Header(name="X-A", value="a\r\nX-B: b"),)}, "header X-A: expected"),
        ({"headers": (Header(name="Content-Length", value="1"),)}, "header Content-Length: expected none"),
        ({"fields": (MappedField(path="a", sources=("led.x",)),)}, "led.x: expected one of"),
        ({"fields": (MappedField(path="a..b", constant="x"),)}, "expected names divided by dots"),
        ({"answer": AnswerRules(accepted=AnswerRule())}, "accepted: expected a path"),
        ({"format": BodyFormat.XML, "fields": ()}, "expected at least one field"),
    ],
)
def test_call_is_refused_when_the_endpoint_cannot_work(change, expected):
    """Everything about an endpoint that can be known beforehand is refused beforehand."""
    with pytest.raises(ValueError, match="expected") as refusal:
        compile_call(replace(DELIVERY, **change))
    assert expected in str(refusal.value)


def test_cases_cover_every_format():
    """Each format has several buyers."""
    formats = [json.loads(path.read_text("utf-8"))["delivery"].get("format", "json") for path in CASES]
    assert all(formats.count(name) >= 3 for name in BodyFormat)
    assert len(CASES) >= 25
