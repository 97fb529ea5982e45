import pytest

from lexchange.buyers.documents import Value, answer_text, compile_walk, parse_answer, reparse
from lexchange.buyers.paths import MAX_STEPS, parse_path
from tests.cost import CHEAP_S, cpu_s


def walk(body: bytes, path: str, content_type: str = "") -> Value | None:
    return compile_walk(parse_path(path))(parse_answer(body, content_type))


@pytest.mark.parametrize(
    ("text", "steps", "attribute"),
    [
        ("status", ("status",), ""),
        ("data.bids[0].price", ("data", "bids", 0, "price"), ""),
        ("[0].status", (0, "status"), ""),
        ("a[0][1]", ("a", 0, 1), ""),
        ('["a.b"].c', ("a.b", "c"), ""),
        ("data['x[0]'][2]", ("data", "x[0]", 2), ""),
        (r'["say \"hi\" \\"]', ('say "hi" \\',), ""),
        ('data["@id"]', ("data", "@id"), ""),
        ("Lead Info.ZIP+4", ("Lead Info", "ZIP+4"), ""),
        ("response.bid.@currency", ("response", "bid"), "currency"),
        ("soap:Envelope.soap:Body", ("soap:Envelope", "soap:Body"), ""),
    ],
)
def test_path_is_parsed_when_well_formed(text, steps, attribute):
    """Dots nest, [n] counts from 0, quotes take a key literally, and a last @name is an attribute."""
    path = parse_path(text)
    assert (path.steps, path.attribute) == (steps, attribute)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected 1 to 32 names"),
        (".a", "names divided by dots, such as data.bids[0].price, at character 1"),
        ("a..b", "at character 2"),
        ("a.", "at character 2"),
        ("a[0]b", "at character 5"),
        ("a.[0]", "at character 2"),
        ("a[", 'an index such as [0] or a quoted key such as ["a.b"] at character 2'),
        ("a[x]", "an index such as [0]"),
        ("a[-1]", "an index such as [0]"),
        ("a[99999]", "an index such as [0]"),
        ('a["b]', "a quoted key"),
        ("a]", "at character 2"),
        ("a.@b.c", "nothing after the attribute @b"),
        ("a.@", "at character 2"),
        ("@b", "expected 1 to 32 names"),
        (".".join("a" * (MAX_STEPS + 1)), "expected 1 to 32 names"),
    ],
)
def test_path_is_refused_when_malformed(text, expected):
    """A path that cannot be meant says where it broke off and what was expected there."""
    with pytest.raises(ValueError, match="expected") as refusal:
        parse_path(text)
    assert expected in str(refusal.value)


JSON = b"""{"status": "ok", "data": {"bids": [{"price": 5.1, "n": null}, {"price": 7}], "a.b": true, "@type": "T"},
  "twice": 1, "twice": 2, "text": "abc"}"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("status", "ok"),
        ("data.bids[0].price", 5.1),
        ("data.bids[1].price", 7),
        ("data.bids[2].price", None),
        ("data.bids.price", None),
        ("data.bids[0].n", None),
        ('data["a.b"]', True),
        ("data.@type", "T"),
        ("data.bids[0]", {"price": 5.1, "n": None}),
        ("twice", 2),
        ("text[0]", None),
        ("text.length", None),
        ("status.deeper.still", None),
        ("[0]", None),
    ],
)
def test_walk_finds_values_in_json(path, found):
    """A null, a missing key and a step into a text all find nothing; the last of equal keys counts."""
    assert walk(JSON, path) == found


def test_walk_starts_in_the_array_when_json_is_one():
    """An answer that is an array is walked by its index first."""
    assert walk(b'[{"status": "sold"}]', "[0].status") == "sold"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("5.1", "5.1"),
        ("1.0", "1.0"),
        ("18446744073709551615", "18446744073709551615"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("0.123456789012345678", "0.123456789012345678"),
        ("100000000000000000000", "100000000000000000000"),
        ("0.00001", "0.00001"),
    ],
)
def test_walk_keeps_the_digits_of_a_number(number, text):
    """No number passes through a float that has not all its digits."""
    assert str(walk(f'{{"n": {number}}}'.encode(), "n")) == text


XML = b"""<?xml version="1.0"?>
<!-- hello -->
<r:response xmlns:r="urn:x" xmlns:code="urn:code" r:code="7">
  <r:status> accepted </r:status>
  <bid currency="USD"><![CDATA[5 < 6]]></bid>
  <bid>8</bid>
  <message>Rejected: <b>duplicate</b> lead<!-- why -->!</message>
  <empty/>
</r:response>"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("response.status", "accepted"),
        ("r:response.r:status", "accepted"),
        ("response.@code", "7"),
        ("response.bid", "5 < 6"),
        ("response.bid.@currency", "USD"),
        ("response.bid[1]", "8"),
        ("response.bid[1].@currency", None),
        ("response.bid[2]", None),
        ("response.message", "Rejected: duplicate lead!"),
        ("response.empty", ""),
        ("response[0].status", "accepted"),
        ("response[1].status", None),
        ("response.absent", None),
        ("status", None),
        ("[0].status", None),
        ("response[0][0]", None),
    ],
)
def test_walk_finds_texts_in_xml(path, found):
    """Paths start at the root, ignore prefixes, count same-named siblings, and find an element's whole text."""
    assert walk(XML, path) == found


