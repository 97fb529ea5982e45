"""Reads a campaign's schema: system fields with their overrides, then its own fields."""

from functools import partial

from lexchange.campaign import DATA_FIELDS, ENVELOPE_FIELDS, TEST_MODE_FIELD, FieldSpec, FieldType
from lexchange.campaign_file.reading import Section, Unreadable, Value, list_of, once_each
from lexchange.campaign_file.scalars import flag, matching, one_of, text
from lexchange.campaign_file.scope import Claims

NAME = matching("[A-Za-z_][A-Za-z0-9_]{0,63}", "1 to 64 letters, digits or _, no digit first")

_VALUES = once_each(text)
_SYSTEM = {spec.name: spec for spec in DATA_FIELDS}
_ENVELOPE = {spec.name for spec in ENVELOPE_FIELDS}


def read_fields(value: Value) -> tuple[FieldSpec, ...]:
    """The whole schema; a system field stays in its place."""
    names = Claims()
    found = list_of(partial(_read_field, names=names), at_least=0)(value)
    given = {spec.name: spec for spec in found}
    system = tuple(given.pop(spec.name, spec) for spec in DATA_FIELDS)
    return (*system, *given.values())


def _read_field(value: Value, names: Claims) -> FieldSpec:
    with Section(value) as section:
        name = section.need("name", names.claiming(_read_name), "")
        default = _SYSTEM.get(name) or FieldSpec(name=name)
        values = section.take("values", _VALUES, default.values)
        has_values = bool(section.given("values"))
        kind = section.take("type", one_of(FieldType), FieldType.ENUM if has_values else default.type)
        if kind is FieldType.ENUM and not has_values:
            value.report("missing key values: type enum needs the allowed ones")
        if kind is not FieldType.ENUM:
            section.refuse("values", "only for type enum")
        spec = FieldSpec(
            name=name,
            type=kind,
            required_on_ping=section.take("required_on_ping", flag, default.required_on_ping),
            required_on_post=section.take("required_on_post", flag, default.required_on_post),
            values=values,
            description=section.take("description", text, default.description),
            is_system=default.is_system,
        )
        if name == TEST_MODE_FIELD:
            _keep_test_mode(section, spec)
        return spec


def _read_name(value: Value) -> str:
    name = NAME(value)
    if name in _ENVELOPE:
        raise Unreadable(value, f"{name} travels beside data and is always required where it belongs: leave it out")
    return name


def _keep_test_mode(section: Section, spec: FieldSpec) -> None:
    for key in ("type", "values"):
        section.refuse(key, f"{TEST_MODE_FIELD} keeps its type: a typo must never go live")
    if spec.required_on_ping:
        section.refuse("required_on_ping", f"{TEST_MODE_FIELD} stays optional")
    if spec.required_on_post:
        section.refuse("required_on_post", f"{TEST_MODE_FIELD} stays optional")
