"""The database file: migrated once, refused when it is not ours, found by its URL, searched by its indexes."""

import asyncio
import os
import re
import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest

from lexchange.errors import ConfigError, StorageError
from lexchange.lead import LeadState, PingState
from lexchange.storage import Store, back_up, statements
from lexchange.storage.connector import Statement
from lexchange.storage.schema import pending
from lexchange.storage.sqlite import SqliteConnector
from tests.storage.examples import LATE, NOW_MS, a_lead, a_ping, slot


async def test_stored_is_there_after_reopening(file: str):
    """What a verb has acknowledged is there when the store is opened again."""
    url = f"sqlite:///{file}"
    async with Store.open(url) as store:
        await store.record_ping(a_ping(1), [slot("c")])
        await store.record_late_answers("home", a_ping(1).ping_id, [LATE])
        await store.claim_lead(a_lead(1), now_ms=NOW_MS)
    async with Store.open(url) as store:
        ping = await store.audit.find_ping(a_ping(1).ping_id)
        assert ping is not None
        assert ping.buyers[-1] == LATE
        assert await store.audit.find_lead(a_lead(1).lead_id) == a_lead(1)
        assert await store.read_counters(["c"]) == {"c": 1}


async def test_migrations_are_applied_once(file: str):
    """Opening again changes no schema and records each migration once."""
    for _ in range(2):
        async with Store.open(f"sqlite:///{file}"):
            pass
    with sqlite3.connect(file) as database:
        rows = database.execute("SELECT version, name FROM migrations").fetchall()
        assert rows == [(number, name) for number, name, _ in pending("sqlite", ())]
    database.close()


async def test_newer_schema_is_refused(file: str):
    """A database that a newer version has used is left alone."""
    async with Store.open(f"sqlite:///{file}"):
        pass
    with sqlite3.connect(file) as database:
        database.execute("INSERT INTO migrations VALUES (99, '0099_later.sql')")
    database.close()
    with pytest.raises(ConfigError, match="schema version 99"):
        async with Store.open(f"sqlite:///{file}"):
            pass


async def test_other_file_is_refused(tmp_path: Path):
    """A file that is no database is neither used nor changed."""
    file = tmp_path / "notes.txt"
    file.write_text("not a database, and longer than the header of one would be\n" * 20)
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="expected an SQLite database"):
        async with Store.open(f"sqlite:///{file}"):
            pass
    assert file.read_bytes() == before


async def test_database_is_readable_by_its_owner_only(file: str):
    """The file holds people's data: no other account reads it, nor its log."""
    async with Store.open(f"sqlite:///{file}") as store:
        await store.record_ping(a_ping(1))
        assert [mode(file + end) for end in ("", "-wal", "-shm")] == [0o600] * 3


def mode(file: str) -> int:
    return Path(file).stat().st_mode & 0o777


async def test_memory_store_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`:memory:` is a store of its own that is gone when closed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with Store.open("sqlite:///:memory:") as store, Store.open("sqlite:///:memory:") as other:
        await store.record_ping(a_ping(1))
        assert await store.audit.find_ping(a_ping(1).ping_id) == a_ping(1)
        assert await other.audit.find_ping(a_ping(1).ping_id) is None
    assert os.listdir(tmp_path) == []


async def test_path_with_a_slash_too_many(file: str):
    """A doubled slash in front of an absolute path is one."""
    async with Store.open(f"sqlite:////{file}") as store:
        await store.record_ping(a_ping(1))
    async with Store.open(f"sqlite:///{file}") as store:
        assert await store.audit.find_ping(a_ping(1).ping_id) == a_ping(1)


async def test_relative_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Three slashes are relative to the working directory; odd characters are part of the name."""
    monkeypatch.chdir(tmp_path)
    async with Store.open("sqlite:///odd ?#%41.db") as store:
        await store.record_ping(a_ping(1))
    assert (tmp_path / "odd ?#%41.db").is_file()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mysql://host/db", "expected sqlite:///relative/path"),
        ("lexchange.db", "expected sqlite:///relative/path"),
        ("sqlite://lexchange.db", "expected sqlite:///relative/path"),
        ("sqlite:///", "expected sqlite:///relative/path"),
        ("sqlite:////no/such/folder/x.db", "expected an existing folder"),
    ],
)
async def test_unusable_url(url: str, expected: str):
    """An URL that cannot be used says what was expected."""
    with pytest.raises(ConfigError, match=re.escape(expected)):
        async with Store.open(url):
            pass


def check_of(engine: str, table: str) -> set[str]:
    """The state names in a table's CHECK."""
    script = (files("lexchange.storage") / "migrations" / engine / "0001_init.sql").read_text("utf-8")
    body = script[script.index(f"CREATE TABLE {table} (") :]
    found = re.search(r"CHECK \(state IN \(([^)]*)\)\)", body)
    assert found
    return set(re.findall(r"'(\w+)'", found[1]))


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_checks_repeat_the_states(engine: str):
    """The database knows the states of lead.py, all and no other."""
    assert check_of(engine, "pings") == set(PingState)
    assert check_of(engine, "leads") == set(LeadState)


