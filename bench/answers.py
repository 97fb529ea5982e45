"""Answers: whether an exchange said yes. Load generators take a business no for a success; its store has them all."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg

from bench.child import BenchError
from bench.load import MOST_FAILED

_FILE = "sqlite:///"
_NOES = {"pings": "'no_sale'", "leads": "'rejected', 'failed', 'unknown'"}
_KEYS = {"pings": "ping_id", "leads": "lead_id"}  # in the order of time
_COUNTED = "SELECT reason, COUNT(*) FROM {table} WHERE {key} > '{last}'{only} GROUP BY reason"


class Answers:
    """What a store, an SQLite file or a PostgreSQL database, gets to hold from now on."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._last = dict.fromkeys(_KEYS, "")
        if store.startswith(_FILE) and Path(store.removeprefix(_FILE)).exists():
            for table, key in _KEYS.items():
                self._last[table] = str(self._read(f"SELECT COALESCE(MAX({key}), '') FROM {table}")[0][0])

    def check(self) -> None:
        """Raises BenchError when more than a few pings were not sold, or leads not delivered."""
        for table, states in _NOES.items():
            every = {"table": table, "key": _KEYS[table], "last": self._last[table]}
            noes = self._read(_COUNTED.format(**every, only=f" AND state IN ({states})"))
            all_count = sum(count for _, count in self._read(_COUNTED.format(**every, only="")))
            if sum(count for _, count in noes) > all_count * MOST_FAILED:
                told = ", ".join(f"{count} {reason}" for reason, count in noes)
                raise BenchError(f"of {all_count} {table} the exchange said no to some: {told}")

    def _read(self, query: str) -> list[tuple[str, int]]:
        if not self._store.startswith(_FILE):
            return asyncio.run(_read_postgres(self._store, query))
        file = self._store.removeprefix(_FILE)
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()


async def _read_postgres(url: str, query: str) -> list[tuple[str, int]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()
