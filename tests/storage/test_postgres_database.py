"""The PostgreSQL database: found by its URL, migrated once, refused when it is not ours, divided by months."""

import re
from collections.abc import Iterator

import asyncpg
import pytest

from lexchange.clock import Clock
from lexchange.errors import ConfigError, StorageError
from lexchange.ids import Ids
from lexchange.retention import Part
from lexchange.storage import Store, place_of, purges, statements
from lexchange.storage.postgres.sql import numbered
from lexchange.storage.purges import BELONGING
from lexchange.storage.rooms import empty_sql
from lexchange.storage.schema import pending
from tests.storage.examples import NOW_MS, a_lead, a_ping
from tests.storage.servers import PASSWORD, TEMPLATE, PostgresServer, Servers, migrate, run_apart
from tests.storage.test_postgres import connected

DAY_MS = 86_400_000
EMPTIED = {"late_answers": "owner_id", "fingerprints": "lead_id", "past_deliveries": "delivery_id"}


@pytest.fixture(params=["18", "15"])
def server(request: pytest.FixtureRequest, servers: Servers) -> PostgresServer:
    return servers(request.param)


@pytest.fixture
def place(server: PostgresServer) -> Iterator[str]:
    """The URL of a fresh database."""
    with server.database(TEMPLATE) as url:
        yield url


async def rows(url: str, sql: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


# ------------------------------------------------------------------------------------------------------------ URL


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://me:hush@host", "expected postgresql://user:password@host:port/database"),
        ("postgresql://me:hush@host/", "expected postgresql://user:password@host:port/database"),
        ("postgresql://me:hush@host:port/db", "expected postgresql://user:password@host:port/database"),
        ("postgresql://me:hush@host/db?target_session_attrs=standby", "expected read-write"),
        ("postgresql://me:hush@host/db?synchronous_commit=off", "expected one of on, remote_apply"),
        ("mysql://me:hush@host/db", "postgresql://user:password@host:port/database"),
    ],
)
async def test_unusable_url(url: str, expected: str):
    """An URL that cannot be used says what was expected, and never its password."""
    with pytest.raises(ConfigError, match=re.escape(expected)) as caught:
        async with Store.open(url, busy_timeout_ms=200):
            pass
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://me:a@b/c@h:1,i:2/db?password=x", "postgresql://me@h:1,i:2/db"),
        ("postgres://h/db", "postgres://h/db"),
        ("sqlite:///a?b.db", "sqlite:///a?b.db"),
    ],
)
def test_place_has_no_password(url: str, place: str):
    """What people see of an URL."""
    assert place_of(url) == place


async def test_refused_database_says_what_was_expected(server: PostgresServer, capfd: pytest.CaptureFixture[str]):
    """A wrong password and a database that does not exist are told at once, without the password."""
    for url in (server.url("nowhere"), server.url().replace(PASSWORD, "wrong-" + PASSWORD)):
        with pytest.raises(ConfigError, match="expected postgresql://user:password@host:port/database") as caught:
            async with Store.open(url):
                pass
        assert PASSWORD not in str(caught.value)
    assert PASSWORD not in "".join(capfd.readouterr())


async def test_server_that_is_away_is_refused_in_time():
    """Nobody listens there: that may change, so it is no fault of the configuration."""
    with pytest.raises(StorageError, match=r"cannot connect to postgresql://me@127.0.0.1:1/db"):
        async with Store.open("postgresql://me:hush@127.0.0.1:1/db", busy_timeout_ms=200):
            pass


async def test_first_of_two_hosts_is_dead(place: str):
    """With several hosts, the one that takes writes is found."""
    url = place.replace("@", "@127.0.0.1:1,") + "?target_session_attrs=read-write"
    async with Store.open(url) as store:
        await store.record_ping(a_ping(1))
        assert await store.audit.find_ping(a_ping(1).ping_id) == a_ping(1)


# --------------------------------------------------------------------------------------------------------- schema


async def test_migrations_are_applied_once(place: str):
    """Opening again changes no schema and records each migration once."""
    async with Store.open(place):
        pass
    applied = [(number, name) for number, name, _ in pending("postgres", ())]
    assert await rows(place, "SELECT version, name FROM migrations ORDER BY version") == applied


async def test_newer_schema_is_refused(server: PostgresServer, place: str):
    """A database that a newer version has used is left alone."""
    await rows(place, "INSERT INTO migrations VALUES (99, '0099_later.sql')")
    with pytest.raises(ConfigError, match="schema version 99"):
        async with Store.open(place):
            pass


