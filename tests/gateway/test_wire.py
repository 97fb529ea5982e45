"""The JSON contract: what a body becomes on its way in, and what a response becomes on its way out."""

from contextlib import suppress

import orjson
import pytest

from gateway import wire
from leadexchange.v1 import lead_exchange_pb2 as pb


def body(data: str, rest: str = "") -> bytes:
    return f'{{"SRC": "S", "KEY": "K", "data": {data}{rest}}}'.encode()


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        ("{}", {}),
        ('{"a": "x"}', {"a": "x"}),
        ('{"a": 1}', {"a": "1"}),
        ('{"a": -7}', {"a": "-7"}),
        ('{"a": true, "b": false}', {"a": "true", "b": "false"}),
        ('{"a": null, "b": "x"}', {"b": "x"}),
        ('{"a": ""}', {"a": ""}),
        ('{"a": 0.10}', {"a": "0.10"}),
        ('{"a": 1.0, "b": 2}', {"a": "1.0", "b": "2"}),
        ('{"a": 1e400, "b": true, "c": null}', None),  # no JSON number that fits anything
        ('{"a": 123456789012345678901234567890}', {"a": "123456789012345678901234567890"}),
        ('{"a": 12345678901234567890.25}', {"a": "12345678901234567890.25"}),
        ('{"ünï": "日本"}', {"ünï": "日本"}),
        ('{"a": "1", "a": "2"}', {"a": "2"}),
    ],
)
def test_data_becomes_text(data: str, texts: dict[str, str] | None) -> None:
    """Scalars become text as they are written; null is absent."""
    if texts is None:
        with pytest.raises(wire.Unreadable):
            wire.read_request(body(data))
        return
    assert wire.read_request(body(data)) == wire.Request("S", "K", texts)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "no JSON object"),
        (b'"text"', "no JSON object"),
        (b"null", "no JSON object"),
        (b"1", "no JSON object"),
        (b'{"SRC": "S", "KEY": "K"}', "data: expected an object of field names and values, got nothing"),
        (body("null"), "got null"),
        (body("[]"), "got an array"),
        (body('"x"'), "got text"),
        (body("1"), "got a number"),
        (body("true"), "got a boolean"),
        (body('{"a": {}}'), "data.a: expected text, a number, a boolean or null, got an object"),
        (body('{"a": []}'), "data.a: expected text, a number, a boolean or null, got an array"),
        (body('{"a": NaN}'), "not JSON"),
        (body('{"a": "\\ud800"}'), "not JSON"),
        (b'{"SRC": "S", "KEY": "K", "data": {"a": "\xff"}}', "not JSON"),
        (b"[" * 5_000, "not JSON"),
    ],
)
def test_unreadable_says_what_was_expected(raw: bytes, expected: str) -> None:
    """A body that no request can carry is refused with what was expected."""
    with pytest.raises(wire.Unreadable) as refused:
        wire.read_request(raw)
    assert expected in str(refused.value)


def test_nesting_fails_nothing() -> None:
    """Beside data a body may nest as deep as its reader goes; up to Python 3.11 that is less deep where numbers are."""
    raw = body('{"a": 1.5}', f', "deep": {"[" * 1_000}{"]" * 1_000}')
    with suppress(wire.Unreadable):
        assert wire.read_request(raw) == wire.Request("S", "K", {"a": "1.5"})


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b'{"SRC": "", "KEY": "K", "data": {}}',
        b'{"SRC": "S", "KEY": "  ", "data": {}}',
        b'{"SRC": 1, "KEY": "K", "data": {}}',
        b'{"SRC": "S", "KEY": null, "data": []}',
        b'{"SRC": ["S"], "KEY": "K"}',
        b'{"SRC": "S", "ping_id": []}',
    ],
)
def test_missing_credentials_come_before_data(raw: bytes) -> None:
    """Without SRC and KEY neither data nor ping_id are judged: the exchange answers 401."""
    assert wire.read_request(raw) == wire.read_post(raw) == wire.Request("", "", {})


