import re
from collections.abc import Callable
from functools import partial
from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexchange.campaign import FieldSpec, FieldType
from lexchange.config import Limits
from lexchange.field_types import PLAIN
from lexchange.fields import Stage, compile_schema
from lexchange.shapes import MOST_SHAPES
from tests.cost import CHEAP_S, cpu_s

VALUES = ("red", "dark red", "a.c", " ", "a\x01b")
FIELDS = tuple(FieldSpec(name=kind.value, type=kind, values=VALUES) for kind in FieldType)
LIMITS = Limits(value_bytes=1_024)
SCHEMA = compile_schema(FIELDS, LIMITS)
ODD = st.sampled_from(
    [
        *(
            "",
            " ",
            "\n",
            "a\nb",
            "\u2003",
            "x\x00",
            "\x85",
            "\ud800",
            "é",
            "x" * 200,
            *VALUES,
            "abc",
            "California",
            "ny",
        ),
        *(
            "::1",
            "1.2.3.4\n",
            "256.1.1.1",
            "a@b.test",
            "a@test.com",
            "josé@b.com",
            "+44 20 7946 0958",
            "1e400",
            "\u0663",
        ),
        *(
            "2026-02-29",
            "2024-02-29",
            "2026-04-31",
            "0000-01-01",
            "2026-01-01T24:00",
            "yeſ",
            "YES",
            "http://[::1]",
            "+1",
        ),
    ]
)


def plain_value(kind: FieldType) -> st.SearchStrategy[str]:
    return st.from_regex(PLAIN[kind], fullmatch=True) if kind in PLAIN else st.sampled_from(VALUES)


@st.composite
def calls(draw: Callable[..., str]) -> dict[str, str]:
    """Some fields in any order, nearly all of them plain."""
    names = draw(st.lists(st.sampled_from([*FieldType, "Test_Mode", "x"]), unique=True, max_size=8))
    odd = draw(st.sampled_from(["none", *names]))
    return {
        str(name): draw(ODD if name == odd or name not in list(FieldType) else plain_value(FieldType(name)))
        for name in names
    }


@given(calls(), st.sampled_from(Stage))
def test_what_is_plain_is_right_field_by_field(data, stage) -> None:
    """The look at the whole says yes only where the judgement of each field has nothing to say."""
    judged = SCHEMA._judged(data, stage)
    assert SCHEMA.check(data, stage) == judged
    if SCHEMA.shapes.is_plain(data):
        assert judged.problems == ()
        assert judged.dropped == ()
        assert judged.data == {name: value for name, value in data.items() if name != "Test_Mode"}


@pytest.mark.parametrize(
    "data",
    [
        {"email": "sam.carter@example.com", "phone": "(310) 555-0102", "zipcode": "90210-1234", "state": "CA"},
        {"ip": "192.168.1.10", "url": "https://example.com/quote?a=1", "string": "Zoë", "enum": "dark red"},
        {"date": "2026-04-30", "datetime": "2026-11-24T09:30:00Z", "integer": "-5", "number": "1.5", "boolean": "no"},
        {"string": "only", "Test_Mode": "true"},
    ],
)
def test_usual_values_are_plain(data) -> None:
    """Else every call would take the long way."""
    assert SCHEMA.shapes.is_plain(data)
    assert SCHEMA.shapes.is_plain(dict(reversed(data.items())))


def test_one_shape_serves_every_order() -> None:
    """A protobuf map has no order: Go writes its entries in ever new ones."""
    schema = compile_schema(FIELDS, LIMITS)
    data = {"string": "a", "integer": "1", "zipcode": "90210", "state": "CA", "boolean": "no"}
    for order in permutations(data):
        assert schema.shapes.is_plain({name: data[name] for name in order})
    assert len(schema.shapes._shapes) == 1


def test_no_more_shapes_are_kept_than_the_bound() -> None:
    """Whoever sends ever new sets of fields is answered as ever, and compiles no more."""
    schema = compile_schema(FIELDS, LIMITS)
    data = {
        "string": "a",
        "integer": "1",
        "zipcode": "90210",
        "state": "CA",
        "boolean": "no",
        "number": "1",
        "ip": "1.2.3.4",
    }
    sets = [names for count in range(1, len(data) + 1) for names in combinations(data, count)]
    assert len(sets) > MOST_SHAPES
    plain = [schema.shapes.is_plain({name: data[name] for name in names}) for names in sets]
    assert plain == [True] * MOST_SHAPES + [False] * (len(sets) - MOST_SHAPES)
    assert schema.check(data, Stage.PING).data == data


HOSTILE = [
    "1" * 1_000,
    "a@" * 500,
    "http://" + "a." * 490,
    "-" * 1_000,
    "+1 " * 330,
    "a" * 64 + "@" + "a." * 460,
    " " * 1_000,
]


@pytest.mark.parametrize("text", [*HOSTILE, "a.-" * 300, "http://a" + "-" * 900, "1.1.1.1" * 140])
def test_the_look_ends_when_the_text_is_hostile(text) -> None:
    """Neither within a line nor over all lines does it try one way after another."""
    names = [f"{kind.value}_{number}" for kind in FieldType for number in range(15)]
    fields = tuple(FieldSpec(name=name, type=FieldType(name.split("_")[0]), values=VALUES) for name in names)
    schema = compile_schema(fields, Limits(value_bytes=4 << 20))
    for kind in FieldType:
        data = {name: text for name in names if name.startswith(kind)}
        assert cpu_s(partial(schema.shapes.is_plain, data)) < CHEAP_S


@pytest.mark.parametrize("kind", list(PLAIN))
def test_patterns_can_stand_side_by_side(kind) -> None:
    """They read one line, keep no groups, and need no flags for all."""
    pattern = re.compile(PLAIN[kind])
    assert pattern.groups == 0
    assert pattern.flags == re.UNICODE
    assert not pattern.search("\n")
