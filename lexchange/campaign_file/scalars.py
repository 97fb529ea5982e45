"""Reading single values of a campaign file: texts, choices, numbers, money.

What counts is the text as it is written, so `NO`, `02134` and `7.10` stay what they are; quotes change a value only
where its type is kept (`constant`).
"""

import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import TypeVar

from yaml.nodes import ScalarNode

from lexchange.campaign_file.reading import Reader, Unreadable, Value, did_you_mean, got, is_null, is_plain
from lexchange.money import MICROS, parse_micros, parse_share

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

TEXT_CHARACTERS = 4_096
LABEL_CHARACTERS = 200
NUMBER_CHARACTERS = 64


def text(value: Value) -> str:
    """A text that is not blank. Numbers, `yes`, `NO` and dates are taken as written."""
    written = _scalar(value, "a text")
    if not written.strip():
        raise Unreadable(value, "expected a text that is not blank")
    if len(written) > TEXT_CHARACTERS:
        raise Unreadable(value, f"expected at most {TEXT_CHARACTERS} characters; got {len(written)}")
    return written


def label(value: Value) -> str:
    """A name for people: one line, not blank."""
    written = text(value)
    if len(written) > LABEL_CHARACTERS or not written.isprintable():
        raise Unreadable(value, f"expected one line of at most {LABEL_CHARACTERS} characters")
    return written


def compared_text(value: Value) -> str:
    """A text that values are compared with, possibly empty."""
    written = _scalar(value, "a text")
    if is_plain(value.node) and written in ("True", "TRUE", "False", "FALSE"):
        expected = f'expected {written.lower()}, or "{written}" in quotes for the text'
        raise Unreadable(value, f"{expected}; {got(value)}")
    return written


def separator(value: Value) -> str:
    """A short text as it is written, which may be blank or empty."""
    written = _scalar(value, "a text") if not is_null(value.node) else ""
    if len(written) > LABEL_CHARACTERS:
        raise Unreadable(value, f"expected at most {LABEL_CHARACTERS} characters; got {len(written)}")
    return written


def day(value: Value) -> date:
    """A day such as 2026-11-24."""
    written = text(value)
    try:
        found = date.fromisoformat(written)
    except ValueError as error:
        raise Unreadable(value, f"expected a day such as 2026-11-24; {got(value)}") from error
    if found.isoformat() != written:
        raise Unreadable(value, f"expected a day such as 2026-11-24; {got(value)}")
    return found


def matching(pattern: str, expected: str) -> Reader[str]:
    """A text of a shape."""
    shape = re.compile(pattern, re.ASCII)

    def read_matching(value: Value) -> str:
        written = _scalar(value, expected)
        if not shape.fullmatch(written):
            raise Unreadable(value, f"expected {expected}; {got(value)}")
        return written

    return read_matching


@functools.cache
def one_of(kind: type[E]) -> Reader[E]:
    """One of an enum's texts."""
    return choice({member.value: member for member in kind})


def choice(choices: Mapping[str, T]) -> Reader[T]:
    """One of the texts, and what it stands for."""

    expected = f"one of {', '.join(choices)}"

    def read_choice(value: Value) -> T:
        written = _scalar(value, expected)
        if written not in choices:
            raise Unreadable(value, f"expected {expected}; {got(value)}")
        return choices[written]

    return read_choice


def pattern(value: Value) -> str:
    """A regular expression."""
    written = text(value)
    try:
        re.compile(written)
    except (re.error, OverflowError, RecursionError) as error:
        raise Unreadable(value, f"expected a regular expression: {error}; {got(value)}") from error
    return written


def known_name(names: Iterable[str], what: str) -> Reader[str]:
    """One of the names that exist, such as a field of the schema."""
    known = frozenset(names)

    def read_name(value: Value) -> str:
        name = text(value)
        if name not in known:
            raise Unreadable(value, f"expected {what}; {got(value)}{did_you_mean(value, name, known)}")
        return name

    return read_name


