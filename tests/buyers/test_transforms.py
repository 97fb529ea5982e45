"""Transforms: what each makes of good, odd and hostile texts, and what is refused when the file is read."""

import hashlib
import json
import re
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lexchange.buyers.call import compile_call
from lexchange.buyers.date_patterns import compile_pattern
from lexchange.buyers.mapping import MappingValues, UnmappableLead
from lexchange.buyers.transforms import TRANSFORMS, compile_transforms
from lexchange.campaign import BodyFormat, BuyerDelivery, Cast, MappedField
from lexchange.filters import AllOf, FieldRule, FilterOp
from lexchange.transforms import Transform, TransformName
from lexchange.us_states import STATE_NAMES
from tests.buyers.test_format_cases import load_delivery, values_of
from tests.buyers.test_injection import ANSWER, HOSTILE
from tests.buyers.test_mapping import a_field, mapped

NOW_MS = 1_795_489_445_000  # 2026-11-24T03:04:05Z: the evening before, in America
DOCS = Path(__file__).parents[2] / "docs" / "campaign-file.md"


def step(name: str, *arguments: str | int) -> Transform:
    return Transform(name=TransformName(name), arguments=arguments)


def changed(text: str, *steps: Transform) -> str | None:
    return compile_transforms(steps)(text, NOW_MS)


@pytest.mark.parametrize(
    ("transform", "text", "result"),
    [
        (step("trim"), "  Ann \t", "Ann"),
        (step("trim"), "   ", ""),
        (step("upper"), "straße", "STRASSE"),
        (step("lower"), "Ann@Example.COM", "ann@example.com"),
        (step("title"), "MARY-JANE o'neil", "Mary-Jane O'Neil"),
        (step("title"), "JOHN'S 3RD st. (north)", "John's 3rd St. (North)"),
        (step("title"), "élodie d'angelo", "Élodie D'Angelo"),
        (step("digits"), "+1 (617) 555-0123", "16175550123"),
        (step("digits"), "call me", ""),
        (step("digits"), "\u0664\u0661x7", "7"),
        (step("state_code"), " california ", "CA"),
        (step("state_code"), "ny", "NY"),
        (step("state_code"), "Virgin Islands", "VI"),
        (step("state_code"), "Ontario", None),
        (step("state_name"), "dc", "District of Columbia"),
        (step("state_name"), "NEW YORK", "New York"),
        (step("state_name"), "XX", None),
        (step("epoch"), "2026-11-24T00:00:00Z", "1795478400"),
        (step("epoch"), "2026-11-23T19:00:00-05:00", "1795478400"),
        (step("epoch"), "2026-11-24", "1795478400"),
        (step("epoch"), "1969-12-31T23:59:59", "-1"),
        (step("epoch_ms"), "2026-11-24T00:00:00.250Z", "1795478400250"),
        (step("epoch"), "yesterday", None),
        (step("md5"), "ann@example.com", "257c57037d384ae37ea27a07e8a01665"),
        (step("sha1"), "é", "bf15be717ac1b080b4f1c456692825891ff5073d"),
        (step("sha256"), "+16175550123", hashlib.sha256(b"+16175550123").hexdigest()),
        (step("first", 3), "6175550123", "617"),
        (step("first", 30), "617", "617"),
        (step("last", 4), "6175550123", "0123"),
        (step("prefix", "1"), "6175550123", "16175550123"),
        (step("suffix", " USD"), "250", "250 USD"),
        (step("replace", "-", ""), "02139-1234", "021391234"),
        (step("replace", ".", "!"), "a.b.c", "a!b!c"),
        (step("split", " ", -1), "Ann Mary Lee", "Lee"),
        (step("split", ", ", 1), "Cambridge, MA", "MA"),
        (step("split", "-", 2), "a-b", ""),
        (step("split", "-", -3), "a-b", ""),
        (step("round", 0), "150000.50", "150001"),
        (step("round", 0), "-0.5", "-1"),
        (step("round", 2), "7.225", "7.23"),
        (step("round", 2), "7", "7.00"),
        (step("round", 6), "12345678901234567890.1234565", "12345678901234567890.123457"),
        (step("round", 2), "1e30", None),
        (step("round", 2), "1e-400", "0.00"),
        (step("round", 2), "seven", None),
    ],
)
def test_step_makes_of_a_text(transform, text, result):
    """None where a step makes no sense of it, and nothing where nothing is left."""
    assert changed(text, transform) == result


