from dataclasses import fields
from decimal import Decimal
from typing import Any, cast

import pytest

from lexchange.buyers.documents import parse_answer
from lexchange.buyers.mapping import MappingValues, UnmappableLead, compile_mapping
from lexchange.campaign import Cast, MappedField

VALUES = MappingValues(
    lead={"zipcode": "02139", "state": "CA", "age": "41", "home_owner": "Yes", "empty": ""},
    ping_id="PING-1",
    campaign_id="home",
    campaign_name="Home insurance",
    src="SRC_MAIN",
    lead_id="L-1",
    delivery_id="DEL-1",
    now_ms=1_795_489_445_999,
    ping_response=parse_answer(b'{"token": "T", "n": 7, "r": 1.50, "ok": true, "none": null, "o": {"a": 1}}', ""),
)
BARE = MappingValues(lead={}, ping_id=None, campaign_id="home", campaign_name="Home", src="S", now_ms=0)


def a_field(source: str | None = None, **field: Any) -> MappedField:
    """The field x of a buyer, mostly from one source."""
    return MappedField(path="x", **({"sources": (source,)} if source else {}) | field)


def mapped(values: MappingValues = VALUES, **field):
    """The one value that a field maps to; None when it is left out."""
    found = compile_mapping([a_field(**field)])(values)
    return found[0][1] if found else None


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("lead.zipcode", "02139"),
        ("lead.empty", ""),
        ("lead.absent", None),
        ("ping.ping_id", "PING-1"),
        ("campaign.id", "home"),
        ("campaign.name", "Home insurance"),
        ("source.src", "SRC_MAIN"),
        ("lead_id", "L-1"),
        ("delivery_id", "DEL-1"),
        ("now", "2026-11-24T03:04:05Z"),
        ("ping_response.token", "T"),
        ("ping_response.n", 7),
        ("ping_response.ok", True),
        ("ping_response.none", None),
        ("ping_response.absent.deeper", None),
        ("ping_response.o", {"a": 1}),
    ],
)
def test_source_gives_its_value(source, value):
    """Every source gives what it names, with its JSON type; a null or missing value leaves the field out."""
    assert mapped(source=source) == value


@pytest.mark.parametrize("source", ["lead.x", "ping.ping_id", "lead_id", "delivery_id", "ping_response.token"])
def test_field_is_left_out_when_there_is_no_value_yet(source):
    """A ping has no lead_id and no ping answer: such fields are left out, or take their default."""
    assert compile_mapping([a_field(source)])(BARE) == []
    assert mapped(BARE, source=source, default="none") == "none"


def test_ping_response_walks_an_array_when_the_answer_is_one():
    """`ping_response[0]` reaches into an answer that is an array."""
    values = MappingValues(**{**_fields(BARE), "ping_response": parse_answer(b'[{"token": "T"}]', "")})
    assert mapped(values, source="ping_response[0].token") == "T"


def _fields(values: MappingValues) -> dict[str, Any]:
    return {field.name: getattr(values, field.name) for field in fields(cast(Any, values))}


@pytest.mark.parametrize("constant", ["text", "", 7, 1.5, True, False, 0])
def test_constant_keeps_its_type(constant):
    """A constant is sent as the JSON value that the configuration holds."""
    value = mapped(constant=constant)
    assert (value, type(value)) == (constant, type(constant))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ({"source": "lead.state", "value_map": {"CA": "California"}}, "California"),
        ({"source": "lead.state", "value_map": {"NY": "New York"}}, "CA"),
        ({"source": "lead.state", "value_map": {"NY": "New York"}, "default": "Other"}, "Other"),
        ({"source": "lead.absent", "value_map": {"": "blank"}, "default": "Other"}, "Other"),
        ({"source": "lead.empty", "value_map": {"": "blank"}}, "blank"),
        ({"source": "ping_response.ok", "value_map": {"true": "Y"}}, "Y"),
        ({"source": "ping_response.n", "value_map": {"7": "70"}, "cast": Cast.INTEGER}, 70),
        ({"source": "ping_response.o", "value_map": {"7": "70"}}, {"a": 1}),
        ({"source": "lead.home_owner", "value_map": {"Yes": "1"}, "cast": Cast.BOOLEAN}, True),
    ],
)
def test_value_map_translates_before_default_and_cast(field, value):
    """Value, then map, then default for what is missing or unmapped, then cast."""
    result = mapped(**field)
    assert (result, type(result)) == (value, type(value))


