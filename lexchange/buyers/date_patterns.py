"""Date patterns: `MM/DD/YYYY` as posting specifications write it, to read and to write dates and times. Pure.

YYYY YY MM M DD D MMM (Jan) HH mm ss stand for what they are called; T, Z and punctuation for themselves.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time

ISO = "YYYY-MM-DD"  # as a field of type date or datetime is sent: a time and an offset may follow

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBERS = {name.casefold(): number for number, name in enumerate(_MONTHS, 1)}
_CENTURY_PIVOT = 68  # a two-digit year up to it is of the 2000s, as POSIX has it
_ANY_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ].*)?", re.ASCII)

# Part of a pattern: the expression it is read by, the part of a datetime it fills, and how it is written.
_PARTS: dict[str, tuple[str, str, Callable[[datetime], str]]] = {
    "YYYY": (r"(\d{4})", "year", lambda at: f"{at.year:04}"),
    "YY": (r"(\d{2})", "year", lambda at: f"{at.year % 100:02}"),
    "MMM": (r"([A-Za-z]{3})", "month", lambda at: _MONTHS[at.month - 1]),
    "MM": (r"(\d{2})", "month", lambda at: f"{at.month:02}"),
    "M": (r"(\d{1,2})", "month", lambda at: str(at.month)),
    "DD": (r"(\d{2})", "day", lambda at: f"{at.day:02}"),
    "D": (r"(\d{1,2})", "day", lambda at: str(at.day)),
    "HH": (r"(\d{2})", "hour", lambda at: f"{at.hour:02}"),
    "mm": (r"(\d{2})", "minute", lambda at: f"{at.minute:02}"),
    "ss": (r"(\d{2})", "second", lambda at: f"{at.second:02}"),
}
_TOKEN = re.compile("|".join(sorted(_PARTS, key=len, reverse=True)) + r"|[TZ]|[^A-Za-z%]")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatePattern:
    """`read` gives a date, a datetime where there is a time, or None; `write` takes either.

    There is no `read` for a pattern that lacks a part of the day.
    """

    read: Callable[[str], date | None] | None
    write: Callable[[date], str]


@functools.cache
def compile_pattern(pattern: str) -> DatePattern:
    """Raises ValueError saying what was expected."""
    tokens = _TOKEN.findall(pattern)
    if "".join(tokens) != pattern or not any(token in _PARTS for token in tokens):
        known = " ".join(_PARTS)
        raise ValueError(f"expected a date pattern such as MM/DD/YYYY, of {known}, T, Z and punctuation; got {pattern}")
    return DatePattern(read=_read_iso if pattern == ISO else _compile_read(tokens), write=_compile_write(tokens))


def _read_iso(text: str) -> date | None:
    if not _ANY_ISO.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text) if len(text) == len(ISO) else datetime.fromisoformat(text)
    except ValueError:
        return None


def _compile_read(tokens: list[str]) -> Callable[[str], date | None] | None:
    names = [_PARTS[token][1] for token in tokens if token in _PARTS]
    if not {"year", "month", "day"} <= set(names):
        return None
    expression = re.compile("".join(_PARTS[t][0] if t in _PARTS else re.escape(t) for t in tokens), re.ASCII)
    has_time = "hour" in names

    def read(text: str) -> date | None:
        found = expression.fullmatch(text)
        if found is None:
            return None
        parts = {name: _number(name, digits) for name, digits in zip(names, found.groups(), strict=True)}
        try:
            at = datetime(**parts)  # type: ignore[arg-type]  # noqa: DTZ001 - the pattern tells no offset
        except ValueError:
            return None
        return at if has_time else at.date()

    return read


def _number(name: str, written: str) -> int:
    if name == "month" and not written.isdecimal():
        return _MONTH_NUMBERS.get(written.casefold(), 0)
    number = int(written)
    if name == "year" and len(written) == 2:
        return number + (2000 if number <= _CENTURY_PIVOT else 1900)
    return number


def _compile_write(tokens: list[str]) -> Callable[[date], str]:
    writers = tuple(_PARTS[token][2] if token in _PARTS else _same(token) for token in tokens)

    def write(found: date) -> str:
        at = found if isinstance(found, datetime) else datetime.combine(found, time.min)
        return "".join([writer(at) for writer in writers])

    return write


def _same(token: str) -> Callable[[datetime], str]:
    return lambda _: token
