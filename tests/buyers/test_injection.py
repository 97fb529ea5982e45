import json
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import pytest

from lexchange.buyers.call import compile_call
from lexchange.buyers.client import BuyerRequest
from lexchange.buyers.mapping import MappingValues, UnmappableLead
from lexchange.campaign import AnswerRule, AnswerRules, BodyFormat, BuyerDelivery, MappedField

HOSTILE = [
    'a","admin":"1',
    "a', 'admin': '1",
    '{"$ne": null}',
    '"}],"bid":999,"x":[{"y":"',
    "\\",
    '\\"',
    "\\u0022,\\u0022x\\u0022:1",
    "&x=1",
    "a=b&a=c",
    "%26x%3D1",
    "+%2B ;x=1",
    "?x=1#frag",
    "</first_name><admin>1</admin><first_name>",
    "<![CDATA[x]]>",
    "]]>",
    "<!-- x -->",
    "<?php system('id') ?>",
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    "<!ENTITY x 'y'>",
    "&x;",
    "&amp;lt;",
    "&#0;",
    "&#x26;",
    '" onload="alert(1)',
    "' or '1'='1",
    "Robert'); DROP TABLE leads;--",
    "line\r\nX-Injected: 1\r\n\r\nbody",
    "line\nfeed\ttab\rreturn",
    "  spaces  ",
    "${jndi:ldap://x/a}",
    "{{7*7}}",
    "{% raw %}",
    "%(x)s {0} %s",
    "$(id) `id` ; id | id",
    "=cmd|' /C calc'!A0",
    "Zoë Łukasz 李雷 ☃",
    "👩‍👩‍👧 🏳️‍🌈 \U0010ffff",
    "e\u0301 \u00e9",
    "\u202egnp.exe \u200b\u2028\u2029",
    "\ufeffbom",
    "\x7f\x85",
    "../../etc/passwd",
    "[0]",
    "a.b[0].@c",
    "A" * 4_096,
]
ONLY_ESCAPED = ["nul\0byte", "\x01\x08\x0b\x0c\x0e\x1f\x1b[31m", "\ufffe \uffff"]  # XML 1.0 has no way to write these

ANSWER = AnswerRules(accepted=AnswerRule(http_status=(200,)))


def send(body_format: BodyFormat, prefix: str, text: str) -> BuyerRequest:
    delivery = BuyerDelivery(
        url="https://buyer.example/post?campaign=7",
        format=body_format,
        timeout_ms=800,
        fields=(
            MappedField(path=f"{prefix}before", constant="b"),
            MappedField(path=f"{prefix}hostile", sources=("lead.hostile",)),
            MappedField(path=f"{prefix}after", constant="a"),
        ),
        answer=ANSWER,
    )
    values = MappingValues(lead={"hostile": text}, ping_id=None, campaign_id="c", campaign_name="C", src="S", now_ms=0)
    return compile_call(delivery).build(values)


def expected(text: str) -> dict[str, str]:
    return {"before": "b", "hostile": text, "after": "a"}


@pytest.mark.parametrize("text", HOSTILE + ONLY_ESCAPED)
def test_hostile_value_arrives_as_itself_in_json(text):
    """No value becomes a second key, flat or nested."""
    assert json.loads(send(BodyFormat.JSON, "", text).body) == expected(text)
    assert json.loads(send(BodyFormat.JSON, "lead.", text).body) == {"lead": expected(text)}


@pytest.mark.parametrize("text", HOSTILE + ONLY_ESCAPED)
def test_hostile_value_arrives_as_itself_in_a_form(text):
    """No value becomes a second parameter."""
    body = send(BodyFormat.FORM, "", text).body.decode("ascii")
    assert parse_qsl(body, keep_blank_values=True, strict_parsing=True) == list(expected(text).items())


@pytest.mark.parametrize("text", HOSTILE + ONLY_ESCAPED)
def test_hostile_value_arrives_as_itself_in_a_query(text):
    """No value leaves its parameter, ends the URL, or breaks the request line."""
    request = send(BodyFormat.QUERY, "", text)
    assert request.body == b""
    assert not set(request.query) & set(' #\r\n\0"<>')
    assert parse_qsl(request.query, keep_blank_values=True, strict_parsing=True) == list(expected(text).items())


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_value_arrives_as_itself_in_xml(text):
    """No value becomes an element, an attribute or an entity."""
    root = ElementTree.fromstring(send(BodyFormat.XML, "lead.", text).body)
    assert [(child.tag, child.text, child.attrib) for child in root] == [
        ("before", "b", {}),
        ("hostile", text, {}),
        ("after", "a", {}),
    ]
    root = ElementTree.fromstring(send(BodyFormat.XML, "lead.@", text).body)
    assert (root.attrib, len(root)) == (expected(text), 0)


@pytest.mark.parametrize("text", ONLY_ESCAPED)
@pytest.mark.parametrize("prefix", ["lead.", "lead.@"])
def test_lead_is_unmappable_when_xml_has_no_way_to_write_it(prefix, text):
    """A character that XML cannot carry is never dropped in silence: the lead does not go to this buyer."""
    with pytest.raises(UnmappableLead) as error:
        send(BodyFormat.XML, prefix, text)
    assert str(error.value) == f"{prefix}hostile: expected text without control characters, which XML cannot carry"
