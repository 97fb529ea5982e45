"""What makes a class a value of the hot path: frozen to the type checker, not at runtime.

`dataclass(frozen=True)` sets each field through `object.__setattr__`, which takes four times as long; a ping to five
buyers makes some forty values. mypy refuses an assignment to one all the same.
"""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

Value = TypeVar("Value")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def frozen(cls: type[Value]) -> type[Value]:
    """As `dataclass(frozen=True, slots=True, kw_only=True)`, hash and equality included."""
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)
