"""Fields: what a campaign's schema makes of a caller's data. Compiled once; finds all problems at once.

It judges text only: what a value means to a buyer is his mapping's business. A message says what was expected
and never repeats the value, which may be somebody's e-mail or phone number.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeAlias

from lexchange.call import FieldProblem
from lexchange.campaign import ENVELOPE_FIELDS, TEST_MODE_FIELD, FieldSpec, FieldType, FrozenFields, OnChange
from lexchange.config import Limits
from lexchange.field_types import FIELD_TYPES, Fits
from lexchange.frozen import frozen
from lexchange.shapes import Shapes, plain_pattern

MOST_BYTES_A_CHARACTER = 4  # in UTF-8
_TEST_MODES = {"": False, "0": False, "false": False, "1": True, "true": True}
_PLAIN_TEST_MODE = "|".join(filter(None, _TEST_MODES))


class Stage(StrEnum):
    """Which of the two calls the data came with. A direct post counts as a post."""

    PING = "ping"
    POST = "post"


@frozen
class Checked:
    """Data after its check. `data` is fit to be stored: known fields that are not blank, exactly as sent.

    A value of a wrong type stays in `data`, for the audit; one too long or with unfit characters does not.
    """

    data: dict[str, str]
    dropped: tuple[str, ...]  # names the schema does not know, sorted
    problems: tuple[FieldProblem, ...]  # in schema order, at most one for each field
    is_test: bool


# Name, problem when missing (None: optional), type check (None: any text), problem when the type is wrong.
_Row: TypeAlias = tuple[str, FieldProblem | None, Fits | None, FieldProblem]


@frozen
class Schema:
    """A campaign's fields, ready to check data. Made by `compile_schema`."""

    known: frozenset[str]
    required: dict[Stage, frozenset[str]]
    typed: tuple[tuple[str, Fits], ...]
    rows: dict[Stage, tuple[_Row, ...]]  # all but Test_Mode
    value_bytes: int
    shapes: Shapes

    def check(self, data: Mapping[str, str], stage: Stage) -> Checked:
        """Check the data of one call. Blank counts as absent; Test_Mode is read, but never kept."""
        return self._flawless(data, stage) or self._judged(data, stage)

    def _flawless(self, data: Mapping[str, str], stage: Stage) -> Checked | None:
        """Data that nothing is wrong with, as nearly always: looked at as a whole, which is many times as fast."""
        is_test = read_test_mode(data)
        if isinstance(is_test, FieldProblem) or not self.required[stage] <= data.keys():
            return None
        if not self.shapes.is_plain(data) and not self._fits(data):
            return None
        kept = dict(data)
        kept.pop(TEST_MODE_FIELD, None)
        return Checked(data=kept, dropped=(), problems=(), is_test=is_test)

    def _fits(self, data: Mapping[str, str]) -> bool:
        """What a look at the shape of the data says too, with the whole truth about each type."""
        values = data.values()
        return (
            data.keys() <= self.known
            and all(values)
            and "".join(values).isprintable()
            and max(map(len, values), default=0) <= self.value_bytes // MOST_BYTES_A_CHARACTER
            and not any(map(str.isspace, values))
            and all(fits(data[name]) for name, fits in self.typed if name in data)
        )

    def _judged(self, data: Mapping[str, str], stage: Stage) -> Checked:
        """Field by field, with all that is wrong."""
        kept: dict[str, str] = {}
        problems: list[FieldProblem] = []
        is_test = read_test_mode(data)
        if isinstance(is_test, FieldProblem):
            problems.append(is_test)
        elif TEST_MODE_FIELD in self.required[stage] and not data.get(TEST_MODE_FIELD):
            problems.append(_missing(TEST_MODE_FIELD))
        surely_short = self.value_bytes // MOST_BYTES_A_CHARACTER
        for name, missing, fits, misfit in self.rows[stage]:
            value = data.get(name)
            if not value or value.isspace():
                if missing:
                    problems.append(missing)
                continue
            is_plain = len(value) <= surely_short and value.isprintable()
            if not is_plain and (problem := _unfit(name, value, self.value_bytes)):
                problems.append(problem)
                continue
            kept[name] = value
            if fits and not fits(value):
                problems.append(misfit)
        return Checked(
            data=kept,
            dropped=tuple(sorted(data.keys() - self.known)),
            problems=tuple(problems),
            is_test=is_test is True,
        )


