"""Stores that an older lexchange has filled: what a migration makes of their rows, and what a copy knows of them."""

import sqlite3
from collections.abc import Sequence

import asyncpg
import pytest

from lexchange.storage import Store, file_of
from lexchange.storage.connector import Row
from lexchange.storage.schema import pending
from lexchange.storage.tables import NOT_COPIED, TABLES

BEFORE_CAMPAIGNS = """
INSERT INTO pings VALUES ('PING-1', 'home', 'S', 0, 1, 2, 'claimed', '', 'b', 1, 1, 'v', NULL, 'L-1', '{}');
INSERT INTO leads VALUES ('L-1', 'PING-1', 'home', 'S', 0, 1, 1, 'delivered', '', 'DEL-2', 'b', 1, 1, 'v', '{}');
INSERT INTO leads VALUES ('L-2', NULL, 'car', 'S', 0, 1, 1, 'delivered', '', 'DEL-3', 'b', 1, 1, 'v', '{}');
INSERT INTO past_deliveries VALUES ('DEL-1', 'L-1');
INSERT INTO past_deliveries VALUES ('DEL-0', 'L-0');
INSERT INTO late_answers VALUES ('PING-1', 'b', '{}');
INSERT INTO late_answers VALUES ('L-2', 'c', '{}');
INSERT INTO late_answers VALUES ('PING-0', 'b', '{}');
INSERT INTO cap_counters VALUES ('home:buyer:b:leads:total:all', 7);
INSERT INTO cap_counters VALUES ('car:source:S:leads:day:2026-11-24', 8);
INSERT INTO cap_holds VALUES ('PING-1', 'home:buyer:b:leads:total:all', 3, 9);
"""


async def fill_older(url: str, newer: str, rows: str) -> None:
    """A store as it was before a migration, with rows."""
    names = ["CREATE TABLE migrations (version BIGINT PRIMARY KEY, name TEXT NOT NULL)"]
    engine = "sqlite" if file_of(url) else "postgres"
    for number, name, script in pending(engine, ()):
        if name.endswith(newer):
            break
        names += [script, f"INSERT INTO migrations VALUES ({number}, '{name}')"]
    sql = ";\n".join([*names, rows])
    if path := file_of(url):
        with sqlite3.connect(path) as database:
            database.executescript(sql.replace("version BIGINT", "version INTEGER"))
        database.close()
        return
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


async def of(store: Store, sql: str) -> Sequence[Row]:
    return await store.audit._connector.scan(sql)


async def test_rows_of_an_older_store_learn_their_campaign(empty_url: str):
    """By their lead or ping, or by the name of their counter; what belongs to nothing that is there, to none."""
    await fill_older(empty_url, "_campaigns.sql", BEFORE_CAMPAIGNS)
    async with Store.open(empty_url) as store:
        assert await of(store, "SELECT delivery_id, lead_id, campaign FROM past_deliveries ORDER BY delivery_id") == [
            ("DEL-0", "L-0", ""),
            ("DEL-1", "L-1", "home"),
        ]
        assert await of(store, "SELECT campaign, owner_id, buyer FROM late_answers ORDER BY campaign") == [
            ("", "PING-0", "b"),
            ("car", "L-2", "c"),
            ("home", "PING-1", "b"),
        ]
        assert await of(store, "SELECT campaign, counter, amount, expires_ms FROM cap_holds") == [
            ("home", "home:buyer:b:leads:total:all", 3, 9)
        ]
        counters = ["home:buyer:b:leads:total:all", "car:source:S:leads:day:2026-11-24", "car:none"]
        assert await store.read_counters(counters) == dict(zip(counters, (7, 8, 0), strict=True))
        assert await store.release_expired_holds("home", 9) == 1
        assert (await store.read_counters(counters))[counters[0]] == 4


async def test_copy_knows_every_column(store: Store, url: str):
    """What a migration has added is copied too, on either engine."""
    columns = (
        "SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns "
        "WHERE tables.type = 'table'"
        if file_of(url)
        else "SELECT table_name, column_name FROM information_schema.columns JOIN pg_class ON relname = table_name "
        "WHERE table_schema = 'public' AND relkind IN ('r', 'p') AND NOT relispartition"
    )
    found = [(table, column) for table, column in await of(store, columns) if table not in NOT_COPIED]
    assert sorted(found) == sorted((table.name, column) for table in TABLES for column in table.columns)


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_migrations_are_numbered(engine: str):
    """No two begin with the same number, so that their order is one that people can read."""
    names = [name for _, name, _ in pending(engine, ())]
    assert len({name[:4] for name in names}) == len(names)
