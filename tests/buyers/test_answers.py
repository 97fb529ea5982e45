import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexchange.buyers.answers import REASON_CHARACTERS, Reading, Verdict, compile_rules
from lexchange.buyers.client import BuyerAnswer
from lexchange.campaign import AnswerRule, AnswerRules
from tests.cost import CHEAP_S, cpu_s

ACCEPTED, REJECTED, UNREADABLE = Verdict.ACCEPTED, Verdict.REJECTED, Verdict.UNREADABLE

STATUS_OK = AnswerRule(path="status", one_of=("accepted", "ok"))
PING = AnswerRules(accepted=STATUS_OK, bid_path="bid", reason_path="reason")
BOTH = AnswerRules(
    accepted=AnswerRule(path="result", one_of=("sold",)),
    rejected=AnswerRule(path="result", one_of=("rejected", "duplicate")),
    reason_path="message",
    price_path="price",
)


def read(rules: AnswerRules, body: bytes, status: int = 200, content_type: str = "application/json") -> Reading:
    return compile_rules(rules)(BuyerAnswer(status=status, content_type=content_type, body=body))


def rule(**parts) -> AnswerRules:
    return AnswerRules(accepted=AnswerRule(**parts))


@pytest.mark.parametrize(
    ("rules", "body", "verdict"),
    [
        (rule(path="s", one_of=("ok",)), b'{"s": "ok"}', ACCEPTED),
        (rule(path="s", one_of=("ok",)), b'{"s": "OK"}', REJECTED),
        (rule(path="s", one_of=("ok",)), b'{"s": "ok "}', REJECTED),
        (rule(path="s", one_of=("true",)), b'{"s": true}', ACCEPTED),
        (rule(path="s", one_of=("1",)), b'{"s": 1}', ACCEPTED),
        (rule(path="s", one_of=("1",)), b'{"s": "1"}', ACCEPTED),
        (rule(path="s", one_of=("1",)), b'{"s": 1.0}', REJECTED),
        (rule(path="s", one_of=("1.0",)), b'{"s": 1.0}', ACCEPTED),
        (rule(path="s", one_of=("1",)), b'{"s": true}', REJECTED),
        (rule(path="s", one_of=("null", "")), b'{"s": null}', REJECTED),
        (rule(path="s", one_of=("{}",)), b'{"s": {}}', REJECTED),
        (rule(path="s", exists=True), b'{"s": ""}', ACCEPTED),
        (rule(path="s", exists=True), b'{"s": {}}', ACCEPTED),
        (rule(path="s", exists=True), b'{"s": null}', REJECTED),
        (rule(path="s", exists=False), b'{"t": 1}', ACCEPTED),
        (rule(path="s", exists=False), b'{"s": 1}', REJECTED),
        (rule(path="s", matches="^ok"), b'{"s": "okay"}', ACCEPTED),
        (rule(path="s", matches="^ok"), b'{"s": "not ok"}', REJECTED),
        (rule(path="s", one_of=("ok", "no"), matches="^ok"), b'{"s": "no"}', REJECTED),
        (rule(path="s", one_of=("ok",), http_status=(200,)), b'{"s": "ok"}', ACCEPTED),
        (rule(path="s", one_of=("ok",), http_status=(201,)), b'{"s": "ok"}', REJECTED),
        (rule(matches="^OK"), b"OK 123", ACCEPTED),
        (rule(matches="^OK$"), b"\xef\xbb\xbf OK\r\n", ACCEPTED),
        (rule(matches="^OK"), b"NO", REJECTED),
        (rule(matches='"s":"ok"'), b'{"s":"ok"}', ACCEPTED),
        (rule(matches="Thank you"), b"<!doctype html><p>Thank you", ACCEPTED),
        (rule(one_of=("1",)), b"1\n", ACCEPTED),
        (rule(http_status=(200,)), b"", ACCEPTED),
        (rule(http_status=(200,)), b"<html></html>", ACCEPTED),
    ],
)
def test_accepting_rule_holds_when_all_its_parts_do(rules, body, verdict):
    """Texts are compared exactly, JSON scalars as they are written; without `rejected`, a readable rest is a no."""
    assert read(rules, body).verdict is verdict


