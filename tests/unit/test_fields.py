from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexchange.call import FieldProblem
from lexchange.campaign import DATA_FIELDS, ENVELOPE_FIELDS, FieldSpec, FieldType, FrozenFields, OnChange
from lexchange.config import Limits
from lexchange.fields import (
    Checked,
    Stage,
    compile_schema,
    fill_from_ping,
    frozen_problems,
    is_test_call,
    read_test_mode,
)

# The published examples.
PING = {
    "sub_id": "publisher_123",
    "pub_id": "publisher_123",
    "email": "sam.carter@example.com",
    "phone": "3105550102",
    "zipcode": "90210",
    "state": "CA",
    "ip_address": "192.168.1.10",
    "user_agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
    "trusted_form_url": "https://cert.trustedform.com/abc123",
    "jornaya_lead_id": "JRN-2D8BC3A4E5F6",
    "consent_text": "By clicking submit, I agree to be contacted.",
    "landing_page_url": "https://example.com/quote",
}
POST = {
    "first_name": "Sam",
    "last_name": "Carter",
    "email": "sam.carter@example.com",
    "phone": "3105550102",
    "zipcode": "90210",
    "state": "CA",
    "city": "Los Angeles",
    "street_address": "123 Main St",
    "ip_address": "192.168.1.10",
    "trusted_form_url": "https://cert.trustedform.com/abc123",
    "consent_text": "By clicking submit, I agree to be contacted.",
}
DEFAULT = compile_schema(DATA_FIELDS, Limits())


def check(data: dict[str, str], *fields: FieldSpec, limits: Limits | None = None) -> Checked:
    return compile_schema(fields, limits or Limits()).check(data, Stage.PING)


def codes(checked: Checked) -> list[tuple[str, str]]:
    return [(problem.field, problem.code) for problem in checked.problems]


def test_check_names_exactly_two_fields_when_the_published_ping_meets_default_flags() -> None:
    """The published ping leaves out two fields that the published table requires; all else holds."""
    checked = DEFAULT.check(PING, Stage.PING)
    assert codes(checked) == [("city", "required"), ("unique_identifier", "required")]
    assert checked.data == PING
    assert checked.dropped == ()
    assert not checked.is_test


def test_check_passes_when_the_published_post_meets_default_flags() -> None:
    """The published post holds all that the published table requires on post."""
    assert DEFAULT.check(POST, Stage.POST) == Checked(data=POST, dropped=(), problems=(), is_test=False)


def test_check_uses_the_stage_when_flags_differ() -> None:
    """What is required on post only may be missing on ping, and the other way round."""
    assert codes(DEFAULT.check({}, Stage.PING)) == [
        (name, "required")
        for name in (
            *("sub_id", "pub_id", "email", "zipcode", "city", "state", "ip_address", "user_agent"),
            *("trusted_form_url", "jornaya_lead_id", "consent_text", "landing_page_url", "unique_identifier"),
        )
    ]
    assert codes(DEFAULT.check({}, Stage.POST)) == [
        (name, "required")
        for name in (
            *("first_name", "last_name", "email", "phone", "zipcode", "street_address", "city", "state"),
            *("ip_address", "trusted_form_url", "consent_text"),
        )
    ]


def test_check_finds_all_problems_in_schema_order_when_there_are_several() -> None:
    """A caller sees every fault at once, in the order of the schema and not of his data."""
    checked = check(
        {"d": "\x00", "c": "maybe", "b": "x", "Test_Mode": "yes", "e": "ééé"},
        FieldSpec(name="Test_Mode"),
        FieldSpec(name="a", required_on_ping=True),
        FieldSpec(name="b", type=FieldType.INTEGER),
        FieldSpec(name="c", type=FieldType.ENUM, values=("yes", "no")),
        FieldSpec(name="d"),
        FieldSpec(name="e"),
        limits=replace(Limits(), value_bytes=5),
    )
    assert checked.problems == (
        FieldProblem(field="Test_Mode", code="invalid_value", message="expected 1, true, 0 or false"),
        FieldProblem(field="a", code="required", message="expected a value"),
        FieldProblem(field="b", code="invalid_type", message="expected a whole number, such as 42"),
        FieldProblem(field="c", code="not_in_enum", message="expected one of: yes, no"),
        FieldProblem(
            field="d",
            code="invalid_characters",
            message="expected text without control characters or broken Unicode",
        ),
        FieldProblem(field="e", code="too_long", message="expected at most 5 bytes"),
    )
    assert checked.data == {"b": "x", "c": "maybe"}


@pytest.mark.parametrize("blank", ["", " ", "\t \n", "\u00a0", "\u3000"])
def test_check_counts_blank_as_absent_when_nothing_is_written(blank) -> None:
    """A blank value is no value: required is not met, and nothing is kept."""
    checked = check({"a": blank, "b": blank}, FieldSpec(name="a", required_on_ping=True), FieldSpec(name="b"))
    assert codes(checked) == [("a", "required")]
    assert checked.data == {}


