"""A whole store copied into another, of the same engine or not, and proved equal.

A copy that was ended anywhere goes on where it was. While it is unfinished no exchange opens the target. Nothing keeps
one from writing to the source: whoever copies sees to it that none does, and the proof at the end tells if one did.
"""

from collections.abc import Callable
from dataclasses import dataclass

from lexchange.errors import ConfigError, StorageError
from lexchange.storage.contents import Contents, Mark
from lexchange.storage.tables import TABLES, Checksum, Table, days_of

Tell = Callable[[str, str, int, int], None]
"""Told after every batch: the step, the table, how many of its rows are done, and of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What both sides hold of a table, and how many of its rows this run has brought."""

    table: str
    source: Checksum
    target: Checksum
    brought: int

    @property
    def is_equal(self) -> bool:
        """Whether they hold the same rows."""
        return (self.source.rows, self.source.digits) == (self.target.rows, self.target.digits)


class Copy:
    """One run of a copy; `begin` makes it, then `run` copies what is missing, `compare` proves, `finish` unlocks."""

    def __init__(self, source: Contents, target: Contents, mark: Mark, tell: Tell) -> None:
        self._source = source
        self._target = target
        self._mark = mark
        self._tell = tell
        self._totals: dict[str, int] = {}
        self._brought: dict[str, int] = {}
        self.is_resumed = bool(mark.after)

    @classmethod
    async def begin(cls, source: Contents, target: Contents, source_name: str, tell: Tell) -> "Copy":
        """Mark an empty target, or find where to go on; ConfigError for a target that holds anything else."""
        mark = await target.mark()
        if mark is None:
            if not await target.is_empty():
                raise ConfigError("expected an empty store or an unfinished copy of the source, got one that has rows")
            mark = Mark(source=source_name)
            await target.begin(mark)
        elif mark.source != source_name:
            raise ConfigError(f"expected an unfinished copy of {source_name}, got one of {mark.source}")
        return cls(source, target, mark, tell)

    async def run(self) -> None:
        """Copy what is missing."""
        for table in TABLES:
            self._totals[table.name] = await self._source.count(table)
        begun = [table.name for table in TABLES].index(self._mark.table)
        for table in TABLES[begun:]:
            await self._copy(table)

    async def compare(self) -> list[Copied]:
        """Read both sides from end to end."""
        return [
            Copied(
                table=table.name,
                source=await self._sum("checked in source", self._source, table),
                target=await self._sum("checked in target", self._target, table),
                brought=self._brought.get(table.name, 0),
            )
            for table in TABLES
        ]

    async def finish(self) -> None:
        """Say that the target is whole."""
        await self._target.finish(self._mark)

    async def _copy(self, table: Table) -> None:
        """A table, or what is missing of the one that an earlier run was ended in."""
        after = self._mark.after if table.name == self._mark.table else ()
        done = await self._target.count(table) if after else 0
        brought = 0
        try:
            async for rows in self._source.pages(table, after):
                await self._target.make_room(list(days_of(table, rows)))
                mark = Mark(source=self._mark.source, table=table.name, after=table.key_of(rows[-1]))
                await self._target.add(table, rows, self._mark, mark)
                self._mark = mark
                brought += len(rows)
                self._tell("copied", table.name, done + brought, self._totals[table.name])
        except StorageError as error:
            raise StorageError(f"{table.name}, after {done + brought} rows: {error}") from error
        self._brought[table.name] = brought

    async def _sum(self, step: str, side: Contents, table: Table) -> Checksum:
        checksum = Checksum()
        async for rows in side.pages(table):
            checksum.add(rows)
            self._tell(step, table.name, checksum.rows, self._totals[table.name])
        return checksum
