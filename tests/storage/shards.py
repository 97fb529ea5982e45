"""Which shard a statement's rows are in: what it says of the key of each table that it names.

Reads the SQL of statements.py, not any SQL: an `OR` beside a key, or a key from a function, it takes for no key.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

CAMPAIGN, SOURCE = "campaign", "src"

KEYS = {
    **dict.fromkeys(("pings", "leads", "ping_rows", "lead_rows", "late_answers", "past_deliveries"), CAMPAIGN),
    **dict.fromkeys(("cap_counters", "cap_holds", "cap_leases", "fingerprints", "turns"), CAMPAIGN),
    "remembered_calls": SOURCE,
}
"""What the rows of a table are spread by; equal campaigns are in one place."""

EVERYWHERE = {"breakers", "workers", "config_versions", "current_configuration"}
"""Small tables that every shard has whole."""

TOKEN = re.compile(r"'[^']*'|[A-Za-z_][\w.]*|\?|\d+|<>|<=|>=|\S")
TABLE_AFTER = {"FROM", "JOIN", "INTO", "UPDATE"}
NO_TABLE = {"SET", "UNNEST"}


class TwoShards(Exception):
    """The statement may touch rows of two shards; says of which table it does not say where."""


@dataclass
class Block:
    """One SELECT, INSERT, UPDATE or DELETE without those inside it. `marks` are places of parameters, from 0."""

    tokens: list[str] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)  # for each token that is a question mark, its number


@dataclass(frozen=True)
class Place:
    """The table, and the parameter that names the shard of its rows; None where another table's rows do."""

    table: str
    mark: int | None


def places(sql: str) -> list[Place]:
    """Where the statement's rows are; TwoShards when that is not one place for each of its tables."""
    return [place for block in blocks(sql) for place in _places(block)]


def blocks(sql: str) -> Iterator[Block]:
    """The statement, and each SELECT in parentheses."""
    stack: list[Block | None] = [Block()]
    tokens, mark = TOKEN.findall(sql), 0
    for number, token in enumerate(tokens):
        if token == "(":
            stack.append(Block() if tokens[number + 1].upper() == "SELECT" else None)
            continue
        if token == ")":
            block = stack.pop()
            if block is not None:
                yield block
            continue
        block = next(each for each in reversed(stack) if each is not None)
        block.tokens.append(token)
        if token == "?":
            block.marks.append(mark)
            mark += 1
    assert len(stack) == 1
    assert stack[0] is not None
    yield stack[0]


def _places(block: Block) -> Iterator[Place]:
    tables = list(_tables(block.tokens))
    for table in tables:
        if table in EVERYWHERE:
            continue
        key = KEYS.get(table)
        if key is None:
            raise TwoShards(f"{table} has no key")
        mark = _mark(block, table, key)
        if mark is None and not _is_joined(block, table, key, tables):
            raise TwoShards(f"{table}: no `{key} = ?`")
        yield Place(table, mark)


def _tables(tokens: list[str]) -> Iterator[str]:
    for word, table in pairwise(tokens):
        if word.upper() in TABLE_AFTER and table.upper() not in NO_TABLE and table != "SELECT":
            yield table


def _mark(block: Block, table: str, key: str) -> int | None:
    """The parameter that the key equals, or that an INSERT writes into it."""
    words = [token.upper() for token in block.tokens]
    if words[:2] == ["INSERT", "INTO"] and block.tokens[2] == table:
        return _inserted(block, key)
    start = words.index("WHERE") if "WHERE" in words else len(words)
    if "OR" in words[start:]:
        return None  # a condition that need not hold
    for at in range(start, len(words) - 2):
        if block.tokens[at] in (key, f"{table}.{key}") and block.tokens[at + 1 : at + 3] == ["=", "?"]:
            return block.marks[block.tokens[:at].count("?")]
    return None


def _inserted(block: Block, key: str) -> int | None:
    """The columns of an INSERT and its question marks are in one order, as far as the keys go."""
    end = next(at for at, token in enumerate(block.tokens) if token.upper() in ("VALUES", "SELECT"))
    columns = [token for token in block.tokens[3:end] if token != ","]
    return block.marks[columns.index(key)] if key in columns else None


def _is_joined(block: Block, table: str, key: str, tables: list[str]) -> bool:
    """Whether the rows are those beside another table's of the same block, by both keys."""
    text = " ".join(block.tokens)
    others = [other for other in tables if other != table and KEYS.get(other) == key]
    pairs = [pair for other in others for pair in ((table, other), (other, table))]
    return any(f"{left}.{key} = {right}.{key}" in text for left, right in pairs)
