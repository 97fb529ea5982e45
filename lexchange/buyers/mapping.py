"""Mapping: what of a lead, and of everything around it, goes to a buyer under which of his names.

Pure. It knows values and paths; how they are written is `formats.py`.
"""

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import TypeAlias

from lexchange.buyers.documents import Document, Value, compile_walk, scalar_text
from lexchange.buyers.paths import parse_path
from lexchange.buyers.transforms import compile_transforms
from lexchange.campaign import Cast, MappedField
from lexchange.eligibility import compile_filter
from lexchange.errors import LexchangeError
from lexchange.filters import EVERY_LEAD, AllOf
from lexchange.frozen import frozen

MAX_DIGITS = 18  # an integer that every reader of JSON holds in 64 bits

_INTEGER = re.compile(rf"[+-]?\d{{1,{MAX_DIGITS}}}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,2})?", re.ASCII)
_BOOLEANS = {"true": True, "1": True, "yes": True, "y": True, "on": True}
_BOOLEANS |= {"false": False, "0": False, "no": False, "n": False, "off": False}


class UnmappableLead(LexchangeError):
    """The lead cannot be written as this buyer wants it. Names the buyer's field, never its value."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


@frozen
class MappingValues:
    """What a buyer's fields can be filled from. `ping_response` is the winner's own answer to his ping."""

    lead: Mapping[str, str]
    ping_id: str | None
    campaign_id: str
    campaign_name: str
    src: str
    lead_id: str | None = None
    delivery_id: str | None = None
    now_ms: int
    ping_response: Document | None = None


Mapped: TypeAlias = list[tuple[str, Value]]
MapValues: TypeAlias = Callable[[MappingValues], Mapped]
_Read: TypeAlias = Callable[[MappingValues], Value | None]


def compile_mapping(fields: Iterable[MappedField]) -> MapValues:
    """A function that lists (path, value) in the fields' order; a field without value and default is left out.

    Raises ValueError saying what was expected; the function raises UnmappableLead when a value cannot be cast.
    """
    readers = tuple((field.path, _compile_field(field)) for field in fields)

    def map_values(values: MappingValues) -> Mapped:
        return [(path, value) for path, read in readers if (value := read(values)) is not None]

    return map_values


def _compile_field(field: MappedField) -> _Read:
    if bool(field.sources) == (field.constant is not None):
        raise ValueError(f"{field.path}: expected either a value or where it comes from")
    read = _compile_constant(field) if field.constant is not None else _compile_value(field)
    return read if field.when == EVERY_LEAD else _with_condition(read, field.when)


def _compile_constant(field: MappedField) -> _Read:
    assert field.constant is not None
    constant = _fixed(field.path, field.constant, field.cast)
    return lambda _: constant


def _compile_value(field: MappedField) -> _Read:
    """Where it comes from, then its transforms, map, default and cast: each sees what the one before it made."""
    default = None if field.default is None else _fixed(field.path, field.default, field.cast)
    is_open = default is None
    read = _compile_sources(field)
    if field.transforms:
        read = _with_transforms(read, field, is_open=is_open)
    if field.value_map:
        read = _with_map(read, field.value_map, is_open=is_open)
    if field.cast is not None:
        read = _with_cast(read, CASTS[field.cast], field, is_open=is_open)
    return read if default is None else _with_default(read, default)


def _with_condition(read: _Read, when: AllOf) -> _Read:
    failed_rule = compile_filter(when)
    return lambda values: None if failed_rule(values.lead) else read(values)


def _fixed(path: str, value: str | int | float | bool, cast: Cast | None) -> Value:
    """A constant or default of the configuration, cast once."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path}: expected a finite number")
    if isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        raise ValueError(f"{path}: expected a number of at most {MAX_DIGITS} digits, or a quoted text")
    fixed = CASTS[cast](value) if cast else value
    if fixed is None:
        raise ValueError(f"{path}: expected a value that can be sent as {cast}")
    return fixed


def _with_transforms(read: _Read, field: MappedField, *, is_open: bool) -> _Read:
    """What a step leaves empty counts as missing; what it cannot change makes the lead unmappable, or the default."""
    try:
        transform = compile_transforms(field.transforms)
    except ValueError as error:
        raise ValueError(f"{field.path}: {error}") from error
    steps = ", ".join(each.name for each in field.transforms)

    def read_transformed(values: MappingValues) -> Value | None:
        value = read(values)
        if value is None:
            return None
        text = scalar_text(value)
        changed = None if text is None else transform(text, values.now_ms)
        if changed is None and is_open:
            raise UnmappableLead(field.path, f"{_named(field)} cannot go through {steps}")
        return changed or None

    return read_transformed


