import json
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexchange.buyers.formats import FORMATS, compile_format
from lexchange.buyers.mapping import UnmappableLead
from lexchange.campaign import BodyFormat

JSON, FORM, XML, QUERY = BodyFormat.JSON, BodyFormat.FORM, BodyFormat.XML, BodyFormat.QUERY
HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'


def encode(body_format: BodyFormat, fields: dict[str, Any], paths: list[str] | None = None) -> bytes:
    return compile_format(body_format, paths or list(fields))(list(fields.items()))


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({}, b"{}"),
        ({"b": "1", "a": 2, "c": 1.5, "d": True}, b'{"b":"1","a":2,"c":1.5,"d":true}'),
        ({"lead.zip": "1", "ref": "2", "lead.who.name": "3"}, b'{"lead":{"zip":"1","who":{"name":"3"}},"ref":"2"}'),
        ({"p[0]": "a", "p[1]": "b"}, b'{"p":["a","b"]}'),
        ({"p[0].n": 1, "p[1].n": 2, "p[0].t": "x"}, b'{"p":[{"n":1,"t":"x"},{"n":2}]}'),
        ({"m[0][0]": 1, "m[0][1]": 2}, b'{"m":[[1,2]]}'),
        ({"[0].a": 1, "[1].a": 2}, b'[{"a":1},{"a":2}]'),
        ({'["a.b"]': 1, "x.@type": "T"}, b'{"a.b":1,"x":{"@type":"T"}}'),
        ({"n": Decimal("1.10"), "m": Decimal("12345678901234567890123")}, b'{"n":1.10,"m":12345678901234567890123}'),
        ({"all": {"a": [1, None]}}, b'{"all":{"a":[1,null]}}'),
    ],
)
def test_json_nests_dotted_paths(fields, body):
    """Dots make objects, [n] makes arrays, in the order of the fields; numbers keep their digits."""
    assert encode(JSON, fields) == body


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"a.b": 1}, b'{"a":{"b":1}}'),
        ({"p[1].n": 2}, b'{"p":[{"n":2}]}'),
        ({}, b"{}"),
    ],
)
def test_json_leaves_out_what_has_no_value(fields, body):
    """An object without values is not sent, and an array closes its gaps."""
    assert encode(JSON, fields, ["a.b", "a.c", "p[0].n", "p[1].n"]) == body


def test_json_array_is_empty_when_no_value_came():
    """A request that is an array stays one."""
    assert encode(JSON, {}, ["[0].a"]) == b"[]"


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({}, b""),
        ({"first name": "Ann Lee", "a": "b&c=d"}, b"first+name=Ann+Lee&a=b%26c%3Dd"),
        ({"lead.zip": "02139", "lead[state]": "CA"}, b"lead.zip=02139&lead[state]=CA"),
        ({"t": True, "f": False, "i": 1, "n": 1.0, "d": Decimal("1.10")}, b"t=true&f=false&i=1&n=1.0&d=1.10"),
        ({"e": "", "u": "é✓", "p": "100%+"}, b"e=&u=%C3%A9%E2%9C%93&p=100%25%2B"),
    ],
)
@pytest.mark.parametrize("body_format", [FORM, QUERY])
def test_form_takes_paths_as_names(body_format, fields, body):
    """A form has flat names, which are the paths as they are written; values are percent-encoded UTF-8."""
    assert encode(body_format, fields) == body


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"lead": "x"}, b"<lead>x</lead>"),
        (
            {"lead.zip": "1", "lead.who.name": "2", "lead.who.age": 3, "lead.ok": True},
            b"<lead><zip>1</zip><who><name>2</name><age>3</age></who><ok>true</ok></lead>",
        ),
        ({"r.@key": "k", "r.bid.@currency": "USD", "r.bid": "5"}, b'<r key="k"><bid currency="USD">5</bid></r>'),
        ({"r.p[0].n": "1", "r.x": "2", "r.p[1].n": "3"}, b"<r><p><n>1</n></p><p><n>3</n></p><x>2</x></r>"),
        ({"r.e": ""}, b"<r><e></e></r>"),
        ({"r.t": "a & <b> \"c\" 'd'\r\n"}, b"<r><t>a &amp; &lt;b&gt; \"c\" 'd'&#13;\n</t></r>"),
        ({"r.@t": "a & <b> \"c\" 'd'\t\r\n"}, b"<r t=\"a &amp; &lt;b&gt; &quot;c&quot; 'd'&#9;&#13;&#10;\"></r>"),
        ({"s:E.@xmlns:s": "urn:soap", "s:E.s:B.zip": "1"}, b'<s:E xmlns:s="urn:soap"><s:B><zip>1</zip></s:B></s:E>'),
    ],
)
def test_xml_nests_elements(fields, body):
    """Dots make elements, [n] repeats them, @name makes attributes."""
    assert encode(XML, fields) == HEAD + body


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({}, b"<r></r>"),
        ({"r.a.b": "1"}, b"<r><a><b>1</b></a></r>"),
        ({"r.p[1]": "2"}, b"<r><p>2</p></r>"),
        ({"r.a.c.@d": "3"}, b'<r><a><c d="3"></c></a></r>'),
    ],
)
def test_xml_leaves_out_what_has_no_value(fields, body):
    """An element without text, children and attributes is not sent; the root always is."""
    assert encode(XML, fields, ["r.a.b", "r.a.c", "r.a.c.@d", "r.p[0]", "r.p[1]"]) == HEAD + body


