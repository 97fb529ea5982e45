"""The shared SQL as PostgreSQL takes it."""

from collections.abc import Sequence
from functools import lru_cache


@lru_cache(maxsize=1_024)
def numbered(sql: str) -> str:
    """The statement with $1, $2, … for its question marks."""
    head, *tails = sql.split("?")
    return head + "".join(f"${number}{tail}" for number, tail in enumerate(tails, 1))


@lru_cache(maxsize=1_024)
def told(sql: str) -> str:
    """A guarded statement that returns a row for each that it changes, where it does not say what it returns."""
    is_change = sql.split(maxsplit=1)[0] in ("INSERT", "UPDATE", "DELETE")
    return f"{sql}\nRETURNING 1" if is_change and "RETURNING" not in sql else sql


def unnested(sql: str, types: Sequence[str]) -> str:
    """A bulk `INSERT … VALUES (…) …` that takes an array for each column instead, and writes all their rows."""
    head, _, rest = sql.partition("VALUES (")
    _, _, tail = rest.partition(")")
    arrays = ", ".join(f"${number}::{name}[]" for number, name in enumerate(types, 1))
    return f"{head}SELECT * FROM UNNEST({arrays}){tail}"  # noqa: S608 - a statement of ours and the server's names of types