async def test_fraction_of_a_micro_is_refused(connector: SqliteConnector):
    """Money columns take whole micros only."""
    with pytest.raises(StorageError, match="INTEGER"):
        await Store(connector).record_ping(a_ping(1, bid_micros=0.5))


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        (statements.FIND_PING, "pings USING INDEX sqlite_autoindex_pings_1"),
        (statements.FIND_PING, "late_answers USING INDEX sqlite_autoindex_late_answers_1"),
        (statements.FIND_REPEAT, "pings USING INDEX pings_by_repeat_key"),
        (statements.FIND_LEAD_OF_PING, "leads USING INDEX sqlite_autoindex_leads_1"),
        (statements.FIND_DELIVERY, "leads USING INDEX leads_by_delivery"),
        (statements.FIND_DELIVERY, "past_deliveries USING PRIMARY KEY"),
        (statements.UNRESOLVED_LEADS, "leads USING INDEX leads_unresolved"),
        (statements.CLAIM_PING, "pings USING INDEX sqlite_autoindex_pings_1"),
        (statements.FIND_DUPLICATES, "fingerprints USING PRIMARY KEY"),
        (statements.DROP_FINGERPRINTS, "fingerprints USING INDEX fingerprints_by_lead"),
        (statements.ADD_FINGERPRINT, "fingerprints USING PRIMARY KEY"),
        (statements.DROP_EXPIRED_HOLDS, "cap_holds USING INDEX cap_holds_by_expiry"),
        (statements.GIVE_HOLDS_BACK, "cap_counters USING PRIMARY KEY"),
        (statements.GIVE_EXPIRED_HOLDS_BACK, "cap_counters USING PRIMARY KEY"),
        (statements.TAKE_LEASED, "cap_leases USING PRIMARY KEY"),
        (statements.TAKE_LEASED, "cap_counters USING PRIMARY KEY"),
        (statements.END_CAP_LEASES, "cap_leases USING PRIMARY KEY"),
        (statements.GIVE_LEASES_BACK, "cap_counters USING PRIMARY KEY"),
        (statements.DROP_LEASES, "cap_leases USING PRIMARY KEY"),
        (statements.read_counters(2), "cap_leases USING PRIMARY KEY"),
    ],
)
async def test_statement_uses_its_index(connector: SqliteConnector, sql: str, index: str):
    """No statement of a call reads a whole table."""
    explained = Statement(sql="EXPLAIN QUERY PLAN " + sql, params=("x",) * sql.count("?"))
    plan = "\n".join(str(row[3]) for row in (await connector.write((explained,))).rows[0])
    assert index in plan.replace("COVERING ", ""), plan
    assert not re.search(r"SCAN (pings|leads|late_answers|cap_\w+|fingerprints)\b(?! USING)", plan), plan


def log_bytes(file: str) -> int:
    return os.path.getsize(f"{file}-wal")


async def test_log_that_a_long_read_has_let_grow_is_cut(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody reads one moment, the log keeps everything since; then it begins anew, and small."""
    monkeypatch.setattr("lexchange.storage.sqlite.file.LOG_BYTES", 1 << 20)
    async with Store.open(f"sqlite:///{file}") as store:
        with closing(sqlite3.connect(file, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT COUNT(*) FROM pings").fetchone()
            for number in range(0, 8_000, 500):
                await asyncio.gather(*(store.record_ping(a_ping(each)) for each in range(number, number + 500)))
            assert log_bytes(file) > 9 << 20
        for number in range(9_000, 9_003):
            await store.record_ping(a_ping(number))
        assert log_bytes(file) <= 1 << 20


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("nowhere/copy.db", "in a folder that is there"),
        ("store.db/copy.db", "in a folder"),
        ("x" * 250, "File name too l"),
    ],
)
async def test_backup_says_why_it_cannot_be_written(place: str, told: str, tmp_path: Path) -> None:
    """The place is told, and no traceback."""
    async with Store.open(f"sqlite:///{tmp_path}/store.db"):
        with pytest.raises(ConfigError, match=f"{place}: .*{told}"):
            await back_up(f"sqlite:///{tmp_path}/store.db", tmp_path / place)


def test_database_of_another_program_is_left_alone(file: str) -> None:
    """A mistyped path puts nothing into somebody else's file."""
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    before = Path(file).read_bytes()
    with pytest.raises(ConfigError, match="expected a store, or no file yet; got the database of another program"):
        asyncio.run(SqliteConnector.open(file, busy_timeout_ms=50, waiting_units=150))
    assert Path(file).read_bytes() == before