def test_check_keeps_values_as_sent_when_they_have_spaces() -> None:
    """Nothing is trimmed or changed on the way to a buyer."""
    assert check({"a": "  Sam\n\tCarter\r\n "}, FieldSpec(name="a")).data == {"a": "  Sam\n\tCarter\r\n "}


def test_check_drops_what_the_schema_does_not_know_when_names_are_foreign() -> None:
    """Unknown fields and the envelope's names inside data are dropped, by name and sorted; Test_Mode is neither."""
    data = {"z": "1", "Email": "x", "SRC": "s", "KEY": "k", "ping_id": "p", "a": "", "Test_Mode": "1", "zip": "1"}
    checked = compile_schema((*ENVELOPE_FIELDS, *DATA_FIELDS, FieldSpec(name="zip")), Limits()).check(data, Stage.PING)
    assert checked.dropped == ("Email", "KEY", "SRC", "a", "ping_id", "z")
    assert checked.data == {"zip": "1"}
    assert {"SRC", "KEY", "ping_id"}.isdisjoint(problem.field for problem in checked.problems)


@pytest.mark.parametrize(
    ("value", "is_too_long"),
    [
        *[("x" * 4095, False), ("x" * 4096, False), ("x" * 4097, True), ("x" * 1025, False)],
        *[("é" * 2048, False), ("é" * 2048 + "x", True), ("😀" * 1024, False), ("😀" * 1024 + "x", True)],
    ],
)
def test_check_refuses_a_value_when_its_bytes_exceed_the_limit(value, is_too_long) -> None:
    """The limit counts bytes of UTF-8, not characters; too long a value is not kept."""
    checked = check({"a": value}, FieldSpec(name="a"))
    assert codes(checked) == ([("a", "too_long")] if is_too_long else [])
    assert checked.data == ({} if is_too_long else {"a": value})


@pytest.mark.parametrize(
    ("value", "is_fit"),
    [
        *[(f"a{char}b", True) for char in "\t\n\r \u007f\u0085\u00a0\u200b\ue000é😀"],
        *[(f"a{chr(code)}b", False) for code in range(32) if chr(code) not in "\t\n\r"],
        *[("a\ud800", False), ("\udfffa", False), ("a\udbff", False)],
    ],
)
def test_check_refuses_a_value_when_it_cannot_be_stored(value, is_fit) -> None:
    """Control characters but tab and line ends, and broken Unicode, are refused and not kept."""
    checked = check({"a": value}, FieldSpec(name="a"))
    assert codes(checked) == ([] if is_fit else [("a", "invalid_characters")])
    assert checked.data == ({"a": value} if is_fit else {})


def test_check_answers_quickly_when_there_is_no_schema_but_test_mode() -> None:
    """A campaign without a field still reads Test_Mode."""
    assert check({"Test_Mode": "1"}) == Checked(data={}, dropped=(), problems=(), is_test=True)


@pytest.mark.parametrize(
    ("value", "is_test"),
    [("1", True), ("true", True), ("0", False), ("false", False), ("", False), (None, False)],
)
def test_test_mode_is_read_when_the_text_is_agreed(value, is_test) -> None:
    """These six are all that Test_Mode may be."""
    data = {} if value is None else {"Test_Mode": value}
    assert read_test_mode(data) is is_test
    assert is_test_call(data) is is_test
    checked = DEFAULT.check(POST | data, Stage.POST)
    assert checked == Checked(data=POST, dropped=(), problems=(), is_test=is_test)


@pytest.mark.parametrize("value", ["yes", "2", "TRUE", "True", " 1", "1 ", " ", "01", "on", "\x00", "1" * 5000])
def test_test_mode_is_a_problem_when_the_text_is_anything_else(value) -> None:
    """A typo never goes live, and is no test either."""
    problem = FieldProblem(field="Test_Mode", code="invalid_value", message="expected 1, true, 0 or false")
    assert read_test_mode({"Test_Mode": value}) == problem
    assert not is_test_call({"Test_Mode": value})
    checked = DEFAULT.check(POST | {"Test_Mode": value}, Stage.POST)
    assert checked == Checked(data=POST, dropped=(), problems=(problem,), is_test=False)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, [("Test_Mode", "required")]),
        ({"Test_Mode": ""}, [("Test_Mode", "required")]),
        ({"Test_Mode": "0"}, []),
        ({"Test_Mode": "1"}, []),
        ({"Test_Mode": "x"}, [("Test_Mode", "invalid_value")]),
    ],
)
def test_test_mode_must_be_said_when_a_campaign_requires_it(data, expected) -> None:
    """A campaign may change this flag as any other."""
    spec = FieldSpec(name="Test_Mode", required_on_ping=True)
    assert codes(check(data, spec)) == expected
    assert codes(compile_schema((spec,), Limits()).check({}, Stage.POST)) == []