@pytest.mark.parametrize(
    ("transform", "text", "result"),
    [
        (step("e164"), "(617) 555-0123", "+16175550123"),
        (step("e164"), "1-617-555-0123", "+16175550123"),
        (step("e164"), " +1 617.555.0123 ", "+16175550123"),
        (step("e164"), "617-555-0123 ext. 7", "+16175550123"),
        (step("e164"), "+44 20 7946 0958", "+442079460958"),
        (step("e164", "GB"), "020 7946 0958", "+442079460958"),
        (step("e164", "DE"), "030 901820", "+4930901820"),
        (step("e164"), "12345", None),
        (step("e164"), "none", None),
        (step("national"), "+1 (617) 555-0123", "6175550123"),
        (step("national", "GB"), "+44 (0)20 7946 0958", "2079460958"),
        (step("national", "US"), "+44 20 7946 0958", None),
        (step("national", "US"), "555-0123", None),
    ],
)
def test_phone_has_one_form(transform, text, result):
    """However it was typed; the country is that of numbers without a country code."""
    assert changed(text, transform) == result


@pytest.mark.parametrize(
    ("transform", "text", "result"),
    [
        (step("date", "MM/DD/YYYY"), "1985-11-25", "11/25/1985"),
        (step("date", "M/D/YY"), "1985-01-05", "1/5/85"),
        (step("date", "D MMM YYYY"), "2024-02-29", "29 Feb 2024"),
        (step("date", "YYYYMMDD"), "2024-02-29T10:00:00Z", "20240229"),
        (step("date", "YYYY-MM-DDTHH:mm:ssZ"), "2026-11-24 09:30", "2026-11-24T09:30:00Z"),
        (step("date", "YYYY-MM-DD", "MM/DD/YYYY"), "11/25/1985", "1985-11-25"),
        (step("date", "YYYY-MM-DD", "M/D/YY"), "1/5/68", "2068-01-05"),
        (step("date", "YYYY-MM-DD", "M/D/YY"), "1/5/69", "1969-01-05"),
        (step("date", "YYYY-MM-DD", "D MMM YYYY"), "5 dec 2024", "2024-12-05"),
        (step("date", "YYYY-MM-DD", "D MMM YYYY"), "5 Foo 2024", None),
        (step("date", "HH:mm", "MM/DD/YYYY HH:mm"), "11/25/1985 07:08", "07:08"),
        (
            step("date", "MM/DD/YYYY HH:mm", "YYYY-MM-DD", "America/New_York"),
            "2026-11-24T03:04:05Z",
            "11/23/2026 22:04",
        ),
        (step("date", "MM/DD/YYYY", "YYYY-MM-DD", "Asia/Tokyo"), "2026-11-24", "11/24/2026"),
        (step("date", "MM/DD/YYYY", "YYYY-MM-DD", "Asia/Tokyo"), "2026-11-24T23:00", "11/24/2026"),
        (step("date", "YYYY-MM-DD HH:mm", "YYYY-MM-DD", "Asia/Tokyo"), "9999-12-31T20:00:00Z", None),
        (step("date", "YYYY-MM-DD HH:mm", "YYYY-MM-DD", "America/New_York"), "0001-01-01T00:00:00Z", None),
        (step("date", "MM/DD/YYYY"), "02/30/2024", None),
        (step("date", "MM/DD/YYYY"), "2023-02-29", None),
        (step("date", "YYYY-MM-DD", "MM/DD/YYYY"), "02/30/2024", None),
        (step("date", "YYYY-MM-DD", "MM/DD/YYYY"), "11/25/1985 x", None),
        (step("age"), "1985-11-24", "41"),
        (step("age"), "1985-11-25", "40"),
        (step("age", "America/New_York"), "1985-11-24", "40"),  # there it is still the 23rd
        (step("age", "UTC", "MM/DD/YYYY"), "11/24/1985", "41"),
        (step("age"), "2026-11-24", "0"),
        (step("age"), "2026-11-25", None),
        (step("age"), "unknown", None),
    ],
)
def test_dates_change_their_form(transform, text, result):
    """A plain date never moves to another day; a time that tells its offset moves with the zone."""
    assert changed(text, transform) == result


@pytest.mark.parametrize(("today", "years"), [("2027-02-28", "22"), ("2027-03-01", "23")])
def test_age_of_a_leap_day_rises_on_the_first_of_march(today, years):
    """Where a year has no 29 February, its birthday is the day after the 28th."""
    now_s = int(changed(today, step("epoch")) or 0)
    assert compile_transforms([step("age")])("2004-02-29", now_s * 1000) == years


