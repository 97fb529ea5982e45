"""Wire: the JSON contract. A body becomes a request, a response becomes the JSON that publishers read.

Only what no request can carry is refused here; everything else is the exchange's to judge. Pure.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import orjson

from leadexchange.v1 import lead_exchange_pb2 as pb

TEXTS_ONLY = {str}
Response: TypeAlias = pb.PingResponse | pb.PostResponse | pb.DirectPostResponse


class Unreadable(Exception):
    """A body that no request can carry; the text says what was expected."""


class Request(NamedTuple):
    """What a body says, by the names that the proto's requests have for it."""

    src: str
    key: str
    data: dict[str, str]
    ping_id: str = ""


def read_request(body: bytes) -> Request:
    """What a `/ping` or `/direct_post` body says; raises Unreadable."""
    return _read(body)[0]


def read_post(body: bytes) -> Request:
    """What a `/post` body says; raises Unreadable."""
    request, document = _read(body)
    return request._replace(ping_id=_ping_id(document)) if request.src else request


def ping_body(response: pb.PingResponse) -> bytes:
    """The JSON of a ping's answer: accepted with the payout as `bid`, or rejected."""
    if response.status == pb.PING_STATUS_ACCEPTED:
        bid = orjson.Fragment(money(response.payout_micros))
        return orjson.dumps({"status": "accepted", "bid": bid, "ping_id": response.ping_id})
    return orjson.dumps({"status": PING_STATUSES[response.status], **_why_not(response)})


def post_body(response: pb.PostResponse) -> bytes:
    """The JSON of a post's answer: delivered, rejected or failed, with the ids of what exists."""
    if response.status == pb.POST_STATUS_DELIVERED:
        return orjson.dumps({"status": "delivered", **_ids(response)})
    answer = {"status": POST_STATUSES[response.status], **_why_not(response), **_ids(response)}
    if response.outcome:
        answer["outcome"] = OUTCOMES[response.outcome]
    return orjson.dumps(answer)


def direct_post_body(response: pb.DirectPostResponse) -> bytes:
    """The JSON of a direct post's answer; no ping told the payout before, so a delivered one does."""
    if response.status == pb.POST_STATUS_DELIVERED:
        payout = orjson.Fragment(money(response.payout_micros))
        return orjson.dumps({"status": "delivered", **_ids(response), "payout": payout})
    return orjson.dumps({"status": POST_STATUSES[response.status], **_why_not(response), **_ids(response)})


def money(micros: int) -> str:
    """Micros as a JSON number, exact: 5950000 -> 5.95, 7000000 -> 7."""
    whole, rest = divmod(micros, 1_000_000)
    return f"{whole}.{rest:06d}".rstrip("0") if rest else str(whole)


# ------------------------------------------------------------------------------------------------------------- request


def _read(body: bytes) -> tuple[Request, dict[str, Any]]:
    """The request and the whole document. Without credentials the data is not looked at: 401 comes before."""
    document = _document(body)
    src, key = document.get("SRC"), document.get("KEY")
    if not (isinstance(src, str) and isinstance(key, str) and src.strip() and key.strip()):
        return Request("", "", {}), document
    data = document.get("data")
    if not isinstance(data, dict):
        raise Unreadable(f"data: expected an object of field names and values, got {_kind(document, 'data')}")
    return Request(src, key, _texts(data, body)), document


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"the body is not JSON: {error}") from None  # the chained error would hold the whole body
    if not isinstance(document, dict):
        raise Unreadable('the body is no JSON object: expected {"SRC": text, "KEY": text, "data": {field: value}}')
    return document


def _texts(data: dict[str, Any], body: bytes) -> dict[str, str]:
    """Scalars as text; null is absent."""
    if set(map(type, data.values())) <= TEXTS_ONLY:
        return data
    texts: dict[str, str] = {}
    for name, value in data.items():
        if isinstance(value, str):
            texts[name] = value
        elif value is True or value is False:
            texts[name] = "true" if value else "false"
        elif isinstance(value, int):
            texts[name] = str(value)
        elif isinstance(value, float):
            return _texts(_as_written(body), body)
        elif value is not None:
            raise Unreadable(f"data.{name}: expected text, a number, a boolean or null, got {_kind(data, name)}")
    return texts


def _as_written(body: bytes) -> dict[str, Any]:
    """The data with its numbers as they were written: a float would turn 0.10 into 0.1 and round a long integer."""
    try:
        data = json.loads(body, parse_float=str, parse_int=str)["data"]
    except RecursionError:
        raise Unreadable("the body is nested too deeply: expected plain values in data") from None
    assert isinstance(data, dict), "orjson read an object here"
    return data


def _ping_id(document: dict[str, Any]) -> str:
    ping_id = document.get("ping_id")
    if ping_id is None:
        return ""
    if isinstance(ping_id, str):
        return ping_id
    if isinstance(ping_id, bool) or not isinstance(ping_id, int | float):
        raise Unreadable(f"ping_id: expected text, got {_kind(document, 'ping_id')}")
    return str(ping_id)


def _kind(document: Mapping[str, Any], name: str) -> str:
    if name not in document:
        return "nothing"
    kinds = {dict: "an object", list: "an array", str: "text", bool: "a boolean", type(None): "null"}
    return kinds.get(type(document[name]), "a number")


# ------------------------------------------------------------------------------------------------------------ response


def _names(descriptor: Any, prefix: str) -> dict[int, str]:
    return {value.number: value.name.removeprefix(prefix).lower() for value in descriptor.values}


PING_STATUSES = _names(pb.PingStatus.DESCRIPTOR, "PING_STATUS_")
POST_STATUSES = _names(pb.PostStatus.DESCRIPTOR, "POST_STATUS_")
OUTCOMES = _names(pb.PostOutcome.DESCRIPTOR, "POST_OUTCOME_")
REASONS = _names(pb.Reason.DESCRIPTOR, "REASON_")


def _why_not(response: Response) -> dict[str, Any]:
    why: dict[str, Any] = {"reason": REASONS[response.reason], "message": response.message}
    if response.errors:
        why["errors"] = [
            {"field": problem.field, "code": problem.code, "message": problem.message} for problem in response.errors
        ]
    return why


def _ids(response: pb.PostResponse | pb.DirectPostResponse) -> dict[str, Any]:
    ids = {"lead_id": response.lead_id, "delivery_id": response.delivery_id}
    return {name: value for name, value in ids.items() if value}