@pytest.mark.parametrize(
    ("ping_id", "text"),
    [('"PING-1"', "PING-1"), ("null", ""), ('""', ""), ("12", "12"), ("{}", None), ("[]", None), ("true", None)],
)
def test_ping_id(ping_id: str, text: str | None) -> None:
    """A ping_id is text; what can be no text is refused."""
    raw = body("{}", f', "ping_id": {ping_id}')
    if text is None:
        with pytest.raises(wire.Unreadable, match="ping_id: expected text"):
            wire.read_post(raw)
        return
    assert wire.read_post(raw).ping_id == text


def test_other_members_are_ignored() -> None:
    """Members beside SRC, KEY, data and ping_id go nowhere."""
    raw = body('{"a": "x"}', ', "ping_id": "P", "extra": {"deep": [1]}, "src": "other"')
    assert wire.read_request(raw) == wire.Request("S", "K", {"a": "x"})


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0"),
        (1, "0.000001"),
        (5_950_000, "5.95"),
        (7_225_000, "7.225"),
        (7_000_000, "7"),
        (100_000, "0.1"),
        (9_223_372_036_854_775_807, "9223372036854.775807"),
    ],
)
def test_money_is_exact(micros: int, text: str) -> None:
    """Micros become the shortest exact JSON number."""
    assert wire.money(micros) == text


@pytest.mark.parametrize(
    ("encode", "response", "expected"),
    [
        (
            wire.ping_body,
            pb.PingResponse(status=pb.PING_STATUS_ACCEPTED, ping_id="PING-1", payout_micros=5_950_000),
            '{"status":"accepted","bid":5.95,"ping_id":"PING-1"}',
        ),
        (
            wire.ping_body,
            pb.PingResponse(status=pb.PING_STATUS_REJECTED, reason=pb.REASON_NO_ELIGIBLE_BUYER, message="no"),
            '{"status":"rejected","reason":"no_eligible_buyer","message":"no"}',
        ),
        (
            wire.ping_body,
            pb.PingResponse(
                status=pb.PING_STATUS_REJECTED,
                reason=pb.REASON_SCHEMA_VALIDATION_FAILED,
                message="bad",
                errors=[pb.FieldProblem(field="email", code="required", message="missing")],
            ),
            '{"status":"rejected","reason":"schema_validation_failed","message":"bad",'
            '"errors":[{"field":"email","code":"required","message":"missing"}]}',
        ),
        (
            wire.post_body,
            pb.PostResponse(status=pb.POST_STATUS_DELIVERED, lead_id="L-1", delivery_id="DEL-1"),
            '{"status":"delivered","lead_id":"L-1","delivery_id":"DEL-1"}',
        ),
        (
            wire.post_body,
            pb.PostResponse(
                status=pb.POST_STATUS_REJECTED,
                reason=pb.REASON_PING_ID_ALREADY_CONSUMED,
                message="again",
                lead_id="L-1",
                delivery_id="DEL-1",
                outcome=pb.POST_OUTCOME_IN_PROGRESS,
            ),
            '{"status":"rejected","reason":"ping_id_already_consumed","message":"again",'
            '"lead_id":"L-1","delivery_id":"DEL-1","outcome":"in_progress"}',
        ),
        (
            wire.post_body,
            pb.PostResponse(
                status=pb.POST_STATUS_FAILED,
                reason=pb.REASON_DOWNSTREAM_TIMEOUT,
                message="late",
                lead_id="L-1",
                delivery_id="DEL-1",
            ),
            '{"status":"failed","reason":"downstream_timeout","message":"late","lead_id":"L-1","delivery_id":"DEL-1"}',
        ),
        (
            wire.direct_post_body,
            pb.DirectPostResponse(
                status=pb.POST_STATUS_DELIVERED, lead_id="L-1", delivery_id="DEL-1", payout_micros=4_000_000
            ),
            '{"status":"delivered","lead_id":"L-1","delivery_id":"DEL-1","payout":4}',
        ),
        (
            wire.direct_post_body,
            pb.DirectPostResponse(
                status=pb.POST_STATUS_REJECTED, reason=pb.REASON_DUPLICATE_LEAD, message="dup", lead_id="L-1"
            ),
            '{"status":"rejected","reason":"duplicate_lead","message":"dup","lead_id":"L-1"}',
        ),
    ],
)
def test_answers_to_the_letter(encode, response, expected: str) -> None:
    """Every kind of answer, byte for byte, its members in the published order."""
    assert encode(response) == expected.encode()
    assert orjson.loads(expected)