@pytest.mark.parametrize(
    ("body", "verdict", "reason"),
    [
        (b'{"result": "sold"}', ACCEPTED, ""),
        (b'{"result": "duplicate", "message": "seen"}', REJECTED, "seen"),
        (b'{"result": "queued", "message": "later"}', UNREADABLE, "neither accepted nor rejected: later"),
        (b"{}", UNREADABLE, "neither accepted nor rejected"),
        (b"sold", UNREADABLE, "plain text, not JSON, XML or a form"),
        (b"", UNREADABLE, "an empty answer"),
    ],
)
def test_answer_is_unreadable_when_neither_rule_holds(body, verdict, reason):
    """Where the buyer's no is spelled out, nothing else counts as one."""
    reading = read(BOTH, body)
    assert (reading.verdict, reading.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("rules", "status", "body", "verdict", "reason"),
    [
        # a redirect or a server's failure says nothing, whatever its body
        (PING, 500, b'{"status": "ok", "bid": 1}', UNREADABLE, "HTTP 500"),
        (PING, 503, b'{"status": "no", "reason": "busy"}', UNREADABLE, "HTTP 503: busy"),
        (PING, 302, b"", UNREADABLE, "HTTP 302"),
        (BOTH, 502, b'{"result": "rejected"}', UNREADABLE, "HTTP 502"),
        (rule(http_status=(200,)), 500, b"", UNREADABLE, "HTTP 500"),
        (rule(http_status=(200,)), 301, b"", UNREADABLE, "HTTP 301"),
        # unless a rule names the status
        (rule(http_status=(204,)), 204, b"", ACCEPTED, ""),
        (rule(http_status=(302,)), 302, b"", ACCEPTED, ""),
        (rule(path="status", one_of=("ok",), http_status=(500,)), 500, b'{"status": "ok"}', ACCEPTED, ""),
        # a 4xx is the buyer's own where he says what the rules look for
        (PING, 422, b'{"status": "rejected", "reason": "zip"}', REJECTED, "zip"),
        (PING, 400, b'{"status": "ok", "bid": 1}', ACCEPTED, ""),
        (PING, 403, b'{"message": "Forbidden"}', UNREADABLE, "HTTP 403 without status"),
        (PING, 404, b"<html>Not found</html>", UNREADABLE, "an HTML page"),
        (BOTH, 409, b'{"result": "duplicate"}', REJECTED, ""),
        (BOTH, 401, b'{"error": "key"}', UNREADABLE, "neither accepted nor rejected"),
        (rule(matches="^OK"), 400, b"ERROR", UNREADABLE, "HTTP 400"),
        (rule(http_status=(200,)), 400, b"<html>", REJECTED, ""),
        (rule(http_status=(200,)), 201, b"", REJECTED, ""),
        # in 2xx the path may be missing, the document may not
        (PING, 200, b'{"error": "no coverage"}', REJECTED, ""),
        (PING, 200, b"<response/>", REJECTED, ""),
        (PING, 204, b"", UNREADABLE, "an empty answer"),
        (PING, 200, b"Rejected", UNREADABLE, "plain text, not JSON, XML or a form"),
        (PING, 200, b"<!DOCTYPE html><html><body>We will be back", UNREADABLE, "an HTML page"),
        (rule(matches="^OK"), 200, b"<html>Maintenance</html>", UNREADABLE, "an HTML page"),
        (rule(matches="^OK"), 200, b"", UNREADABLE, "an empty answer"),
        (rule(matches="^OK"), 200, b"\xff\xfe\x00", UNREADABLE, "text that is not UTF-8"),
    ],
)
def test_http_status_decides_whether_a_no_is_the_buyers_own(rules, status, body, verdict, reason):
    """A definite rejection sends the lead to the next buyer, so what may be a proxy's or a crash is none."""
    reading = read(rules, body, status)
    assert (reading.verdict, reading.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("accepted", "rejected", "verdict"),
    [
        (AnswerRule(path="id", exists=True), AnswerRule(path="dup", one_of=("true",)), ACCEPTED),
        (AnswerRule(http_status=(200,)), AnswerRule(path="dup", one_of=("true",)), REJECTED),
        (AnswerRule(http_status=(200,)), AnswerRule(matches="dup"), REJECTED),
        (AnswerRule(path="id", exists=True), AnswerRule(http_status=(200,)), ACCEPTED),
        (AnswerRule(http_status=(200,)), AnswerRule(http_status=(200,)), ACCEPTED),
    ],
)
def test_more_telling_rule_counts_when_both_hold(accepted, rejected, verdict):
    """The accepting rule counts first, but a bare status yields to a rule that looks into the answer."""
    assert read(AnswerRules(accepted=accepted, rejected=rejected), b'{"id": 1, "dup": true}').verdict is verdict