def test_steps_go_in_their_order():
    """Each sees what the one before it made; where nothing is left, nothing follows."""
    assert changed("Ann@X.org ", step("trim"), step("lower"), step("md5")) == hashlib.md5(b"ann@x.org").hexdigest()
    assert changed("(617) 555-0123", step("national"), step("first", 3), step("prefix", "area ")) == "area 617"
    assert changed("none", step("digits"), step("prefix", "+")) == ""
    assert changed("", step("sha256")) == ""
    assert changed("Ontario", step("state_code"), step("lower")) is None


def test_every_name_has_its_step():
    """A name that the file takes is one that works."""
    assert set(TRANSFORMS) == set(TransformName)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (step("date", "DD/QQ/YYYY"), "expected a date pattern such as MM/DD/YYYY"),
        (step("date", "%Y-%m-%d"), "expected a date pattern"),
        (step("date", "-"), "expected a date pattern"),
        (step("date", "YYYY", "MM/YYYY"), "expected a date pattern with year, month and day; got MM/YYYY"),
        (step("e164", "XX"), "expected a country of two letters, such as US; got XX"),
    ],
)
def test_step_is_refused_when_it_cannot_work(transform, expected):
    """Before any lead."""
    with pytest.raises(ValueError, match="expected") as refusal:
        compile_transforms([transform])
    assert expected in str(refusal.value)


# ------------------------------------------------------------------------------------------------------ in a mapping


def test_transforms_come_before_map_default_and_cast():
    """The order that the documentation gives."""
    steps = (step("upper"),)
    assert mapped(source="lead.home_owner", transforms=steps, value_map={"YES": "1"}, cast=Cast.INTEGER) == 1
    assert mapped(source="ping_response.n", transforms=(step("prefix", "0"),)) == "07"
    assert mapped(source="lead.absent", transforms=steps, default="x") == "x"
    assert mapped(source="lead.state", transforms=(step("digits"),)) is None
    assert mapped(source="lead.state", transforms=(step("digits"),), default="x") == "x"
    assert mapped(source="lead.zipcode", transforms=(step("age"),), default="x") == "x"


def test_lead_is_unmappable_when_a_step_makes_no_sense_of_it():
    """It says which field and which steps, never the value."""
    with pytest.raises(UnmappableLead) as error:
        mapped(source="lead.zipcode", transforms=(step("trim"), step("age")))
    assert str(error.value) == "x: lead.zipcode cannot go through trim, age"
    with pytest.raises(UnmappableLead):
        mapped(source="ping_response.o", transforms=(step("trim"),))


def test_several_sources_are_joined_or_the_first_counts():
    """What is missing or empty leaves no gap."""
    names = ("lead.empty", "lead.absent", "lead.state", "lead.zipcode")
    assert mapped(sources=names) == "CA"
    assert mapped(sources=names, join="-") == "CA-02139"
    assert mapped(sources=names, join="", transforms=(step("lower"),)) == "ca02139"
    assert mapped(sources=names[:2]) is None
    assert mapped(sources=names[:2], join="-", default="?") == "?"
    assert mapped(sources=("ping_response.n", "ping_response.ok"), join=" ") == "7 true"


def test_field_is_left_out_when_its_condition_does_not_hold():
    """Constants too; the default is no way round it."""
    in_california = AllOf(rules=(FieldRule(field="state", op=FilterOp.EQ, value=("CA",)),))
    elsewhere = AllOf(rules=(FieldRule(field="state", op=FilterOp.NE, value=("CA",)),))
    assert mapped(source="lead.zipcode", when=in_california) == "02139"
    assert mapped(source="lead.zipcode", default="x", when=elsewhere) is None
    assert mapped(constant=7, when=in_california) == 7
    assert mapped(constant=7, when=elsewhere) is None


def test_field_that_is_left_out_is_never_unmappable():
    """Its condition is looked at first."""
    elsewhere = AllOf(rules=(FieldRule(field="state", op=FilterOp.NE, value=("CA",)),))
    assert mapped(source="lead.state", cast=Cast.INTEGER, when=elsewhere) is None


# ------------------------------------------------------------------------------------------------------- properties

# Steps that any text can go through, with what they make of it said in other words than theirs.
WORDS: dict[tuple[Transform, ...], Any] = {
    (step("upper"),): str.upper,
    (step("trim"), step("lower")): lambda text: text.strip().lower(),
    (step("first", 7),): lambda text: text[0:7],
    (step("last", 5),): lambda text: "".join(list(text)[-5:]),
    (step("prefix", '<"&'),): lambda text: f'<"&{text}',
    (step("replace", "a", "b"),): lambda text: "".join("b" if char == "a" else char for char in text),
}


