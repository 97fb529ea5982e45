import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexchange.eligibility import compile_filter
from lexchange.errors import ConfigError
from lexchange.filters import AllOf, AnyOf, FieldRule, Filter, FilterOp, Not
from tests.cost import CHEAP_S, cpu_s


def rule(field: str, op: str, *value: str) -> FieldRule:
    return FieldRule(field=field, op=FilterOp(op), value=value)


def failed(filter_: Filter, **data: str) -> str | None:
    return compile_filter(filter_)(data)


def holds(op: str, value: tuple[str, ...], text: str | None) -> bool:
    data = {} if text is None else {"x": text}
    return compile_filter(rule("x", op, *value))(data) is None


# ------------------------------------------------------------------------------------------------ operators


@pytest.mark.parametrize(
    ("op", "value", "text"),
    [
        *[("eq", ("CA",), text) for text in ("CA", "ca", " Ca ")],
        ("eq", (" ca ",), "CA"),
        ("eq", ("5",), "5"),
        ("eq", ("STRASSE",), "straße"),
        *[("ne", ("CA",), text) for text in ("NY", "C A", None, "", " ")],
        *[("in", ("CA", "NY"), text) for text in ("CA", "ny", " NY")],
        *[("not_in", ("CA", "NY"), text) for text in ("TX", None, "")],
        *[("gt", ("18",), text) for text in ("19", "18.01", " 1e2 ", "100")],
        *[("gte", ("18",), text) for text in ("18", "18.0", "19")],
        *[("lt", ("18",), text) for text in ("17.99", "-100", "9")],
        *[("lte", ("18",), text) for text in ("18", "17", "18.000")],
        ("gt", ("-5.5",), "-5.4"),
        ("gt", ("2026-01-01",), "2026-01-02"),
        ("lte", ("2026-01-01",), "2026-01-01"),
        ("lt", ("2026-10-01",), "2026-09-30"),
        *[("between", ("18", "65"), text) for text in ("18", "65", "40", "18.0", "64.999")],
        *[("between", ("2026-01-01", "2026-12-31"), text) for text in ("2026-01-01", "2026-12-31", "2026-06-15")],
        *[("exists", value, "x") for value in (("true",), ("True",), ())],
        *[("exists", ("false",), text) for text in (None, "", "  ")],
        *[("prefix", ("902",), text) for text in ("90210", "902", " 90210")],
        ("prefix", ("902", "100"), "10001"),
        ("prefix", ("Mr",), "MR. SMITH"),
        *[("contains", ("iphone",), text) for text in ("Mozilla (iPhone; x)", "IPHONE")],
        ("contains", ("android", "iphone"), "an iPhone"),
        ("matches", (r"@example\.com$",), "sam@example.com"),
        ("matches", ("b+",), "abc"),
        ("matches", ("(?i)ABC",), "xabcx"),
        ("matches", ("x", "y"), "only y"),
        ("matches", ("^a+$",), "a" * 4096),
    ],
)
def test_rule_holds_when_its_operator_is_met(op, value, text) -> None:
    """Texts compare trimmed and in any case, bounds as numbers or dates, and both ends of a range belong to it."""
    assert holds(op, value, text)