@pytest.mark.parametrize(
    ("bid", "micros"),
    [
        (b"5.1", 5_100_000),
        (b"0", 0),
        (b"7", 7_000_000),
        (b"0.1", 100_000),
        (b"5.9500", 5_950_000),
        (b'"5.95"', 5_950_000),
        (b'" $1,234.50 "', 1_234_500_000),
        (b"999999999.999999", 999_999_999_999_999),
        (b"1.00000150000000000000000001", 1_000_002),
        (b"2.50000049999999999999999999", 2_500_000),
    ],
)
def test_bid_is_read_exactly(bid, micros):
    """A bid is what the buyer's digits say, to the micro, as a number or as text."""
    reading = read(PING, b'{"status": "ok", "bid": %b}' % bid)
    assert (reading.verdict, reading.bid_micros, reading.bid_problem) == (ACCEPTED, micros, "")


@pytest.mark.parametrize("odd", [b"1e-99999999999999999999", b"0e99999999999999999999"])
def test_bid_is_read_beside_a_number_that_no_decimal_holds(odd):
    """An answer is read again for the digits that a float cuts; whatever else stands in it, nothing is raised."""
    reading = read(PING, b'{"status": "ok", "bid": 5.123456789012345678, "odd": %b}' % odd)
    assert (reading.verdict, reading.bid_micros) == (ACCEPTED, 5_123_457)


@pytest.mark.parametrize(
    ("bid", "problem"),
    [
        (b'"abc"', "got 'abc'"),
        (b"-0.01", "got -0.01"),
        (b'"-1"', "got '-1'"),
        (b"null", "nothing at bid"),
        (b"true", "got True"),
        (b"[5]", "got [5]"),
        (b'{"amount": 5}', "got {'amount': 5}"),
        (b'""', "got ''"),
        (b'"NaN"', "got 'NaN'"),
        (b'"Infinity"', "got 'Infinity'"),
        (b'"1e999"', "got '1e999'"),
        (b"1e300", "got "),
        (b"1000000001", "got 1000000001"),
        (b'"1,5"', "got '1,5'"),
        (b'"5,95 EUR"', "got '5,95 EUR'"),
        (b"9" * 300, "got "),
    ],
)
def test_accepted_answer_has_no_bid_when_it_is_not_money(bid, problem):
    """Anything but a finite amount within bounds is no bid; the problem says what came instead."""
    reading = read(PING, b'{"status": "ok", "bid": %b}' % bid)
    assert (reading.verdict, reading.bid_micros) == (ACCEPTED, None)
    assert problem in reading.bid_problem


def test_bid_problem_is_empty_when_no_bid_is_looked_for():
    """Without bid_path a missing bid is no problem of the answer."""
    reading = read(rule(path="status", one_of=("ok",)), b'{"status": "ok", "bid": 5}')
    assert (reading.bid_micros, reading.bid_problem, reading.price_micros) == (None, "", None)


@pytest.mark.parametrize(("price", "micros"), [(b"4.25", 4_250_000), (b'"x"', None), (b"-1", None), (b"null", None)])
def test_price_is_read_from_an_accepted_post(price, micros):
    """The final price is optional: one that is no money counts as none."""
    assert read(BOTH, b'{"result": "sold", "price": %b}' % price).price_micros == micros


