"""What makes a class a value of the hot path: frozen to the type checker, not at runtime; and quick ways to make one.

`dataclass(frozen=True)` sets each field through `object.__setattr__`, which takes four times as long; a ping to five
buyers makes some forty values. mypy refuses an assignment to one all the same.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, dataclass_transform

Value = TypeVar("Value")
Parameters = ParamSpec("Parameters")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def frozen(cls: type[Value]) -> type[Value]:
    """As `dataclass(frozen=True, slots=True, kw_only=True)`, hash and equality included."""
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)


if TYPE_CHECKING:
    from dataclasses import replace as replace

    def maker(cls: Callable[Parameters, Value]) -> Callable[Parameters, Value]:
        """Typed as the class itself."""

    def as_dict(value: object, /) -> dict[str, Any]:
        """Of any value."""
else:

    def replace(value, /, **changes):
        """As `dataclasses.replace`, for what `frozen` made, at a quarter of its time: a post changes six values."""
        return _copier(type(value), *changes)(value, **changes)

    def maker(cls):
        """What makes a value of a `frozen` class, in half the time: a class gets its keywords in a dict."""
        parameters = ", ".join(_parameter(each) for each in fields(cls))
        defaults = {f"default_{each.name}": each.default for each in fields(cls)}
        return _written(cls, f"*, {parameters}", {each.name: each.name for each in fields(cls)}, **defaults)

    def as_dict(value, /):
        """A value's fields, as they are; orjson's `default`, who asks a dataclass with slots for more than them."""
        return _unpacker(type(value))(value)

    @functools.cache
    def _unpacker(cls: type) -> Callable[..., Any]:
        entries = ", ".join(f"{each.name!r}: value.{each.name}" for each in fields(cls))
        return _executed(f"def unpack(value):\n    return {{{entries}}}")["unpack"]

    @functools.cache
    def _copier(cls: type, *changed: str) -> Callable[..., Any]:
        """A function that copies field by field, but for what is changed. No other name has a slot in the copy."""
        sources = {each.name: f"value_.{each.name}" for each in fields(cls)} | {name: name for name in changed}
        return _written(cls, f"value_, {', '.join(changed)}", sources)

    def _parameter(each: Field[Any]) -> str:
        """A field as a parameter; what a factory makes is no default of a function."""
        assert each.default_factory is MISSING
        return each.name if each.default is MISSING else f"{each.name}=default_{each.name}"

    def _written(cls: type, parameters: str, sources: Mapping[str, str], **names: Any) -> Callable[..., Any]:
        """A function that fills a new value, written out as the __init__ of a dataclass is."""
        lines = "".join(f"    made.{name} = {source}\n" for name, source in sources.items())
        text = f"def make({parameters}):\n    made = new(cls)\n{lines}    return made"
        return _executed(text, new=object.__new__, cls=cls, **names)["make"]

    def _executed(text: str, **scope: Any) -> dict[str, Any]:
        exec(text, scope)  # noqa: S102 - made of names of fields only
        return scope