@pytest.mark.parametrize(
    ("op", "value", "text"),
    [
        *[("eq", ("CA",), text) for text in ("NY", "CAL", "C A")],
        ("eq", ("5",), "5.0"),
        *[("ne", ("CA",), text) for text in ("CA", "ca", " CA ")],
        ("in", ("CA", "NY"), "TX"),
        ("in", ("CA, NY",), "CA"),
        *[("not_in", ("CA", "NY"), text) for text in ("CA", "ny ")],
        *[("gt", ("18",), text) for text in ("18", "17.99", "abc", "18 years", "2026-01-01", "nan", "inf", "1,000")],
        *[("gte", ("18",), text) for text in ("17.999999", "-18")],
        *[("lt", ("18",), text) for text in ("18", "18.01", "", "2026-01-01")],
        *[("lte", ("18",), text) for text in ("18.000001", "x")],
        *[("gt", ("2026-01-01",), text) for text in ("2026-01-01", "3000", "2026-02-30", "2026-01-02T00:00", "2/1/26")],
        *[("between", ("18", "65"), text) for text in ("17.999", "65.001", "x", "2026-01-01")],
        ("between", ("2026-01-01", "2026-12-31"), "2027-01-01"),
        ("between", ("65", "18"), "40"),
        *[("exists", ("true",), text) for text in (None, "", " \t")],
        ("exists", ("false",), "x"),
        *[("prefix", ("902",), text) for text in ("9201", "90", "x902")],
        ("contains", ("iphone",), "i phone"),
        *[("matches", ("ABC",), text) for text in ("abc", "AB")],
        ("matches", ("^a+$",), "a" * 4097),
    ],
)
def test_rule_fails_when_its_operator_is_not_met(op, value, text) -> None:
    """What cannot be compared fails, and a text over the size limit never matches a pattern."""
    assert not holds(op, value, text)


VALUES = {"between": ("1", "2"), "gt": ("1",), "gte": ("1",), "lt": ("1",), "lte": ("1",), "exists": ("true",)}


@pytest.mark.parametrize("missing", [{}, {"x": ""}, {"x": " \t"}])
@pytest.mark.parametrize("op", list(FilterOp))
def test_missing_field_meets_only_negations_when_it_is_compared(op, missing) -> None:
    """A missing or blank field meets `ne` and `not_in` and no other operator, and `not` turns that round."""
    one = rule("x", op, *VALUES.get(op, (".*",)))
    assert (compile_filter(one)(missing) is None) is (op in {"ne", "not_in"})
    assert (compile_filter(Not(rule=one))(missing) is None) is (op not in {"ne", "not_in"})


def test_rule_finds_a_value_fast_when_the_list_is_long() -> None:
    """A list of 40,000 ZIP codes costs a look-up, not a walk: 2,000 leads take well under a second."""
    filter_ = compile_filter(rule("zipcode", "in", *(f"{code:05}" for code in range(40_000))))
    assert filter_({"zipcode": "39999"}) is None
    assert cpu_s(lambda: [filter_({"zipcode": "39999"}) for _ in range(2_000)]) < CHEAP_S
    assert filter_({"zipcode": "40000"}) == (
        "zipcode in [00000, 00001, 00002, 00003, 00004, 00005, 00006, +39993 more]: was 40000"
    )


# --------------------------------------------------------------------------------------------------- groups

CA, TX = rule("state", "eq", "CA"), rule("state", "eq", "TX")
OLD = rule("age", "gte", "65")


@pytest.mark.parametrize(
    ("filter_", "data", "why"),
    [
        (AllOf(rules=()), {}, None),
        (AnyOf(rules=()), {}, "none of ()"),
        (AllOf(rules=(CA, OLD)), {"state": "CA", "age": "70"}, None),
        (AllOf(rules=(CA, OLD)), {"state": "CA", "age": "64"}, "age gte 65: was 64"),
        (AllOf(rules=(CA, OLD)), {"state": "NY", "age": "64"}, "state eq CA: was NY"),
        (AllOf(rules=(CA, OLD)), {}, "state eq CA: was missing"),
        (AnyOf(rules=(CA, TX)), {"state": "TX"}, None),
        (AnyOf(rules=(CA, TX)), {"state": "NY"}, "none of (state eq CA: was NY; state eq TX: was NY)"),
        (Not(rule=CA), {"state": "NY"}, None),
        (Not(rule=CA), {}, None),
        (Not(rule=CA), {"state": "ca"}, "not state eq CA: was ca"),
        (Not(rule=AnyOf(rules=(CA, TX))), {"state": "TX"}, "not (any of (state eq CA; state eq TX)) failed"),
        (Not(rule=Not(rule=CA)), {"state": "NY"}, "not (not (state eq CA)) failed"),
        (
            AllOf(rules=(OLD, AnyOf(rules=(CA, AllOf(rules=(TX, rule("zipcode", "prefix", "75"))))))),
            {"age": "70", "state": "TX", "zipcode": "10001"},
            "none of (state eq CA: was TX; zipcode prefix 75: was 10001)",
        ),
    ],
)
def test_filter_names_the_first_failed_rule_when_groups_nest(filter_, data, why) -> None:
    """All, any and not nest; the reason is the first rule that spoke against the lead."""
    assert failed(filter_, **data) == why