def test_bid_and_price_are_not_read_when_rejected():
    """A rejection has no bid."""
    reading = read(PING, b'{"status": "no", "bid": 5}')
    assert (reading.verdict, reading.bid_micros, reading.bid_problem) == (REJECTED, None, "")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"reason": "No coverage"}', "No coverage"),
        (b'{"reason": 404}', "404"),
        (b'{"reason": null}', ""),
        (b'{"reason": "a\\r\\nb\\u0000\\u001b[31mc\\u202ed"}', "a b [31mc d"),
        (b'{"reason": ["bad zip", "dup"]}', '["bad zip","dup"]'),
        (b'{"reason": %b}' % (b"[" * 900 + b"]" * 900), ""),
        (b'{"reason": "%b"}' % (b"x" * 500), "x" * REASON_CHARACTERS),
        (b'{"reason": "%s"}' % ("é" * 500).encode(), "é" * REASON_CHARACTERS),
    ],
)
def test_reason_is_one_short_line(body, reason):
    """A buyer's reason is kept without control characters and cut to its limit."""
    assert read(PING, body).reason == reason


@pytest.mark.parametrize(
    ("body", "verdict", "reason"),
    [
        (b'\xff\xfe{"status": "ok"}', UNREADABLE, "text that is not UTF-8"),
        (b'{"status": "\xff"}', UNREADABLE, "broken JSON"),
        (b'{"status": "ok", "bid": NaN}', UNREADABLE, "broken JSON"),
        (b'{"status": "ok", "bid": 1e999}', UNREADABLE, "broken JSON"),
        (b'{"status": "ok", "bid": Infinity}', UNREADABLE, "broken JSON"),
        (b'{"status": "ok", "bid": ' + b"9" * 5_000 + b"}", UNREADABLE, "broken JSON"),
        (b'{"status": "ok"', UNREADABLE, "broken JSON"),
        (b'{"status": "ok"} trailing', UNREADABLE, "broken JSON"),
        (b'{"status": "\\ud800"}', UNREADABLE, "broken JSON"),
        (b'{"status": "no", "status": "ok"}', ACCEPTED, ""),
        (b"[" * 100_000, UNREADABLE, "broken JSON"),
        (b'{"a":' * 100_000, UNREADABLE, "broken JSON"),
        (b"null", UNREADABLE, "plain text"),
        (b'"ok"', UNREADABLE, "plain text"),
        (b"{}", REJECTED, ""),
        (b"[]", REJECTED, ""),
        (b"<status>ok</status>", ACCEPTED, ""),
        (b"<status>&lol;</status>", UNREADABLE, "broken XML"),
        (b"<a>" * 80_000, UNREADABLE, "XML of more than 20000 tags"),
        (b"<status>\0</status>", UNREADABLE, "XML with a DOCTYPE or a NUL"),
        (b"\0" * 1_000, UNREADABLE, "plain text"),
        (b"status=ok&bid=5", ACCEPTED, ""),
        (b"<html><body>status=ok</body></html>", UNREADABLE, "an HTML page"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", UNREADABLE, "plain text"),
    ],
)
def test_garbage_has_its_exact_verdict(body, verdict, reason):
    """Whatever a buyer sends is read without an exception, quickly, and never taken for a yes."""
    reader = compile_rules(PING)
    answer = BuyerAnswer(status=200, content_type="application/json", body=body)
    assert cpu_s(lambda: reader(answer)) < CHEAP_S
    reading = reader(answer)
    assert reading.verdict is verdict
    assert reading.reason.startswith(reason)


said = st.sampled_from(["ok", "accepted", "no", "", True, 1, None, ["ok"], {"ok": "ok"}])
bids = st.one_of(
    st.floats(), st.integers(-5, 10**18), st.from_regex(r" ?\$?\d{1,3}(,\d{3})?\.?\d{0,8}", fullmatch=True), st.none()
)
answers = st.builds(
    lambda status, bid, nested, around: around.replace(
        b"%", json.dumps({"status": status, "bid": bid, "data": {"bid": nested}}).encode()
    ),
    *(said, bids, st.one_of(bids, said)),
    st.sampled_from([b"%", b" %\r\n", b"\xef\xbb\xbf%", b"[%]", b"%x", b'{"status":%}']),
)


@given(answers, st.sampled_from([200, 201, 302, 404, 500]), st.sampled_from([None, "bid", "data.bid", "data"]))
def test_a_plain_yes_reads_as_any_answer_does(body, status, bid_path) -> None:
    """The short way over the answers of most buyers never differs from the way of all."""
    rules = AnswerRules(accepted=STATUS_OK, bid_path=bid_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lexchange.buyers.answers._compile_plain_yes", lambda rules: None)
        by_the_long_way = read(rules, body, status)
    quick = read(rules, body, status)
    assert replace(quick, document=None) == replace(by_the_long_way, document=None)
    assert quick.document
    assert by_the_long_way.document
    assert quick.document.kind is by_the_long_way.document.kind
    assert repr(quick.document.root) == repr(by_the_long_way.document.root)  # a NaN is equal to nothing


EVERYTHING = AnswerRules(
    accepted=AnswerRule(path="a.b[0].@c", matches="x"),
    rejected=AnswerRule(matches="y"),
    bid_path="a.b",
    reason_path="a",
    price_path="[0]",
)
PIECES = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"a"',
    b":",
    b",",
    b"1e9",
    b"null",
    b"<a>",
    b"</a>",
    b"<b c='x'/>",
    b"&",
    b"=",
    b"a=1",
]
PIECES += [
    b"<?xml version='1.0'?>",
    b"<!--",
    b"-->",
    b"<![CDATA[",
    b"]]>",
    b"&#1;",
    b"x",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
]


@given(st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join), st.text(max_size=20))
def test_read_never_raises(body, content_type):
    """Every answer has a verdict."""
    for rules in (PING, BOTH, EVERYTHING):
        answer = BuyerAnswer(status=200, content_type=content_type, body=body)
        assert compile_rules(rules)(answer).verdict in Verdict