def test_enum_lists_its_values_when_the_text_is_another() -> None:
    """An enum is exact, and says what it takes; a very long list is cut."""
    few = FieldSpec(name="x", type=FieldType.ENUM, values=("yes", "no"))
    assert check({"x": "yes"}, few).problems == ()
    for wrong in ("Yes", "yes ", "maybe"):
        assert codes(check({"x": wrong}, few)) == [("x", "not_in_enum")]
    many = FieldSpec(name="x", type=FieldType.ENUM, values=tuple(f"{number:02}" for number in range(60)))
    (problem,) = check({"x": "zz"}, many).problems
    assert problem.message.startswith("expected one of: 00, 01, ")
    assert problem.message.endswith(", 49 and 10 more")


VALUES = st.sampled_from(["", " ", "\u2003", "1", "true", "0", "maybe", "x" * 1_025, "é", "a\x00b", "sam@example.com"])
CALLS = st.sampled_from([PING, POST]).flatmap(
    lambda sent: st.dictionaries(st.sampled_from([*sent, "Test_Mode", "x"]), VALUES, max_size=3).map(
        lambda change: sent | change
    )
)


@given(CALLS, st.sampled_from(Stage), st.sets(st.sampled_from(["Test_Mode", "email", "city"])))
def test_check_as_a_whole_finds_what_the_check_field_by_field_finds(data, stage, needed) -> None:
    """The quick way is taken only where the thorough one has nothing to say."""
    fields = [
        replace(field, required_on_ping=field.name in needed, required_on_post=field.name in needed)
        for field in DATA_FIELDS
    ]
    schema = compile_schema((*ENVELOPE_FIELDS, *fields), Limits())
    quick, thorough = schema._flawless(data, stage), schema._judged(data, stage)
    assert quick is None or quick == thorough
    is_plain = all(value and len(value) <= 1_024 and value.isprintable() for value in data.values())
    if is_plain and not thorough.dropped and thorough.data.keys() >= data.keys() - {"Test_Mode"}:
        assert (quick is None) == bool(thorough.problems)


@given(st.dictionaries(st.sampled_from([field.name for field in DATA_FIELDS] + ["x", "SRC"]), st.text()))
def test_check_accounts_for_every_field_when_given_anything(data) -> None:
    """Each field sent is kept, dropped, blank, Test_Mode or a problem."""
    checked = DEFAULT.check(data, Stage.PING)
    problems = {problem.field for problem in checked.problems}
    for name, value in data.items():
        accounted = (name in checked.data, name in checked.dropped, not value.strip(), name == "Test_Mode")
        assert any(accounted) or name in problems
    assert len(problems) == len(checked.problems)
    assert all(data[name] == value for name, value in checked.data.items())


FROZEN = FrozenFields(fields=("zipcode", "state", "phone"))
KEEP = FrozenFields(fields=("zipcode", "state", "phone"), on_change=OnChange.KEEP_PING)


@pytest.mark.parametrize(
    ("post", "expected"),
    [
        ({"zipcode": "90210", "state": "CA"}, []),
        ({}, []),
        ({"zipcode": "10001", "state": "CA"}, ["zipcode"]),
        ({"state": "NY", "zipcode": "10001"}, ["zipcode", "state"]),
        ({"state": "ca"}, ["state"]),
        ({"phone": "3105550102"}, []),
        ({"city": "Other"}, []),
    ],
)
def test_frozen_problems_name_each_field_when_a_post_changes_it(post, expected) -> None:
    """A frozen field may be left out or added on post, but not be another one than on ping."""
    problems = frozen_problems(FROZEN, post, {"zipcode": "90210", "state": "CA", "city": "LA"})
    assert problems == tuple(
        FieldProblem(field=name, code="differs_from_ping", message="expected the value that the ping had")
        for name in expected
    )


def test_frozen_problems_are_none_when_nothing_is_frozen_or_the_ping_is_kept() -> None:
    """Without frozen fields anything may change; with keep_ping a change is overruled, not refused."""
    assert frozen_problems(None, {"state": "NY"}, {"state": "CA"}) == ()
    assert frozen_problems(KEEP, {"state": "NY"}, {"state": "CA"}) == ()


@pytest.mark.parametrize(
    ("frozen", "lead"),
    [
        (None, {"email": "new@example.com", "state": "NY", "zipcode": "90210", "phone": "1"}),
        (FROZEN, {"email": "new@example.com", "state": "NY", "zipcode": "90210", "phone": "1"}),
        (KEEP, {"email": "new@example.com", "state": "CA", "zipcode": "90210", "phone": "1"}),
    ],
)
def test_fill_from_ping_completes_the_post_when_it_leaves_fields_out(frozen, lead) -> None:
    """The lead is the post and what only the ping had; keep_ping lets the ping win on frozen fields it had."""
    ping = {"email": "old@example.com", "state": "CA", "zipcode": "90210"}
    post = {"email": "new@example.com", "state": "NY", "phone": "1"}
    assert fill_from_ping(post, ping, frozen) == lead
    assert post == {"email": "new@example.com", "state": "NY", "phone": "1"}
