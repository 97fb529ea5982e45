"""Filters: which leads a buyer wants, as an operator writes it. Pure values; `eligibility.py` compiles them."""

from dataclasses import dataclass
from enum import StrEnum


class FilterOp(StrEnum):
    """Operators of a buyer's filter."""

    EQ = "eq"
    NE = "ne"
    IN = "in"
    NOT_IN = "not_in"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    BETWEEN = "between"
    EXISTS = "exists"
    PREFIX = "prefix"
    MATCHES = "matches"
    CONTAINS = "contains"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRule:
    """One comparison of a lead field. `value` holds what the operator needs: one text, several, two bounds."""

    field: str
    op: FilterOp
    value: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AllOf:
    """Every rule holds."""

    rules: tuple["Filter", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyOf:
    """At least one rule holds."""

    rules: tuple["Filter", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Not:
    """The rule does not hold."""

    rule: "Filter"


Filter = FieldRule | AllOf | AnyOf | Not

EVERY_LEAD = AllOf(rules=())