@pytest.mark.parametrize(
    ("path", "found"),
    [("status", "a b"), ("data.price", "5.00"), ("empty", ""), ("twice", "2"), ('["x[y]"]', "1"), ("absent", None)],
)
def test_walk_takes_the_path_as_a_name_in_a_form(path, found):
    """In a form the path is the name as it is written; a quoted key reaches names that no path can spell."""
    assert walk(b"status=a+b&data.price=5.00&empty=&twice=1&twice=2&x%5By%5D=1", path, FORM) == found


FORM = "application/x-www-form-urlencoded; charset=utf-8"


@pytest.mark.parametrize(
    ("body", "content_type", "kind"),
    [
        (b'{"a": 1}', "text/html", "json"),
        (b'\xef\xbb\xbf  {"a": 1}\n', FORM, "json"),
        (b"[1]", "", "json"),
        (b"[OK] thanks", "text/plain", "text"),
        (b"[OK] thanks", "application/json", "broken"),
        (b'{"a": ', "application/json", "broken"),
        (b"<a/>", "application/json", "xml"),
        (b'<?xml version="1.0" encoding="iso-8859-1"?><a>\xe9</a>', "", "xml"),
        (b"<a><b></a>", "text/xml", "broken"),
        (b"<!DOCTYPE a><a/>", "text/xml", "broken"),
        (b"<\0a\0/\0>\0", "text/xml", "broken"),
        (b"<!doctype html><p>Down", "application/json", "html"),
        (b"<html><body/></html>", "text/xml", "html"),
        (b"<!-- proxy --><HTML></HTML>", "", "html"),
        (b"<h1>502 Bad Gateway</h1>", "", "html"),
        (b"a=1&b=2", "text/plain", "form"),
        (b"reason=bad zip", "text/html", "form"),
        (b"OK", FORM, "text"),
        (b"Error: x=1 is wrong", "text/plain", "text"),
        (b'"quoted"', "application/json", "text"),
        (b"5.95", "application/json", "text"),
        (b"caf\xe9", "text/plain; charset=ISO-8859-1", "text"),
        (b"caf\xe9", "text/plain", "broken"),
        (b"caf\xe9", "text/plain; charset=punycode", "broken"),
        (b" \r\n", "application/json", "empty"),
        (b"", "", "empty"),
    ],
)
def test_answer_is_what_its_content_says(body, content_type, kind):
    """Servers lie about the type, so the type only decides where the content leaves it open."""
    document = parse_answer(body, content_type)
    assert document.kind == kind
    assert document.has_paths == (kind in ("json", "xml", "form"))


@pytest.mark.parametrize(
    ("body", "content_type", "path", "found"),
    [
        (b'{"token": "\xc3\xa9"}', "application/json", "token", "\xe9"),
        (b'<?xml version="1.0" encoding="us-ascii"?><r><token>T1</token></r>', "", "r.token", "T1"),
        ('<?xml version="1.0" encoding="utf-8"?><r>é</r>'.encode(), "", "r", "\xe9"),
        (b"token=T1&x=1", "text/plain", "token", "T1"),
    ],
)
def test_stored_answer_is_read_again(body, content_type, path, found):
    """An answer stored as text gives the same values as when it came."""
    assert compile_walk(parse_path(path))(reparse(body.decode(), content_type)) == found


def test_reparse_takes_text_as_decoded_when_the_declaration_says_otherwise():
    """The stored text is Unicode already; its XML declaration speaks of bytes that are gone."""
    text = '<?xml version="1.0" encoding="iso-8859-1"?><r>\xe9</r>'
    assert compile_walk(parse_path("r"))(reparse(text, "")) == "\xe9"
    assert answer_text(text.encode("latin-1"), "text/xml") == text
    in_json = '{"echo": "<?xml version=\'1.0\'?>"}'
    assert compile_walk(parse_path("echo"))(reparse(in_json, "")) == "<?xml version='1.0'?>"


@pytest.mark.parametrize(
    "body",
    [
        b"<a>" * 87_000,
        b"<a>" * 9_999 + b"</a>" * 9_999,
        b"<r xmlns='" + b"u" * 200_000 + b"'>" + b"<a/>" * 9_000 + b"</r>",
        b"<r " + b" ".join(b'a%d=""' % number for number in range(20_000)) + b"/>",
        b"[" * 262_144,
        b'{"a":' * 1_000 + b"1" + b"}" * 1_000,
        b'{"n":' + b"9" * 262_000 + b"}",
        b'{"n": 0.12345678901234567890, "m": [' + b"1," * 30_000 + b"1]}",
        b"&".join(b"a=%d" % number for number in range(30_000)),
        b"a" * 262_144,
        b"a=" * 131_072,
    ],
    ids=lambda body: body[:12].decode(),
)
def test_hostile_answer_costs_little(body):
    """No answer within the size limit keeps the loop busy."""
    found = compile_walk(parse_path("n"))
    assert cpu_s(lambda: found(parse_answer(body, ""))) < CHEAP_S