@pytest.mark.parametrize(
    ("filter_", "why"),
    [
        (rule("state", "in", "CA", "NY"), "state in [CA, NY]: was TX"),
        (rule("state", "in", "CA"), "state in [CA]: was TX"),
        (rule("state", "not_in", "TX", "CA"), "state not_in [TX, CA]: was TX"),
        (rule("state", "ne", "TX"), "state ne TX: was TX"),
        (rule("state", "between", "1", "2"), "state between 1 and 2: was TX"),
        (rule("state", "exists", "false"), "state exists false: was TX"),
        (rule("phone", "exists", "true"), "phone exists true: was missing"),
        (rule("state", "prefix", "C", "N"), "state prefix [C, N]: was TX"),
        (rule("state", "matches", "^C"), "state matches ^C: was TX"),
    ],
)
def test_reason_reads_well_when_a_rule_fails(filter_, why) -> None:
    """The audit tells rule and value in a line."""
    assert failed(filter_, state="TX") == why


texts = st.text(min_size=1, max_size=300)


@given(texts, st.lists(texts, min_size=1, max_size=50), st.text(max_size=300), st.integers(0, 3))
def test_reason_is_short_when_names_lists_and_values_are_long(field, values, text, depth) -> None:
    """A reason never exceeds 120 characters."""
    filter_: Filter = rule(field, "in", *values)
    for _ in range(depth):
        filter_ = AnyOf(rules=(filter_, filter_))
    why = compile_filter(filter_)({field: text})
    assert why is None or len(why) <= 120


@given(st.sampled_from(["eq", "ne", "in", "not_in", "prefix", "contains"]), texts, st.none() | st.text())
def test_not_is_the_opposite_when_any_rule_is_turned_round(op, value, text) -> None:
    """Exactly one of a rule and its `not` holds, for whatever data."""
    data = {} if text is None else {"x": text}
    one = rule("x", op, value)
    assert (compile_filter(one)(data) is None) is not (compile_filter(Not(rule=one))(data) is None)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (rule("age", "gt", "old"), r"filter on age: gt expects a number or a date \(2026-11-24\), got old"),
        (rule("age", "lte"), "lte expects a number or a date"),
        (rule("age", "gt", "1", "2"), "gt expects a number or a date"),
        (rule("age", "gt", "nan"), "gt expects a number or a date"),
        (rule("age", "between", "1"), "between expects two numbers or two dates"),
        (rule("age", "between", "1", "2", "3"), "between expects two numbers or two dates"),
        (rule("age", "between", "1", "2026-01-01"), "between expects two numbers or two dates"),
        (rule("age", "between", "2026-02-30", "2026-03-01"), "between expects two numbers or two dates"),
        (rule("age", "matches", "("), "filter on age: expected a regular expression: "),
        (AllOf(rules=(AnyOf(rules=(Not(rule=rule("age", "gt", "x")),)),)), "filter on age: gt expects"),
    ],
)
def test_compile_filter_refuses_when_a_rule_can_never_be_read(bad, message) -> None:
    """A bound that is neither number nor date, or a broken pattern, is found before the first lead."""
    with pytest.raises(ConfigError, match=message):
        compile_filter(bad)
