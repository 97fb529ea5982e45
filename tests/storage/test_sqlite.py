"""What only the SQLite engine promises under load and faults: group commit, all or nothing, recovery."""

import asyncio
import resource
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from lexchange.errors import StorageError
from lexchange.storage import Store, statements
from lexchange.storage.connector import Row, Statement, Value
from lexchange.storage.sqlite import Reader, SqliteConnector
from tests.storage.examples import NOW_MS, a_lead, a_ping, slot

BUSY_TIMEOUT_MS = 50


async def pings_at_once(store: Store, numbers: range) -> list[BaseException | None]:
    """Record pings at once; what each raised."""

    async def record(number: int) -> BaseException | None:
        try:
            await store.record_ping(a_ping(number))
        except StorageError as error:
            return error
        return None

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(record(number)) for number in numbers]
    return [task.result() for task in tasks]


async def assert_stored(store: Store, numbers: range, *, is_stored: bool = True) -> None:
    for number in numbers:
        assert (await store.audit.find_ping(a_ping(number).ping_id) is not None) is is_stored


# --------------------------------------------------------------------------------------------------- group commit


async def test_pings_at_once_share_commits(connector: SqliteConnector):
    """100 pings at once take a few commits, not 100."""
    store = Store(connector)
    before = connector.commit_count
    assert await pings_at_once(store, range(100)) == [None] * 100
    assert connector.commit_count - before <= 5
    await assert_stored(store, range(100))


@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 65, 127, 130])
async def test_every_row_of_a_batch_is_written(connector: SqliteConnector, count: int):
    """Batches of any size are cut into statements of a few sizes; no ping is lost or mixed up."""
    store = Store(connector)
    await pings_at_once(store, range(count))
    found = await store.audit.recent_pings(1_000)
    assert [ping.ping_id for ping in reversed(found)] == [a_ping(number).ping_id for number in range(count)]
    assert found[0] == a_ping(count - 1)


async def test_commit_is_synced(connector: SqliteConnector):
    """The writer commits with synchronous = FULL (2), into a write-ahead log."""
    found = await connector.write((Statement(sql="PRAGMA synchronous"), Statement(sql="PRAGMA journal_mode")))
    assert found.rows == ([(2,)], [("wal",)])


async def test_lone_unit_does_not_wait(connector: SqliteConnector):
    """Without company a unit is committed at once: no timer."""
    async with asyncio.timeout(1):
        for number in range(20):
            await Store(connector).record_ping(a_ping(number))


async def test_units_of_one_batch_are_judged_one_by_one(connector: SqliteConnector):
    """In one batch, a unit that breaks and one whose guard fails leave all others alone."""
    store = Store(connector)
    await store.record_ping(a_ping(50))
    async with asyncio.TaskGroup() as group:
        pings = group.create_task(pings_at_once(store, range(40, 60)))
        full = group.create_task(store.claim_lead(a_lead(1), takes=[slot("a"), slot("b", 0)], now_ms=NOW_MS))
        sold = group.create_task(store.claim_lead(a_lead(2), takes=[slot("a")], now_ms=NOW_MS))
    broken = pings.result()
    assert [number for number, error in zip(range(40, 60), broken, strict=True) if error] == [50]
    assert (full.result().counter, sold.result().outcome) == ("b", "claimed")
    assert await store.read_counters(["a", "b"]) == {"a": 1, "b": 0}


async def test_unit_with_a_broken_statement_changes_nothing(connector: SqliteConnector):
    """A unit that breaks in its midst is undone as a whole, also beside others."""
    unit = (
        Statement(sql=statements.RECORD_CONFIG, params=("v1", 1, "", None)),
        Statement(sql=statements.TAKE_CAP, params=("c", "c", 2**70, 0, 1, 1)),
    )
    with pytest.raises(StorageError, match="OverflowError"):
        await connector.write(unit)
    assert await connector.read("SELECT * FROM config_versions") == []


async def test_cancelled_caller_harms_nobody(connector: SqliteConnector):
    """A caller that goes away leaves its unit to be written, and the others their answers."""
    store = Store(connector)
    gone = asyncio.ensure_future(store.record_ping(a_ping(1)))
    await asyncio.sleep(0)
    gone.cancel()
    assert await pings_at_once(store, range(2, 5)) == [None] * 3
    with pytest.raises(asyncio.CancelledError):
        await gone
    await assert_stored(store, range(1, 5))


# --------------------------------------------------------------------------------------------------------- faults


@contextmanager
def locked(file: str) -> Iterator[None]:
    """Another process in the midst of a long write."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def no_file_longer_than(file: str) -> Iterator[None]:
    """The system refuses to make any file of this process longer than this one."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(file).stat().st_size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def test_busy_database_is_refused_in_time(connector: SqliteConnector, file: str):
    """A writer that waits in vain for its time-out acknowledges none of its units, and works again afterwards."""
    store = Store(connector)
    with locked(file):
        async with asyncio.timeout(2):
            errors = await pings_at_once(store, range(20))
    assert all(isinstance(error, StorageError) and "locked" in str(error) for error in errors)
    await assert_stored(store, range(20), is_stored=False)
    assert await pings_at_once(store, range(20)) == [None] * 20