def read_back(body_format: BodyFormat, sent: Any) -> Any:
    """The field `x`, as a reader of this format finds it."""
    if body_format is BodyFormat.JSON:
        found = json.loads(sent.body)
        assert list(found) == ["before", "x", "after"]
        return found["x"]
    if body_format is BodyFormat.XML:
        root = ElementTree.fromstring(sent.body)
        assert [child.tag for child in root] == ["before", "x", "after"]
        return root[1].text
    text = sent.query if body_format is BodyFormat.QUERY else sent.body.decode("ascii")
    pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True)
    assert [name for name, _ in pairs] == ["before", "x", "after"]
    return pairs[1][1]


def send(body_format: BodyFormat, field: MappedField, text: str) -> Any:
    root = "root." if body_format is BodyFormat.XML else ""
    placed = [MappedField(path="before", constant="b"), field, MappedField(path="after", constant="a")]
    delivery = BuyerDelivery(
        url="https://buyer.example/",
        format=body_format,
        timeout_ms=800,
        fields=tuple(
            MappedField(path=root + each.path, sources=each.sources, constant=each.constant, transforms=each.transforms)
            for each in placed
        ),
        answer=ANSWER,
    )
    values = MappingValues(lead={"x": text}, ping_id=None, campaign_id="c", campaign_name="C", src="S", now_ms=0)
    return compile_call(delivery).build(values)


@pytest.mark.parametrize("body_format", BodyFormat)
@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("steps", WORDS, ids=lambda steps: "+".join(each.name for each in steps))
def test_hostile_value_arrives_as_exactly_what_its_steps_make(body_format, text, steps):
    """A transform opens no door that the format had closed."""
    expected = WORDS[steps](text)
    assert read_back(body_format, send(body_format, a_field("lead.x", transforms=steps), text)) == expected


@given(text=st.text(st.characters(codec="utf-8"), min_size=1), steps=st.sampled_from(list(WORDS)))
def test_any_value_comes_back_from_json_and_a_form(text, steps):
    """What goes out can be read back, whatever it is."""
    expected = WORDS[steps](text)
    for body_format in (BodyFormat.JSON, BodyFormat.FORM, BodyFormat.QUERY):
        if expected:
            assert read_back(body_format, send(body_format, a_field("lead.x", transforms=steps), text)) == expected


PATTERNS = ["MM/DD/YYYY", "D.M.YYYY", "YYYYMMDD", "D MMM YYYY", "YYYY-MM-DD"]


@given(day=st.dates(min_value=date(1000, 1, 1)), pattern=st.sampled_from(PATTERNS))
def test_date_comes_back_from_every_pattern(day, pattern):
    """Written and read again it is the same day."""
    compiled = compile_pattern(pattern)
    assert compiled.read is not None
    assert compiled.read(compiled.write(day)) == day


MOMENTS = st.datetimes(timezones=st.timezones()).map(datetime.isoformat)


@given(text=st.text(max_size=40) | MOMENTS, steps=st.lists(st.sampled_from(sorted(TransformName)), max_size=4))
def test_no_text_breaks_a_step(text, steps):
    """A lead may hold anything."""
    arguments: dict[str, tuple[str | int, ...]] = {
        "date": ("MM/DD/YYYY", "YYYY-MM-DD", "Asia/Tokyo"),
        "first": (3,),
        "last": (3,),
        "prefix": ("a",),
        "suffix": ("b",),
        "replace": ("a", "b"),
        "split": (" ", 1),
        "round": (2,),
    }
    result = changed(text, *(step(name, *arguments.get(name, ())) for name in steps))
    assert result is None or isinstance(result, str)


def test_state_goes_there_and_back():
    """Every code has a name that leads back to it."""
    for code in STATE_NAMES:
        assert changed(changed(code, step("state_name")) or "", step("state_code")) == code


def test_documentation_shows_what_happens(tmp_path):
    """The worked examples of the page, put into a campaign file and done."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| (?:`(\{.*\})`: )?`(.*)` → `(.*)` \|$", DOCS.read_text("utf-8"), re.MULTILINE)
    assert len(rows) >= 10
    for name, written, text, result in rows:
        field = {"from": "lead.x", "transform": yaml.safe_load(written) if written else name}
        case = {
            "delivery": {
                "url": "https://buyer.example/",
                "format": "form",
                "fields": {"x": field},
                "ping_response_settings": {"accepted": {"http_status": 200}},
            },
            "values": {"lead": {"x": text}},
        }
        request = compile_call(load_delivery(case, tmp_path)).build(values_of(case))
        assert parse_qsl(request.body.decode()) == [("x", result)], name
