"""Eligibility: may this buyer be asked about this lead? Source, schedule, filters, caps; each no has its reason.

Filters are compiled once per configuration; counters are read elsewhere and handed in. Duplicates, ping limits
and time are judged later, by who can see them.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TypeAlias
from weakref import WeakValueDictionary
from zoneinfo import ZoneInfo

from lexchange.campaign import Buyer, OpenHours
from lexchange.caps import MINUTE_MS, describe_full, full_cap, local_minute
from lexchange.errors import ConfigError
from lexchange.filters import AllOf, AnyOf, FieldRule, Filter, FilterOp, Not
from lexchange.frozen import frozen
from lexchange.lead import CapTake, SkipReason
from lexchange.money import parse_number

FailedRule: TypeAlias = Callable[[Mapping[str, str]], str | None]

SUBJECT_CHARACTERS = 4_096  # a longer text never `matches`, so that a pattern has a bounded job

_WHY_CHARACTERS = 120
_LIST_CHARACTERS = 50
_VALUE_CHARACTERS = 30


@frozen
class Moment:
    """One lead at one time. `used` holds the counters read so far; a missing one stands at 0."""

    src: str
    data: Mapping[str, str]
    now_ms: int
    used: Mapping[str, int]


def first_skip(
    buyer: Buyer, moment: Moment, *, zone: ZoneInfo, failed_rule: FailedRule, takes: Sequence[CapTake]
) -> tuple[SkipReason, str] | None:
    """Why the buyer is not asked, and the detail for the audit; None when nothing here speaks against him.

    The checks run in the order of SkipReason. `takes` is what the lead would take of his caps.
    """
    if not buyer.is_active:
        return SkipReason.PAUSED, ""
    if not source_allowed(buyer, moment.src):
        return SkipReason.SOURCE_EXCLUDED, f"takes nothing from {moment.src}"
    if not is_open(buyer.schedule, zone, moment.now_ms):
        local = local_minute(moment.now_ms // MINUTE_MS, zone)
        return SkipReason.CLOSED, f"closed on {local:%a %H:%M} {zone.key}"
    if why := failed_rule(moment.data):
        return SkipReason.FILTERED, why
    if full := full_cap(takes, moment.used):
        return SkipReason.CAP_REACHED, describe_full(full, moment.used)
    return None


def source_allowed(buyer: Buyer, src: str) -> bool:
    """Whether the buyer takes leads of this source."""
    if buyer.only_sources is not None and src not in buyer.only_sources:
        return False
    return src not in buyer.except_sources


def is_open(schedule: tuple[OpenHours, ...], zone: ZoneInfo, now_ms: int) -> bool:
    """Whether any row is open on the zone's wall clock; without rows it is always open.

    The wall clock rules when clocks change: the hour that spring skips opens nothing, and a row over the hour
    that autumn repeats is open both times. Equal ends are a whole day.
    """
    if not schedule:
        return True
    local = local_minute(now_ms // MINUTE_MS, zone)
    today, minute = local.weekday(), local.hour * 60 + local.minute
    for row in schedule:  # noqa: SIM110 - a generator for `any` costs more than the rows
        if _is_row_open(row, today, minute):
            return True
    return False


def _is_row_open(row: OpenHours, today: int, minute: int) -> bool:
    if row.from_minute < row.to_minute:
        return today in row.days and row.from_minute <= minute < row.to_minute
    if today in row.days and minute >= row.from_minute:
        return True
    yesterday = (today - 1) % 7
    return yesterday in row.days and minute < row.to_minute


def compile_filter(rule: Filter) -> FailedRule:
    """A function of a lead's data: None when the filter holds, else the first failed rule.

    That reads `state in [CA, NY]: was TX`. Values are compared trimmed and, but for `matches`, in any case. A
    field that is missing or blank meets no rule but `exists: false`, `ne` and `not_in` (and what `not` turns
    round). Raises ConfigError for bounds that are neither numbers nor dates, and for a pattern that is none.
    """
    compiled = _compile(rule)

    def failed_rule(data: Mapping[str, str]) -> str | None:
        return None if compiled.holds(data) else _cut(compiled.why(data), _WHY_CHARACTERS)

    return failed_rule


@frozen
class _Compiled:
    """`why` is only asked when `holds` said no."""

    text: str
    holds: Callable[[Mapping[str, str]], bool]
    why: Callable[[Mapping[str, str]], str]


def _compile(rule: Filter) -> _Compiled:
    if isinstance(rule, FieldRule):
        return _compile_field(rule)
    if isinstance(rule, Not):
        return _compile_not(rule)
    return _compile_group(rule)


def _compile_group(group: AllOf | AnyOf) -> _Compiled:
    parts = tuple(_compile(rule) for rule in group.rules)
    tests = tuple(part.holds for part in parts)
    text = "; ".join(part.text for part in parts)

    def holds_all(data: Mapping[str, str]) -> bool:
        for holds in tests:  # noqa: SIM110 - a generator for `all` costs more than the rules
            if not holds(data):
                return False
        return True

    def why_all(data: Mapping[str, str]) -> str:
        return next(part.why(data) for part in parts if not part.holds(data))

    def holds_any(data: Mapping[str, str]) -> bool:
        for holds in tests:  # noqa: SIM110 - as in holds_all
            if holds(data):
                return True
        return False

    def why_any(data: Mapping[str, str]) -> str:
        return f"none of ({'; '.join(part.why(data) for part in parts)})"

    if isinstance(group, AllOf):
        return _Compiled(text=f"all of ({text})", holds=holds_all, why=why_all)
    return _Compiled(text=f"any of ({text})", holds=holds_any, why=why_any)


def _compile_not(rule: Not) -> _Compiled:
    part = _compile(rule.rule)
    text = f"not ({part.text})"

    def holds(data: Mapping[str, str]) -> bool:
        return not part.holds(data)

    def why(data: Mapping[str, str]) -> str:
        return f"not {part.why(data)}" if isinstance(rule.rule, FieldRule) else f"{text} failed"

    return _Compiled(text=text, holds=holds, why=why)


def _compile_field(rule: FieldRule) -> _Compiled:
    field = rule.field
    holds_missing = rule.op in (FilterOp.NE, FilterOp.NOT_IN)
    if rule.op is FilterOp.EXISTS:
        holds_missing = _wants_nothing(rule)
    text = _rule_text(rule)
    test = _TESTS[rule.op](rule)

    def holds(data: Mapping[str, str]) -> bool:
        value = data.get(field, "").strip()
        return test(value) if value else holds_missing

    def why(data: Mapping[str, str]) -> str:
        value = data.get(field, "").strip()
        return f"{text}: was {_cut(value, _VALUE_CHARACTERS) if value else 'missing'}"

    return _Compiled(text=text, holds=holds, why=why)


def _rule_text(rule: FieldRule) -> str:
    if rule.op is FilterOp.EXISTS:
        shown = "false" if _wants_nothing(rule) else "true"
    elif rule.op is FilterOp.BETWEEN:
        shown = " and ".join(rule.value)
    elif rule.op in (FilterOp.IN, FilterOp.NOT_IN) or len(rule.value) > 1:
        shown = f"[{_listed(rule.value)}]"
    else:
        shown = _cut("".join(rule.value), _LIST_CHARACTERS)
    return f"{_cut(rule.field, _VALUE_CHARACTERS)} {rule.op} {shown}"


def _listed(values: tuple[str, ...]) -> str:
    """As many values as fit: `CA, NY, +39998 more`."""
    shown: list[str] = []
    for value in values:
        if sum(map(len, shown)) + 2 * len(shown) + len(value) > _LIST_CHARACTERS:
            break
        shown.append(value)
    left = len(values) - len(shown)
    return ", ".join([*shown, f"+{left} more"] if left else shown)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


# ------------------------------------------------------------------------------------------------ operators

Test: TypeAlias = Callable[[str], bool]


# Long lists are often the same for many buyers: they share one set, for as long as any of them is there.
_sets: WeakValueDictionary[tuple[str, ...], frozenset[str]] = WeakValueDictionary()


def _folded(values: tuple[str, ...]) -> frozenset[str]:
    found = _sets.get(values)
    if found is None:
        found = _sets[values] = frozenset(value.strip().casefold() for value in values)
    return found


def _is_in(rule: FieldRule) -> Test:
    values = _folded(rule.value)
    return lambda text: text.casefold() in values


def _is_not_in(rule: FieldRule) -> Test:
    values = _folded(rule.value)
    return lambda text: text.casefold() not in values


def _exists(rule: FieldRule) -> Test:
    wants_something = not _wants_nothing(rule)
    return lambda text: wants_something


def _wants_nothing(rule: FieldRule) -> bool:
    return tuple(map(str.casefold, rule.value)) == ("false",)


def _starts(rule: FieldRule) -> Test:
    prefixes = tuple(value.strip().casefold() for value in rule.value)
    return lambda text: text.casefold().startswith(prefixes)


def _contains(rule: FieldRule) -> Test:
    parts = tuple(value.strip().casefold() for value in rule.value)
    return lambda text: any(part in text.casefold() for part in parts)


def _matches(rule: FieldRule) -> Test:
    try:
        searches = tuple(re.compile(pattern).search for pattern in rule.value)
    except re.error as error:
        raise ConfigError(f"filter on {rule.field}: expected a regular expression: {error}") from error
    return lambda text: len(text) <= SUBJECT_CHARACTERS and any(search(text) for search in searches)


def _compares(compare: Callable[[Decimal | date, Decimal | date], bool]) -> Callable[[FieldRule], Test]:
    def make(rule: FieldRule) -> Test:
        (bound,) = _bounds(rule, 1)
        kind = type(bound)

        def test(text: str) -> bool:
            value = _comparable(text)
            return type(value) is kind and compare(value, bound)

        return test

    return make


def _is_between(rule: FieldRule) -> Test:
    """Both ends belong to the range."""
    low, high = _bounds(rule, 2)
    if type(low) is not type(high):
        raise ConfigError(f"filter on {rule.field}: between expects two numbers or two dates")
    is_low, is_high = _TESTS[FilterOp.GTE], _TESTS[FilterOp.LTE]
    above = is_low(FieldRule(field=rule.field, op=FilterOp.GTE, value=rule.value[:1]))
    below = is_high(FieldRule(field=rule.field, op=FilterOp.LTE, value=rule.value[1:]))
    return lambda text: above(text) and below(text)


def _bounds(rule: FieldRule, count: int) -> list[Decimal | date]:
    bounds = [bound for text in rule.value if (bound := _comparable(text.strip())) is not None]
    if len(bounds) != count or len(rule.value) != count:
        wanted = "a number or a date" if count == 1 else "two numbers or two dates"
        raise ConfigError(
            f"filter on {rule.field}: {rule.op} expects {wanted} (2026-11-24), got {', '.join(rule.value)}"
        )
    return bounds


_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _comparable(text: str) -> Decimal | date | None:
    """What a text is ordered as: a number, or an ISO date."""
    if _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            return None
    return parse_number(text)


_TESTS: dict[FilterOp, Callable[[FieldRule], Test]] = {
    FilterOp.EQ: _is_in,
    FilterOp.NE: _is_not_in,
    FilterOp.IN: _is_in,
    FilterOp.NOT_IN: _is_not_in,
    FilterOp.GT: _compares(operator.gt),
    FilterOp.GTE: _compares(operator.ge),
    FilterOp.LT: _compares(operator.lt),
    FilterOp.LTE: _compares(operator.le),
    FilterOp.BETWEEN: _is_between,
    FilterOp.EXISTS: _exists,
    FilterOp.PREFIX: _starts,
    FilterOp.MATCHES: _matches,
    FilterOp.CONTAINS: _contains,
}