@pytest.mark.parametrize(
    ("sql", "expected"),
    [("CREATE TABLE pings (x INT)", 'relation "pings" already exists'), ("SELECT 1", "encoding UTF8, got SQL_ASCII")],
)
def test_database_of_others_is_refused(server: PostgresServer, sql: str, expected: str):
    """One with tables of our names, or that cannot hold every text."""
    template = "template1" if "TABLE" in sql else "template0 ENCODING 'SQL_ASCII'"
    with server.database(template) as url:
        server.execute(sql, url.rpartition("/")[2])
        with pytest.raises(ConfigError, match=expected):
            run_apart(migrate(url))


@pytest.mark.parametrize("table", ["pings", "leads", "ping_rows", "lead_rows", "remembered_calls", "breakers"])
async def test_columns_are_those_of_sqlite(place: str, tmp_path: object, table: str):
    """Code selects * and knows the order: it is the same in both engines."""
    async with connected(place) as postgres, Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        sql = "SELECT column_name FROM information_schema.columns WHERE table_name = ? ORDER BY ordinal_position"
        here = [name for (name,) in await postgres.read(sql, (table,))]
        there = await store.audit._connector.read(f"SELECT name FROM pragma_table_info('{table}')")
        assert here == [name for (name,) in there]


# --------------------------------------------------------------------------------------------------------- months


class FixedClock(Clock):
    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms


async def test_ping_lies_in_its_month(place: str):
    """Months are made ahead, and an id finds its own by the time that it begins with."""
    async with Store.open(place) as store:
        await store.make_room(NOW_MS)  # 2025-11-24
        await store.make_room(NOW_MS)
        for days in (0, 10, 400):
            ids = Ids(FixedClock(NOW_MS + days * DAY_MS))
            await store.record_ping(a_ping(1, ping_id=ids.ping_id()))
            await store.claim_lead(a_lead(days, lead_id=ids.lead_id()), now_ms=NOW_MS)
    for table in ("pings", "leads"):
        found = await rows(place, f"SELECT tableoid::regclass::text FROM {table} ORDER BY 1")
        assert found == [(f"{table}_{month}",) for month in ("2025_11", "2025_12", "default")]


async def test_month_that_comes_too_late_stays_in_the_default(place: str):
    """Rows that were there before their month was made are kept where they are; the next months are made."""
    async with Store.open(place) as store:
        ping_id = Ids(FixedClock(NOW_MS)).ping_id()
        await store.record_ping(a_ping(1, ping_id=ping_id))
        await store.make_room(NOW_MS)
        assert await store.audit.find_ping(ping_id) == a_ping(1, ping_id=ping_id)
    found = await rows(place, "SELECT inhrelid::regclass::text FROM pg_inherits ORDER BY 1")
    tables = [name for (name,) in found if isinstance(name, str) and not name.endswith(("pkey", "idx"))]
    assert "pings_2025_11" not in tables
    assert {"leads_2025_11", "pings_2025_12", "pings_2026_01"} <= set(tables)


@pytest.mark.parametrize(
    "sql",
    [
        *(statements.FIND_PING, statements.FIND_REPEAT, statements.CLAIM_PING, statements.FIND_LEAD),
        *(statements.FIND_LEAD_OF_PING, statements.FIND_DELIVERY, statements.MOVE_LEAD, statements.UNRESOLVED_LEADS),
        *(statements.UNKNOWN_LEADS, statements.FIND_DUPLICATES, statements.ADD_FINGERPRINT, statements.TAKE_CAP),
        *(statements.DROP_FINGERPRINTS, statements.GIVE_HOLDS_BACK, statements.DROP_EXPIRED_HOLDS),
        *(statements.GIVE_EXPIRED_HOLDS_BACK, statements.RECENT_PINGS),
        *(purges.drop_sql(part, 4) for part in BELONGING),
        *(purges.drop_belonging_sql(part, table, 4) for part in BELONGING for table in BELONGING[part]),
        *(purges.DROP_DELIVERIES, purges.FORGET_LATE_ANSWERS, purges.BLANK_LEAD, purges.COUNTER_PAGE),
        *(purges.DROP_COUNTER, purges.CALL_PAGE, purges.DROP_CALL),
        *(purges.page_sql(part, 2) for part in Part),
        *(empty_sql(table, key) for table, key in EMPTIED.items()),
        *(statements.FIND_ANY_PING, statements.FIND_LEAD_OF_ANY_PING, statements.read_counters(2)),
        *(statements.TAKE_LEASED, statements.END_CAP_LEASES, statements.GIVE_LEASES_BACK, statements.DROP_LEASES),
    ],
)
async def test_statement_can_use_an_index(place: str, sql: str):
    """No statement of a call has to read a whole table, whatever its parameters."""
    connection = await asyncpg.connect(place)
    await connection.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
    await connection.execute("PREPARE explained AS " + numbered(sql))
    nulls = ", ".join(["NULL"] * sql.count("?"))
    plan = "\n".join([row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE explained ({nulls})")])
    await connection.close()
    assert "Seq Scan" not in plan, plan