def _with_map(read: _Read, value_map: Mapping[str, str], *, is_open: bool) -> _Read:
    """Look the value's text up; what the map does not know passes where it `is_open`, else counts as missing."""

    def read_mapped(values: MappingValues) -> Value | None:
        value = read(values)
        text = None if value is None else scalar_text(value)
        if text is not None and text in value_map:
            return value_map[text]
        return value if is_open else None

    return read_mapped


def _with_cast(read: _Read, cast: Callable[[Value], Value | None], field: MappedField, *, is_open: bool) -> _Read:
    def read_cast(values: MappingValues) -> Value | None:
        value = read(values)
        if value is None:
            return None
        result = cast(value)
        if result is None and is_open:
            raise UnmappableLead(field.path, f"{_named(field)} cannot be sent as {field.cast}")
        return result

    return read_cast


def _named(field: MappedField) -> str:
    return " and ".join(field.sources)


def _with_default(read: _Read, default: Value) -> _Read:
    def read_or_default(values: MappingValues) -> Value | None:
        value = read(values)
        return default if value is None else value

    return read_or_default


# --------------------------------------------------------------------------------------------------------- sources

PING_RESPONSE = "ping_response"


def _utc_now(values: MappingValues) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(values.now_ms // 1000))


SOURCES: dict[str, _Read] = {
    "ping.ping_id": lambda values: values.ping_id,
    "campaign.id": lambda values: values.campaign_id,
    "campaign.name": lambda values: values.campaign_name,
    "source.src": lambda values: values.src,
    "lead_id": lambda values: values.lead_id,
    "delivery_id": lambda values: values.delivery_id,
    "now": _utc_now,
}


def _compile_sources(field: MappedField) -> _Read:
    reads = tuple(map(_compile_source, field.sources))
    if field.join is not None:
        return _joined(reads, field.join)
    return reads[0] if len(reads) == 1 else _first_of(reads)


def _first_of(reads: tuple[_Read, ...]) -> _Read:
    def read_first(values: MappingValues) -> Value | None:
        found = (read(values) for read in reads)
        return next((value for value in found if value not in (None, "")), None)

    return read_first


def _joined(reads: tuple[_Read, ...], separator: str) -> _Read:
    def read_joined(values: MappingValues) -> Value | None:
        texts = [scalar_text(value) for read in reads if (value := read(values)) is not None]
        return separator.join(text for text in texts if text) or None

    return read_joined


def _compile_source(source: str) -> _Read:
    if source in SOURCES:
        return SOURCES[source]
    if source.startswith("lead.") and source != "lead.":
        name = source.removeprefix("lead.")
        return lambda values: values.lead.get(name)
    rest = source.removeprefix(PING_RESPONSE)
    if rest != source and rest[:1] in (".", "["):
        return _compile_ping_response(rest.removeprefix("."))
    known = ", ".join(["lead.<field>", *SOURCES, f"{PING_RESPONSE}.<path>"])
    raise ValueError(f"{source}: expected one of {known}")


def _compile_ping_response(path: str) -> _Read:
    walk = compile_walk(parse_path(path))

    def read(values: MappingValues) -> Value | None:
        return None if values.ping_response is None else walk(values.ping_response)

    return read


# ----------------------------------------------------------------------------------------------------------- casts


def _to_integer(value: Value) -> int | None:
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    if isinstance(value, float | Decimal):
        return int(value) if abs(value) < 10**MAX_DIGITS and value % 1 == 0 else None
    text = scalar_text(value)
    return int(text) if text is not None and _INTEGER.fullmatch(text) else None


def _to_number(value: Value) -> Value | None:
    """The number exactly as it is written: a Decimal, or an int where that is the same."""
    if isinstance(value, float | Decimal):
        return value
    whole = _to_integer(value)
    if whole is not None or isinstance(value, bool):
        return whole
    text = scalar_text(value)
    return Decimal(text) if text is not None and _NUMBER.fullmatch(text) else None


def _to_boolean(value: Value) -> bool | None:
    text = scalar_text(value)
    return None if text is None else _BOOLEANS.get(text.lower())


CASTS: dict[Cast, Callable[[Value], Value | None]] = {
    Cast.TEXT: scalar_text,
    Cast.INTEGER: _to_integer,
    Cast.NUMBER: _to_number,
    Cast.BOOLEAN: _to_boolean,
}
