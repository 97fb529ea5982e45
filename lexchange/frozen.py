"""What makes a class a value of the hot path: frozen to the type checker, not at runtime; and changed copies of it.

`dataclass(frozen=True)` sets each field through `object.__setattr__`, which takes four times as long; a ping to five
buyers makes some forty values. mypy refuses an assignment to one all the same.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

Value = TypeVar("Value")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def frozen(cls: type[Value]) -> type[Value]:
    """As `dataclass(frozen=True, slots=True, kw_only=True)`, hash and equality included."""
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)


if TYPE_CHECKING:
    from dataclasses import replace as replace
else:

    def replace(value, /, **changes):
        """As `dataclasses.replace`, for what `frozen` made, at a quarter of its time: a post changes six values."""
        return _copier(type(value), *changes)(value, **changes)

    @functools.cache
    def _copier(cls: type, *changed: str) -> Callable[..., Any]:
        """A function that makes a value with these fields changed, written out as the __init__ of a dataclass is.

        A change of what is no field is refused by the slots of the copy.
        """
        kept = [each.name for each in fields(cls) if each.name not in changed]
        lines = [f"copy_.{name} = value_.{name}" for name in kept] + [f"copy_.{name} = {name}" for name in changed]
        text = "\n    ".join([f"def copier(value_, {', '.join(changed)}):", "copy_ = make_()", *lines, "return copy_"])
        scope: dict[str, Any] = {"make_": functools.partial(object.__new__, cls)}
        exec(text, scope)  # noqa: S102 - names of fields only
        return scope["copier"]