def compile_schema(fields: tuple[FieldSpec, ...], limits: Limits) -> Schema:
    """The schema of a campaign's fields, in their order. SRC, KEY and ping_id never count as data."""
    apart = {TEST_MODE_FIELD, *(field.name for field in ENVELOPE_FIELDS)}
    specs = [field for field in fields if field.name not in apart]
    known = frozenset([TEST_MODE_FIELD, *(field.name for field in specs)])
    required = {
        Stage.PING: known & {field.name for field in fields if field.required_on_ping},
        Stage.POST: known & {field.name for field in fields if field.required_on_post},
    }
    rows = {stage: tuple(_row(field, field.name in required[stage]) for field in specs) for stage in Stage}
    patterns = {field.name: plain_pattern(field) for field in specs} | {TEST_MODE_FIELD: _PLAIN_TEST_MODE}
    return Schema(
        known=known,
        required=required,
        typed=tuple((name, fits) for name, _, fits, _ in rows[Stage.PING] if fits),
        rows=rows,
        value_bytes=limits.value_bytes,
        shapes=Shapes(patterns, limits.value_bytes // MOST_BYTES_A_CHARACTER),
    )


def read_test_mode(data: Mapping[str, str]) -> bool | FieldProblem:
    """Whether the call is a test. Any text but these is a problem, so that a typo never goes live."""
    is_test = _TEST_MODES.get(data.get(TEST_MODE_FIELD, ""))
    if is_test is not None:
        return is_test
    return FieldProblem(field=TEST_MODE_FIELD, code="invalid_value", message="expected 1, true, 0 or false")


def is_test_call(data: Mapping[str, str]) -> bool:
    """Whether the call is surely a test; usable before the schema check."""
    return read_test_mode(data) is True


def frozen_problems(
    frozen: FrozenFields | None, post_data: Mapping[str, str], ping_data: Mapping[str, str]
) -> tuple[FieldProblem, ...]:
    """The frozen fields that a post changes against its ping; none when the campaign keeps the ping's values.

    Both are checked data. A field that either leaves out is not changed.
    """
    if frozen is None or frozen.on_change is OnChange.KEEP_PING:
        return ()
    return tuple(
        FieldProblem(field=name, code="differs_from_ping", message="expected the value that the ping had")
        for name in frozen.fields
        if name in post_data and name in ping_data and post_data[name] != ping_data[name]
    )


def fill_from_ping(
    post_data: Mapping[str, str], ping_data: Mapping[str, str], frozen: FrozenFields | None = None
) -> dict[str, str]:
    """The lead: the post's data, with the ping's where the post has none or may not differ (`keep_ping`)."""
    lead = {**ping_data, **post_data}
    if frozen is not None and frozen.on_change is OnChange.KEEP_PING:
        lead.update({name: ping_data[name] for name in frozen.fields if name in ping_data})
    return lead


# C0 controls but tab, newline and return; and surrogates, which no UTF-8 can carry.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


def _unfit(name: str, value: str, value_bytes: int) -> FieldProblem | None:
    """What keeps a value from being stored and forwarded at all."""
    if len(value.encode("utf-8", "surrogatepass")) > value_bytes:
        return FieldProblem(field=name, code="too_long", message=f"expected at most {value_bytes} bytes")
    if _UNFIT.search(value):
        message = "expected text without control characters or broken Unicode"
        return FieldProblem(field=name, code="invalid_characters", message=message)
    return None


def _row(field: FieldSpec, is_required: bool) -> _Row:
    missing = _missing(field.name) if is_required else None
    if field.type is FieldType.ENUM:
        values = frozenset(field.values)
        message = f"expected one of: {_listed(field.values)}"
        fits: Fits | None = values.__contains__
        misfit = FieldProblem(field=field.name, code="not_in_enum", message=message)
    else:
        fits, expected = FIELD_TYPES[field.type]
        misfit = FieldProblem(field=field.name, code="invalid_type", message=f"expected {expected}")
    return field.name, missing, fits, misfit


def _missing(name: str) -> FieldProblem:
    return FieldProblem(field=name, code="required", message="expected a value")


def _listed(values: tuple[str, ...]) -> str:
    shown = ", ".join(values[:50])
    return shown if len(values) <= 50 else f"{shown} and {len(values) - 50} more"