@pytest.mark.parametrize(
    ("body_format", "paths", "expected"),
    [
        (JSON, ["a", "a"], "a: expected once, got twice"),
        (FORM, ["a", "a"], "a: expected once, got twice"),
        (JSON, ["a", '["a"]'], '["a"]: expected once, it is the same as a'),
        (JSON, ["a", "a.b"], "a.b: expected no fields below a, which has a value"),
        (JSON, ["a.b", "a"], "a: expected no value where other paths have fields"),
        (JSON, ["a[0]", "a.b"], "a.b: expected either names or indexes in one place, not both"),
        (JSON, ["a[1]"], "a[1]: expected index [0] first"),
        (JSON, ["a[0]", "a[2]"], "a[2]: expected index [1] first"),
        (JSON, ["a..b"], "expected names divided by dots"),
        (FORM, [""], "expected a name for every field of a form"),
        (XML, [], "expected at least one field"),
        (XML, ["a.b", "c.d"], "c.d: expected it to start at the one root element, a"),
        (XML, ["a[0].b"], "a[0].b: expected it to start at the one root element, a"),
        (XML, ["a.b", "a.b.c"], "a.b.c: expected no elements in a.b, which has a value"),
        (XML, ["a.b.c", "a.b"], "a.b: expected no value where other paths have elements"),
        (XML, ["a.b", "a.b[0]"], "a.b[0]: expected once, it is the same as a.b"),
        (XML, ["a.@x", "a[0].@x"], "a[0].@x: expected it to start at the one root element"),
        (XML, ["a.b[1]"], "a.b[1]: expected b[0] first"),
        (XML, ["a.b[0][0]"], "a.b[0][0]: expected a name before an index"),
        (XML, ["a.first name"], "expected 'first name' to be an XML name"),
        (XML, ["a.1st"], "expected '1st' to be an XML name"),
        (XML, ["a.b><c"], "expected 'b><c' to be an XML name"),
        (XML, ['a.@b="1'], "expected nothing after the attribute @b"),
        (XML, ["a.@b=1"], "expected 'b=1' to be an XML name"),
        (XML, ["s:a.b"], "s:a: expected a field s:a.@xmlns:s to declare the prefix"),
        (XML, ["a.b.@xmlns:s", "a.s:c"], "s:c: expected a field s:c.@xmlns:s to declare the prefix"),
    ],
)
def test_format_is_refused_when_paths_do_not_fit(body_format, paths, expected):
    """Paths that cannot stand in one request are refused with the configuration, saying what was expected."""
    with pytest.raises(ValueError, match="expected") as refusal:
        compile_format(body_format, paths)
    assert expected in str(refusal.value)


@pytest.mark.parametrize(
    ("body_format", "value", "why"),
    [
        (JSON, "lone \ud800", "a value that JSON can carry"),
        (JSON, [10**30], "a value that JSON can carry"),
        (FORM, "lone \ud800", "text that UTF-8 can carry"),
        (FORM, ["a"], "a single value"),
        (QUERY, {"a": 1}, "a single value"),
        (XML, {"a": 1}, "a single value"),
        (XML, "nul \0", "text without control characters"),
        (XML, "bell \a", "text without control characters"),
        (XML, "lone \ud800", "text without control characters"),
        (XML, "\ufffe", "text without control characters"),
    ],
)
def test_lead_is_unmappable_when_the_format_cannot_carry_it(body_format, value, why):
    """The error names the field and never the value."""
    with pytest.raises(UnmappableLead) as error:
        encode(body_format, {"r.good": "x", "r.bad": value})
    assert str(error.value).startswith(f"r.bad: expected {why}")
    assert "lone" not in str(error.value)


def test_every_format_has_its_entry():
    """The table knows every format a campaign file can name."""
    assert FORMATS.keys() == set(BodyFormat)


# ------------------------------------------------------------------------------------------------- round trips

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
XML_TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff", include_characters="\t\r\n")
)
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=".[]@\"'"), min_size=1, max_size=8)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,6}", fullmatch=True)


@given(st.dictionaries(KEYS, TEXTS, max_size=8))
def test_json_round_trips(fields):
    """An independent reader of JSON finds every value under its key."""
    assert json.loads(encode(JSON, fields)) == fields


@given(st.dictionaries(st.tuples(NAMES, NAMES), TEXTS, max_size=8))
def test_nested_json_round_trips(fields):
    """Nested keys arrive as nested keys."""
    tree = json.loads(encode(JSON, {f"{outer}.{inner}": text for (outer, inner), text in fields.items()}))
    assert {(outer, inner): text for outer, inside in tree.items() for inner, text in inside.items()} == fields


@given(st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=8), st.sampled_from([FORM, QUERY]))
def test_form_round_trips(fields, body_format):
    """An independent reader of forms finds every pair, and no other."""
    read = parse_qsl(encode(body_format, fields).decode("ascii"), keep_blank_values=True, strict_parsing=bool(fields))
    assert read == list(fields.items())


@given(st.dictionaries(NAMES, XML_TEXTS, max_size=8), st.dictionaries(NAMES, XML_TEXTS, max_size=4))
def test_xml_round_trips(fields, attributes):
    """An independent reader of XML finds every text and attribute, and no other element."""
    paths = {f"r.{name}": text for name, text in fields.items()}
    paths |= {f"r.@{name}": text for name, text in attributes.items() if name.lower() != "xmlns"}
    root = ElementTree.fromstring(encode(XML, paths, [*paths, "r.unused"]))
    assert {child.tag: child.text or "" for child in root} == fields
    assert root.attrib == {name: text for name, text in attributes.items() if name.lower() != "xmlns"}
