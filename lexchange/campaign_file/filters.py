"""Reads a buyer's filters: rules on fields, nested by any, all and not."""

from functools import partial

from lexchange.campaign_file.reading import Reader, Section, Unreadable, Value, is_list, is_mapping, list_of
from lexchange.campaign_file.scalars import compared_text, flag, known_name, one_of, pattern
from lexchange.campaign_file.scope import Scope
from lexchange.campaign_file.value_lists import read_value_list
from lexchange.eligibility import compile_filter
from lexchange.errors import ConfigError
from lexchange.filters import EVERY_LEAD, AllOf, AnyOf, FieldRule, Filter, FilterOp, Not

_KINDS = ("field", "any", "all", "not")


def read_filters(value: Value, scope: Scope) -> AllOf:
    """A list of filters that must all hold."""
    return AllOf(rules=list_of(partial(read_filter, scope=scope), at_least=0)(value))


def read_filter(value: Value, scope: Scope) -> Filter:
    """One filter, which may hold others."""
    read_one = partial(read_filter, scope=scope)
    with Section(value) as section:
        kinds = section.given(*_KINDS)
        for key in ("op", "value"):
            if section.given(key) and kinds not in ([], ["field"]):
                section.refuse(key, "only with field")
        if len(kinds) > 1:
            raise Unreadable(value, f"expected one of field, any, all, not; got {' and '.join(kinds)}")
        if kinds == ["any"]:
            return AnyOf(rules=section.need("any", list_of(read_one), ()))
        if kinds == ["all"]:
            return AllOf(rules=section.need("all", list_of(read_one), ()))
        if kinds == ["not"]:
            return Not(rule=section.need("not", read_one, EVERY_LEAD))
        return _read_rule(section, scope)


def _read_rule(section: Section, scope: Scope) -> Filter:
    field = section.need("field", known_name(scope.fields, "a field of the campaign"), "")
    op = section.need("op", one_of(FilterOp), None)
    if op is None:
        section.find("value")
        return EVERY_LEAD
    if op is FilterOp.EXISTS:
        wants_something = section.take("value", flag, True)
        return FieldRule(field=field, op=op, value=("true" if wants_something else "false",))
    problem_count = len(section.value.origin.problems)
    read_value = _in_a_file(_VALUES[op], scope) if op in (FilterOp.IN, FilterOp.NOT_IN) else _VALUES[op]
    rule = FieldRule(field=field, op=op, value=section.need("value", read_value, ()))
    if len(section.value.origin.problems) == problem_count:
        _try_out(section, rule)
    return rule


def _try_out(section: Section, rule: FieldRule) -> None:
    """Compile the rule as the exchange will, to hear now what it would say then."""
    found = section.find("value")
    assert found is not None
    try:
        failed_rule = compile_filter(rule)
    except ConfigError as error:
        found.report(str(error).removeprefix(f"filter on {rule.field}: "))
        return
    if rule.op is FilterOp.BETWEEN and failed_rule({rule.field: rule.value[0]}):
        found.report(f"expected the lower bound first; got {' and '.join(rule.value)}")


def _compared(value: Value) -> str:
    written = compared_text(value)
    if not written.strip():
        raise Unreadable(value, "expected a text that is not blank: exists asks whether there is one")
    return written


def _one(value: Value) -> tuple[str, ...]:
    return (_compared(value),)


def _two(value: Value) -> tuple[str, ...]:
    bounds = list_of(_compared)(value)
    if len(bounds) != 2:
        raise Unreadable(value, f"expected a list of two bounds; got {len(bounds)}")
    return bounds


def _in_a_file(read: Reader[tuple[str, ...]], scope: Scope) -> Reader[tuple[str, ...]]:
    return lambda value: read_value_list(value, scope.setting) if is_mapping(value) else read(value)


def _one_or_several(read: Reader[str]) -> Reader[tuple[str, ...]]:
    def read_one_or_several(value: Value) -> tuple[str, ...]:
        return list_of(read)(value) if is_list(value) else (read(value),)

    return read_one_or_several


_VALUES: dict[FilterOp, Reader[tuple[str, ...]]] = {
    FilterOp.EQ: _one,
    FilterOp.NE: _one,
    FilterOp.IN: list_of(_compared),
    FilterOp.NOT_IN: list_of(_compared),
    FilterOp.GT: _one,
    FilterOp.GTE: _one,
    FilterOp.LT: _one,
    FilterOp.LTE: _one,
    FilterOp.BETWEEN: _two,
    FilterOp.PREFIX: _one_or_several(_compared),
    FilterOp.CONTAINS: _one_or_several(_compared),
    FilterOp.MATCHES: _one_or_several(pattern),
}