async def test_busy_database_is_waited_for(file: str):
    """A writer that gets its turn within the time-out has lost nothing."""
    async with Store.open(f"sqlite:///{file}", busy_timeout_ms=5_000) as store:
        with locked(file):
            recording = asyncio.ensure_future(store.record_ping(a_ping(1)))
            await asyncio.sleep(0.15)
            assert not recording.done()
            assert await store.audit.find_ping(a_ping(1).ping_id) is None  # reads go on meanwhile
        await recording


async def test_full_disk_acknowledges_nothing(connector: SqliteConnector):
    """When the file cannot grow, what does not fit is not acknowledged; with room again, writing goes on."""
    store = Store(connector)
    (pages,) = (await connector.read("PRAGMA page_count"))[0]
    await connector.write((Statement(sql=f"PRAGMA max_page_count = {pages + 2}"),))
    errors = await pings_at_once(store, range(100))
    refused = [number for number, error in enumerate(errors) if error]
    assert refused
    assert all(isinstance(errors[number], StorageError) and "full" in str(errors[number]) for number in refused)
    for number in range(100):
        await assert_stored(store, range(number, number + 1), is_stored=number not in refused)
    assert await pings_at_once(store, range(100, 200)) == [None] * 100


async def test_failing_writes_acknowledge_nothing(connector: SqliteConnector, file: str):
    """As long as the system refuses writes, so does the store; then it goes on without a restart."""
    store = Store(connector)
    for number in range(20):  # so that the log is longer than all other files here
        await store.record_ping(a_ping(number))
    await assert_stored(store, range(20))  # a connected reader, so that the log is not folded in and begun anew
    with no_file_longer_than(file + "-wal"):
        for _ in range(3):
            errors = await pings_at_once(store, range(20, 40))
            assert all(isinstance(error, StorageError) for error in errors)
        await assert_stored(store, range(20))  # reads go on meanwhile
    assert await pings_at_once(store, range(20, 40)) == [None] * 20
    await assert_stored(store, range(40))


async def test_read_only_database_is_refused(connector: SqliteConnector):
    """A connection that may only read acknowledges nothing; a fresh one takes its place."""
    store = Store(connector)
    await connector.write((Statement(sql="PRAGMA query_only = 1"),))
    with pytest.raises(StorageError, match="readonly"):
        await store.record_ping(a_ping(1))
    await store.record_ping(a_ping(1))
    await assert_stored(store, range(1, 2))


async def test_failed_read_leaves_the_next_alone(connector: SqliteConnector):
    """A query that breaks is its caller's alone."""
    for read in (connector.read, connector.scan):
        with pytest.raises(StorageError, match="no such table"):
            await read("SELECT * FROM nowhere")
        assert await read("SELECT 1") == [(1,)]


async def test_equal_reads_of_one_turn_are_asked_once(connector: SqliteConnector, monkeypatch: pytest.MonkeyPatch):
    """And the next turn sees what was written meanwhile, by whichever process."""
    sql = "SELECT COUNT(*) FROM pings WHERE campaign = ?"
    asked = 0

    def rows(reader: Reader, sql: str, params: Sequence[Value]) -> Sequence[Row]:
        nonlocal asked
        asked += 1
        return ask(reader, sql, params)

    ask = Reader.rows
    monkeypatch.setattr(Reader, "rows", rows)
    for written in range(3):
        assert [await connector.read(sql, (a_ping(1).campaign,)) for _ in range(5)] == [[(written,)]] * 5
        assert await connector.read(sql, ("another",)) == [(0,)]
        assert asked == 2 * written + 2
        await Store(connector).record_ping(a_ping(written))


async def test_readers_cannot_write(connector: SqliteConnector):
    """Only units change the database."""
    for read in (connector.read, connector.scan):
        with pytest.raises(StorageError, match="readonly"):
            await read("DELETE FROM pings")


async def test_too_many_waiting_units_are_refused_at_once(connector: SqliteConnector, file: str):
    """Above the bound a unit is refused before it waits; those that wait are still written."""
    store = Store(connector)
    with locked(file):
        errors = await pings_at_once(store, range(400))
    refused = [error for error in errors if "wait for the store already" in str(error)]
    assert len(refused) >= 100
    assert await pings_at_once(store, range(1_000, 1_100)) == [None] * 100


async def test_close_writes_what_waits(file: str):
    """Units that wait when the store is closed are on disk; later ones are refused."""
    opened = await SqliteConnector.open(file, busy_timeout_ms=BUSY_TIMEOUT_MS, waiting_units=10_000)
    store = Store(opened)
    waiting = asyncio.ensure_future(pings_at_once(store, range(1_200)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await opened.aclose()
    assert await waiting == [None] * 1_200
    for refused in (store.record_ping(a_ping(1)), store.audit.find_ping("PING-0"), store.audit.recent_pings(1)):
        with pytest.raises(StorageError):
            await refused
    async with Store.open(f"sqlite:///{file}") as again:
        assert len(await again.audit.recent_pings(2_000)) == 1_200
