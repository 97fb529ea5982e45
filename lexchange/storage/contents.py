"""All that is stored, table by table, in batches that memory can hold; and the mark of a copy that is under way.

The mark is committed with every batch, so whatever ends a copy, the mark says where it goes on. It is written in terms
of the source's order of keys, because engines sort texts differently.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import orjson

from lexchange.errors import StorageError
from lexchange.storage.connector import Connector, Row, Statement, Unit
from lexchange.storage.schema import UNFINISHED
from lexchange.storage.tables import TABLES, Table

FIND_MARK = "SELECT name FROM migrations WHERE version = ?"
ADD_MARK = "INSERT INTO migrations (version, name) VALUES (?, ?) ON CONFLICT (version) DO NOTHING RETURNING version"
MOVE_MARK = "UPDATE migrations SET name = ? WHERE version = ? AND name = ? RETURNING version"
DROP_MARK = "DELETE FROM migrations WHERE version = ? AND name = ? RETURNING version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a copy has come: all tables before `table`, and of that one the rows up to the key `after`."""

    source: str
    table: str = TABLES[0].name
    after: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The mark as it is stored."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def of(cls, text: str) -> "Mark":
        """The mark that was stored so."""
        stored = orjson.loads(text)
        return cls(**stored | {"after": tuple(stored["after"])})


class Contents:
    """Every table's rows, to read and to add."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    async def count(self, table: Table) -> int:
        """How many rows a table has."""
        ((count,),) = await self._connector.scan(f"SELECT COUNT(*) FROM {table.name}")  # noqa: S608 - our own name
        return int(count)

    async def is_empty(self) -> bool:
        """Whether no table has a row."""
        for table in TABLES:
            if await self._connector.scan(_page_sql(table, is_first=True), (1,)):
                return False
        return True

    async def pages(self, table: Table, after: tuple[str, ...] = ()) -> AsyncIterator[Sequence[Row]]:
        """The rows behind a key, or all, in the order of their keys, a batch at a time."""
        while True:
            rows = await self._connector.scan(_page_sql(table, is_first=not after), (*after, table.batch_rows))
            if rows:
                yield rows
            if len(rows) < table.batch_rows:
                return
            after = table.key_of(rows[-1])

    async def make_room(self, days: Sequence[int]) -> None:
        """Prepare the tables for rows of these days."""
        for day_ms in days:
            await self._connector.make_room(day_ms)

    # ------------------------------------------------------------------------------------------------ a copy's side

    async def mark(self) -> Mark | None:
        """The mark of an unfinished copy."""
        found = await self._connector.scan(FIND_MARK, (UNFINISHED,))
        return Mark.of(found[0][0]) if found else None

    async def begin(self, mark: Mark) -> None:
        """Mark the store: until `finish` no exchange opens it."""
        await self._step(Statement(sql=ADD_MARK, params=(UNFINISHED, mark.text), guard=mark))

    async def add(self, table: Table, rows: Sequence[Row], before: Mark, after: Mark) -> None:
        """Add rows and move the mark, in one transaction."""
        move = Statement(sql=MOVE_MARK, params=(after.text, UNFINISHED, before.text), guard=before)
        await self._step(move, *(Statement(sql=_insert_sql(table), params=row, is_bulk=True) for row in rows))

    async def finish(self, mark: Mark) -> None:
        """Take the mark away: the store is whole."""
        await self._step(Statement(sql=DROP_MARK, params=(UNFINISHED, mark.text), guard=mark))

    async def _step(self, *unit: Statement) -> None:
        if (await self._connector.write(Unit(unit))).failed_guard is not None:
            raise StorageError("another copy is writing to the same store")


@lru_cache(maxsize=64)
def _page_sql(table: Table, *, is_first: bool) -> str:
    key, marks = ", ".join(table.key), ", ".join("?" * table.key_length)
    behind = "" if is_first else f"WHERE ({key}) > ({marks}) "
    return f"SELECT {', '.join(table.columns)} FROM {table.name} {behind}ORDER BY {key} LIMIT ?"  # noqa: S608 - our own names


@lru_cache(maxsize=64)
def _insert_sql(table: Table) -> str:
    marks = ", ".join("?" * len(table.columns))
    return f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({marks})"  # noqa: S608 - our own names