BOMB = b'<!DOCTYPE lolz [<!ENTITY l0 "lol">' + b"".join(
    b'<!ENTITY l%d "%b">' % (level, b"&l%d;" % (level - 1) * 10) for level in range(1, 12)
)


@pytest.mark.parametrize(
    "body",
    [
        b'<?xml version="1.0"?>' + BOMB + b"]><status>&l11;</status>",
        b'<?xml version="1.0"?><!DOCTYPE r SYSTEM "http://169.254.169.254/"><status>ok</status>',
        b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><status>&x;</status>',
        b"<!DOCTYPE status><status>ok</status>",
        '<!DOCTYPE status [<!ENTITY x "ok">]><status>&x;</status>'.encode("utf-16-le"),
        '<!DOCTYPE status [<!ENTITY x "ok">]><status>&x;</status>'.encode("utf-16"),
        b'<?xml version="1.0" encoding="utf-7"?>+ADwAIQ-DOCTYPE x+AD4-<status>ok</status>',
    ],
)
def test_xml_with_a_doctype_is_unreadable(body):
    """No entity is ever expanded or fetched, in whatever encoding its declaration hides."""
    assert read(PING, body, content_type="text/xml").verdict is UNREADABLE
    assert cpu_s(lambda: read(PING, body, content_type="text/xml")) < CHEAP_S


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (rule(), "accepted: expected a path with equals, in, exists or matches, or matches, or http_status"),
        (rule(path="a"), "accepted: path a: expected equals, in, exists or matches beside it"),
        (rule(path="a", http_status=(200,)), "accepted: path a: expected equals"),
        (rule(exists=True), "accepted: expected a path, to say what exists"),
        (rule(path="a", exists=False, one_of=("x",)), "accepted: path a: expected no equals, in or matches beside"),
        (rule(path="a..b", exists=True), "accepted: path 'a..b': expected names divided by dots"),
        (rule(matches="(ok"), "accepted: matches: expected a regular expression"),
        (AnswerRules(accepted=STATUS_OK, rejected=AnswerRule()), "rejected: expected a path"),
        (AnswerRules(accepted=STATUS_OK, bid_path="a."), "path 'a.': expected names"),
        (AnswerRules(accepted=STATUS_OK, reason_path=""), "path '': expected 1 to 32 names"),
    ],
)
def test_rules_are_refused_when_they_say_nothing(rules, expected):
    """A rule that could not mean anything is refused with the configuration."""
    with pytest.raises(ValueError, match="expected") as refusal:
        compile_rules(rules)
    assert str(refusal.value).startswith(expected)
