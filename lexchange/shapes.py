"""Shapes: data that nothing is wrong with, told at one look. Pure.

A source sends the same fields in every call, so their check is compiled: one regular expression for all of their
values, a line each. It knows what is plainly right, as nearly everything is; the rest is looked at field by field.
A protobuf map comes in whatever order its sender's hash table has that day, so a shape is a set of names, in no order.
"""

import re
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import TypeAlias

from lexchange.campaign import FieldSpec, FieldType
from lexchange.field_types import PLAIN

MOST_SHAPES = 64  # of a schema, and a bound: each takes some ms to compile
MOST_ENUM_CHARACTERS = 1_000  # of a list that is in a regular expression
_TEXT = r" *[^\x00-\x20\x7f][^\x00-\x1f\x7f]*"  # not blank, on one line

_Values: TypeAlias = Callable[[Mapping[str, str]], tuple[str, ...]]


class Shapes:
    """One schema's. `patterns` say what a plain value of each field looks like."""

    def __init__(self, patterns: Mapping[str, str], most_characters: int) -> None:
        self._patterns = patterns
        self._most_characters = most_characters
        self._shapes: dict[frozenset[str], tuple[_Values, re.Pattern[str]]] = {}

    def is_plain(self, data: Mapping[str, str]) -> bool:
        """Whether all fields are known and all values short, printable, not blank, and right for their type.

        False says nothing: all may be so even then.
        """
        names = frozenset(data)
        shape = self._shapes.get(names) or self._learn(names)
        if shape is None:
            return False
        read, pattern = shape
        values = read(data)
        text = "\n".join(values)
        return (
            len(text) <= self._most_characters
            and pattern.match(text) is not None
            and (text.isascii() or "".join(values).isprintable())
        )

    def _learn(self, names: frozenset[str]) -> tuple[_Values, re.Pattern[str]] | None:
        if not names or len(self._shapes) >= MOST_SHAPES or not self._patterns.keys() >= names:
            return None
        ordered = sorted(names)
        # A line that has matched is never gone back into: the time taken is what each line takes for itself.
        lines = [rf"(?>(?:{self._patterns[name]})\n)" for name in ordered[:-1]]
        last = rf"(?>(?:{self._patterns[ordered[-1]]})\Z)"
        shape = self._shapes[names] = (_reader(ordered), re.compile("".join([*lines, last])))
        return shape


def _reader(names: list[str]) -> _Values:
    """What takes the values of these fields out of data, as a tuple even of one."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda data: (data[names[0]],)


def plain_pattern(field: FieldSpec) -> str:
    """What a plain value of a field looks like; nothing does where that is easier looked up."""
    if field.type is not FieldType.ENUM:
        return PLAIN.get(field.type, _TEXT)
    values = [value for value in field.values if value.strip() and value.isprintable()]
    is_short = 0 < sum(map(len, values)) <= MOST_ENUM_CHARACTERS
    return "|".join(map(re.escape, values)) if is_short else "(?!)"