def _scalar(value: Value, expected: str) -> str:
    node = value.node
    if not isinstance(node, ScalarNode) or is_null(node):
        raise Unreadable(value, f"expected {expected}; {got(value)}")
    return str(node.value)


# ----------------------------------------------------------------------------------------------------------- numbers


def whole(low: int, high: int) -> Reader[int]:
    """A whole number in a range."""
    digits = len(str(high))
    expected = f"a whole number from {low} to {high}"

    def read_whole(value: Value) -> int:
        written = _scalar(value, expected)
        if not (written.isascii() and written.isdecimal() and len(written) <= digits):
            raise Unreadable(value, f"expected {expected}; {got(value)}")
        if not low <= int(written) <= high:
            raise Unreadable(value, f"expected {expected}; {got(value)}")
        return int(written)

    return read_whole


def number(value: Value, low: int, high: int) -> Decimal:
    """A number in a range, such as 12.5."""
    written = _scalar(value, expected := f"a number from {low} to {high}")
    if not _JSON_NUMBER.fullmatch(written) or len(written) > NUMBER_CHARACTERS or not low <= Decimal(written) <= high:
        raise Unreadable(value, f"expected {expected}; {got(value)}")
    return Decimal(written)


def money(value: Value) -> int:
    """Money in micros, exactly as it is written: no float on the way, and no rounding."""
    written = _scalar(value, "an amount of money")
    amount_micros = _exact(value, parse_micros, written)
    if amount_micros != Decimal(written) * MICROS:
        raise Unreadable(value, f"expected at most 6 decimal places; {got(value)}")
    return amount_micros


def signed_money(value: Value) -> int:
    """Money that may be below zero, in micros."""
    written = _scalar(value, "an amount of money")
    amount_micros = _exact(value, parse_micros, written.removeprefix("-"))
    return -amount_micros if written.startswith("-") else amount_micros


def share(value: Value) -> Fraction:
    """A share from 0 to 1, exactly as it is written."""
    return _exact(value, parse_share, _scalar(value, "a share from 0 to 1"))


def _exact(value: Value, parse: Callable[[str], T], written: str) -> T:
    try:
        return parse(written)
    except ValueError as error:
        raise Unreadable(value, str(error)) from error


def flag(value: Value) -> bool:
    """`true` or `false`; YAML's older words for them are no booleans any more, so they are asked back."""
    expected = "true or false"
    written = _scalar(value, expected)
    if written not in ("true", "false"):
        raise Unreadable(value, f"expected {expected}; {got(value)}")
    return written == "true"


_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
# What one version of YAML or another reads as a number or a boolean, though it looks like a text to some.
_AMBIGUOUS = re.compile(
    r"yes|no|on|off|[-+]?(?:\.?[0-9][0-9_]*(?:\.[0-9_]*)?(?:e[-+]?[0-9]+)?|0[xob][0-9a-f_]+|[0-9]+(?::[0-9]+)+|\.inf)|\.nan",
    re.ASCII | re.IGNORECASE,
)


def constant(value: Value) -> str | int | float | bool:
    """A value that keeps its JSON type: a text in quotes, else what it looks like: `true`, a number, a text."""
    written = _scalar(value, "a text, a number or a boolean")
    if not is_plain(value.node):
        return written
    if written in ("true", "false"):
        return written == "true"
    if _JSON_NUMBER.fullmatch(written):
        return _number(value, written)
    if written in ("True", "TRUE", "False", "FALSE") or _AMBIGUOUS.fullmatch(written):
        raise Unreadable(value, f"expected quotes around a text that could be a number or a boolean; {got(value)}")
    return written


def _number(value: Value, written: str) -> int | float:
    if len(written) > NUMBER_CHARACTERS:
        raise Unreadable(value, f"expected a number that a program can hold; {got(value)}")
    number: int | float = json.loads(written)
    if not (math.isfinite(number) and -(2**63) <= number < 2**64):
        raise Unreadable(value, f"expected a number that a program can hold; {got(value)}")
    return number
