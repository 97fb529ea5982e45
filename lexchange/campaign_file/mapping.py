"""Reads the fields of a buyer's request: his name for each, and where its value comes from."""

from functools import partial

from lexchange.buyers.mapping import SOURCES
from lexchange.campaign import Cast, MappedField
from lexchange.campaign_file.answers import path_problem
from lexchange.campaign_file.filters import read_filter, read_filters
from lexchange.campaign_file.reading import (
    Reader,
    Section,
    Unreadable,
    Value,
    attempt,
    did_you_mean,
    entries,
    got,
    is_list,
    once_each,
)
from lexchange.campaign_file.scalars import compared_text, constant, one_of, separator, text
from lexchange.campaign_file.scope import Scope
from lexchange.campaign_file.transforms import read_transforms
from lexchange.filters import EVERY_LEAD, AllOf

# What the exchange knows of a lead besides its data. A value that is not known yet is left out of the request.
EXCHANGE_VALUES = tuple(SOURCES)
_WITH_FROM = ("join", "transform", "map", "default")
LEAD = "lead."
PING_RESPONSE = "ping_response"


def read_ping_fields(value: Value, scope: Scope) -> tuple[MappedField, ...]:
    """The fields of a ping."""
    why_not = "a ping has no answer to take it from yet: only post fields may"
    return _read_fields(value, scope, partial(_read_source, scope=scope, why_not=why_not))


def read_post_fields(value: Value, scope: Scope, has_ping: bool) -> tuple[MappedField, ...]:
    """The fields of a post, which may take values from the answer to the buyer's own ping."""
    why_not = "" if has_ping else "this buyer has no ping that could be answered"
    return _read_fields(value, scope, partial(_read_source, scope=scope, why_not=why_not))


def _read_fields(value: Value, scope: Scope, read_source: Reader[str]) -> tuple[MappedField, ...]:
    read = partial(_read_field, scope=scope, read_source=read_source)
    stand_in = MappedField(path="")
    return tuple(attempt(each, read, stand_in) for each in entries(value).values())


def _read_field(value: Value, scope: Scope, read_source: Reader[str]) -> MappedField:
    path = str(value.key)
    read_sources = partial(_read_sources, read_source=read_source)
    with Section(value) as section:
        if section.has_only("from"):  # as in most; the rest would ask for each key that may be there
            return MappedField(path=path, sources=section.need("from", read_sources, ()))
        given = section.given("from", "value")
        if len(given) != 1:
            section.given(*_WITH_FROM, "as", "when")
            raise Unreadable(value, f"expected either from or value; got {' and '.join(given) or 'neither'}")
        cast = section.take("as", one_of(Cast), None)
        when = section.take("when", partial(_read_when, scope=scope), EVERY_LEAD)
        if given == ["value"]:
            for key in section.given(*_WITH_FROM):
                section.refuse(key, "only with from: a value is the same for every lead")
            return MappedField(path=path, constant=section.need("value", constant, ""), cast=cast, when=when)
        sources = section.need("from", read_sources, ())
        join = section.take("join", separator, None)
        if join is not None and len(sources) == 1:
            section.refuse("join", "only with a list of several in from")
        return MappedField(
            path=path,
            sources=sources,
            join=join,
            transforms=section.take("transform", partial(read_transforms, scope=scope), ()),
            value_map=section.take("map", _read_value_map, {}),
            default=section.take("default", constant, None),
            cast=cast,
            when=when,
        )


def _read_sources(value: Value, read_source: Reader[str]) -> tuple[str, ...]:
    return once_each(read_source)(value) if is_list(value) else (read_source(value),)


def _read_when(value: Value, scope: Scope) -> AllOf:
    return read_filters(value, scope) if is_list(value) else AllOf(rules=(read_filter(value, scope),))


def _read_value_map(value: Value) -> dict[str, str]:
    found = {key: attempt(each, compared_text, "") for key, each in entries(value).items()}
    if not found:
        raise Unreadable(value, "expected at least one value to translate")
    return found


def _read_source(value: Value, scope: Scope, why_not: str) -> str:
    written = text(value)
    if written in EXCHANGE_VALUES:
        return written
    if written.startswith(LEAD):
        return _lead_field(value, written, scope)
    if written.startswith((f"{PING_RESPONSE}.", f"{PING_RESPONSE}[")):
        return _ping_response(value, written, why_not)
    known = [*EXCHANGE_VALUES, *(LEAD + field for field in sorted(scope.fields))]
    expected = f"expected lead.…, ping_response.… or one of {', '.join(EXCHANGE_VALUES)}"
    raise Unreadable(value, f"{expected}; {got(value)}{did_you_mean(value, written, known)}")


def _lead_field(value: Value, written: str, scope: Scope) -> str:
    if written.removeprefix(LEAD) not in scope.fields:
        known = [LEAD + field for field in scope.fields]
        hint = did_you_mean(value, written, known)
        raise Unreadable(value, f"expected lead. and a field of the campaign; {got(value)}{hint}")
    return written


def _ping_response(value: Value, written: str, why_not: str) -> str:
    if why_not:
        raise Unreadable(value, f"{written}: {why_not}")
    problem = path_problem(written.removeprefix(PING_RESPONSE).removeprefix("."))
    if problem:
        raise Unreadable(value, f"expected {PING_RESPONSE} and a path: {problem}")
    return written
