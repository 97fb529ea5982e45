"""Reads transforms: the steps that a value goes through before a buyer gets it."""

from collections.abc import Callable
from functools import partial

from lexchange.buyers.date_patterns import ISO
from lexchange.buyers.transforms import compile_transforms
from lexchange.campaign_file.reading import Reader, Section, Unreadable, Value, got, is_list, is_mapping, list_of
from lexchange.campaign_file.scalars import matching, one_of, separator, text, whole
from lexchange.campaign_file.schedule import read_time_zone
from lexchange.campaign_file.scope import Scope
from lexchange.transforms import Transform, TransformName

Arguments = tuple[str | int, ...]

_LENGTH = whole(1, 4_096)
_PLACES = whole(0, 6)
_PART = matching("-?[0-9]{1,2}", "a whole number from -99 to 99: 0 is the first part, -1 the last")
_REGION = matching("[A-Z]{2}", "a country of two letters such as US")


def read_transforms(value: Value, scope: Scope) -> tuple[Transform, ...]:
    """One step, or a list of them in their order."""
    read_one = partial(_read_transform, scope=scope)
    return list_of(read_one)(value) if is_list(value) else (read_one(value),)


def _read_transform(value: Value, scope: Scope) -> Transform:
    """A name, or a mapping of one name to its arguments."""
    if not is_mapping(value):
        name = one_of(TransformName)(value)
        if name in _NEEDS_ARGUMENTS:
            raise Unreadable(value, f"expected a mapping {{{name}: …}}, because it needs arguments; {got(value)}")
        return Transform(name=name, arguments=(scope.time_zone,) if name is TransformName.AGE else ())
    with Section(value) as section:
        given = section.given(*_ARGUMENTS)
        if len(given) != 1:
            raise Unreadable(value, f"expected one transform; got {' and '.join(given) or 'none'}")
        name = TransformName(given[0])
        arguments: Arguments = section.need(name, lambda each: _ARGUMENTS[name](each, scope), ())
        transform = Transform(name=name, arguments=arguments)
        if arguments:
            _try_out(section, transform)
        return transform


def _try_out(section: Section, transform: Transform) -> None:
    """Compile it as the exchange will, to hear now what it would say then."""
    found = section.find(transform.name)
    assert found is not None
    try:
        compile_transforms([transform])
    except ValueError as error:
        raise Unreadable(found, str(error)) from error


def _one(read: Reader[str] | Reader[int]) -> Callable[[Value, Scope], Arguments]:
    return lambda value, scope: (read(value),)


def _read_date(value: Value, scope: Scope) -> Arguments:
    if not is_mapping(value):
        return (text(value),)
    with Section(value) as section:
        return (
            section.need("to", text, ISO),
            section.take("from", text, ISO),
            section.take("time_zone", read_time_zone, ""),
        )


def _read_age(value: Value, scope: Scope) -> Arguments:
    with Section(value) as section:
        return section.take("time_zone", read_time_zone, scope.time_zone), section.take("from", text, ISO)


def _read_replace(value: Value, scope: Scope) -> Arguments:
    with Section(value) as section:
        return section.need("find", _some_text, "-"), section.take("with", separator, "")


def _read_split(value: Value, scope: Scope) -> Arguments:
    with Section(value) as section:
        return section.need("by", _some_text, "-"), int(section.need("part", _PART, "0"))


def _some_text(value: Value) -> str:
    written = separator(value)
    if not written:
        raise Unreadable(value, "expected a text that is not empty")
    return written


_ARGUMENTS: dict[str, Callable[[Value, Scope], Arguments]] = {
    TransformName.AGE: _read_age,
    TransformName.DATE: _read_date,
    TransformName.E164: _one(_REGION),
    TransformName.FIRST: _one(_LENGTH),
    TransformName.LAST: _one(_LENGTH),
    TransformName.NATIONAL: _one(_REGION),
    TransformName.PREFIX: _one(_some_text),
    TransformName.REPLACE: _read_replace,
    TransformName.ROUND: _one(_PLACES),
    TransformName.SPLIT: _read_split,
    TransformName.SUFFIX: _one(_some_text),
}
_NEEDS_ARGUMENTS = frozenset(_ARGUMENTS) - {TransformName.AGE, TransformName.E164, TransformName.NATIONAL}