@pytest.mark.parametrize(
    ("cast", "text", "value"),
    [
        (Cast.TEXT, "02139", "02139"),
        (Cast.INTEGER, "41", 41),
        (Cast.INTEGER, "-41", -41),
        (Cast.INTEGER, "007", 7),
        (Cast.INTEGER, "9" * 18, 999_999_999_999_999_999),
        (Cast.NUMBER, "41", 41),
        (Cast.NUMBER, "1.10", Decimal("1.10")),
        (Cast.NUMBER, ".5", Decimal("0.5")),
        (Cast.NUMBER, "9" * 19, Decimal("9999999999999999999")),
        (Cast.BOOLEAN, "true", True),
        (Cast.BOOLEAN, "YES", True),
        (Cast.BOOLEAN, "0", False),
        (Cast.BOOLEAN, "off", False),
    ],
)
def test_cast_gives_the_type(cast, text, value):
    """Text becomes the type that the buyer wants; a number keeps every digit."""
    result = mapped(MappingValues(**{**_fields(BARE), "lead": {"x": text}}), source="lead.x", cast=cast)
    assert (result, type(result), str(result)) == (value, type(value), str(value))


@pytest.mark.parametrize(
    ("cast", "text"),
    [
        (Cast.INTEGER, "4.5"),
        (Cast.INTEGER, "forty"),
        (Cast.INTEGER, ""),
        (Cast.INTEGER, "1" * 19),
        (Cast.INTEGER, "\u0664\u0661"),
        (Cast.INTEGER, "4 1"),
        (Cast.INTEGER, "41\n"),
        (Cast.NUMBER, "NaN"),
        (Cast.NUMBER, "inf"),
        (Cast.NUMBER, "1e999"),
        (Cast.NUMBER, "1,5"),
        (Cast.NUMBER, "0x10"),
        (Cast.NUMBER, "."),
        (Cast.BOOLEAN, "maybe"),
        (Cast.BOOLEAN, "2"),
    ],
)
def test_lead_is_unmappable_when_a_cast_fails_without_default(cast, text):
    """The error names the buyer's field and its source, never the value; with a default, that is sent."""
    values = MappingValues(**{**_fields(BARE), "lead": {"x": text}})
    with pytest.raises(UnmappableLead) as error:
        mapped(values, source="lead.x", cast=cast)
    assert str(error.value) == f"x: lead.x cannot be sent as {cast}"
    assert mapped(values, source="lead.x", cast=cast, default="1") == {Cast.BOOLEAN: True}.get(cast, 1)


@pytest.mark.parametrize(
    ("source", "cast", "value"),
    [
        ("ping_response.n", Cast.TEXT, "7"),
        ("ping_response.r", Cast.TEXT, "1.5"),
        ("ping_response.ok", Cast.TEXT, "true"),
        ("ping_response.n", Cast.NUMBER, 7),
        ("ping_response.r", Cast.NUMBER, 1.5),
        ("ping_response.ok", Cast.BOOLEAN, True),
    ],
)
def test_cast_takes_json_values(source, cast, value):
    """A value of the buyer's own answer is cast like a text."""
    result = mapped(source=source, cast=cast)
    assert (result, type(result)) == (value, type(value))


@pytest.mark.parametrize(
    ("source", "cast"),
    [
        ("ping_response.ok", Cast.INTEGER),
        ("ping_response.ok", Cast.NUMBER),
        ("ping_response.r", Cast.INTEGER),
        ("ping_response.o", Cast.TEXT),
        ("ping_response.o", Cast.BOOLEAN),
    ],
)
def test_cast_refuses_json_values_that_are_something_else(source, cast):
    """A boolean is no number, a fraction no integer, and an object no scalar."""
    with pytest.raises(UnmappableLead):
        mapped(source=source, cast=cast)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({}, "x: expected either a value or where it comes from"),
        ({"source": "lead.a", "constant": "b"}, "x: expected either a value or where it comes from"),
        ({"source": "lead."}, "expected one of lead.<field>, ping.ping_id"),
        ({"source": "leads.a"}, "expected one of lead.<field>"),
        ({"source": "ping_response"}, "ping_response.<path>"),
        ({"source": "ping_response."}, "expected 1 to 32 names"),
        ({"source": "ping_responsetoken"}, "expected one of"),
        ({"source": "lead.a", "default": "b", "cast": Cast.INTEGER}, "x: expected a value that can be sent as integer"),
        ({"constant": "b", "cast": Cast.NUMBER}, "x: expected a value that can be sent as number"),
        ({"constant": 10**18}, "x: expected a number of at most 18 digits, or a quoted text"),
        ({"constant": 1e400}, "x: expected a finite number"),
        ({"source": "lead.a", "default": float("nan")}, "x: expected a finite number"),
    ],
)
def test_mapping_is_refused_when_it_cannot_work(field, expected):
    """What can be known from the configuration is refused with it, not with a lead."""
    with pytest.raises(ValueError, match="expected") as refusal:
        compile_mapping([a_field(**field)])
    assert expected in str(refusal.value)
