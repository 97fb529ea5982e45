"""The shared SQL as PostgreSQL takes it."""

from collections.abc import Sequence
from functools import lru_cache


@lru_cache(maxsize=1_024)
def numbered(sql: str) -> str:
    """The statement with $1, $2, … for its question marks."""
    head, *tails = sql.split("?")
    return head + "".join(f"${number}{tail}" for number, tail in enumerate(tails, 1))


def unnested(sql: str, types: Sequence[str]) -> str:
    """A bulk `INSERT … VALUES (…) …` that takes an array for each column instead, and writes all their rows."""
    head, _, rest = sql.partition("VALUES (")
    _, _, tail = rest.partition(")")
    arrays = ", ".join(f"${number}::{name}[]" for number, name in enumerate(types, 1))
    return f"{head}SELECT * FROM UNNEST({arrays}){tail}"  # noqa: S608 - a statement of ours and the server's names of types
