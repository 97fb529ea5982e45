"""What only the PostgreSQL engine promises: batches of several writers, faults of the server and of the way to it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest

from lexchange.errors import StorageError
from lexchange.lead import Fingerprint, LeadState
from lexchange.storage import ClaimOutcome, Store, statements
from lexchange.storage.connector import Statement, Unit
from lexchange.storage.postgres import Bounds, PostgresConnector
from lexchange.storage.postgres.sessions import Database, Sessions
from tests.exchange.transports import wait_until
from tests.storage.examples import NOW_MS, TTL_MS, a_lead, a_ping, ended, slot
from tests.storage.proxy import Fate, proxied
from tests.storage.servers import TEMPLATE, Servers, running
from tests.storage.test_sqlite import assert_stored, pings_at_once

BUSY_MS = 1_000
BACKEND = "SELECT pg_backend_pid()"


@pytest.fixture(params=["18", "15"])
def place(request: pytest.FixtureRequest, servers: Servers) -> Iterator[str]:
    """The URL of a fresh database."""
    with servers(request.param).database(TEMPLATE) as url:
        yield url


@asynccontextmanager
async def connected(url: str, busy_ms: int = BUSY_MS, waiting: int = 10_000) -> AsyncIterator[PostgresConnector]:
    opened = await PostgresConnector.open(url, Bounds(busy_timeout_ms=busy_ms, waiting_units=waiting, writers=4))
    try:
        yield opened
    finally:
        await opened.aclose()


@pytest.fixture
async def connector(place: str) -> AsyncIterator[PostgresConnector]:
    async with connected(place) as opened:
        yield opened


@pytest.fixture
async def two(place: str) -> AsyncIterator[list[Store]]:
    """Two stores on one database, as of two machines."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Store.open(place)) for _ in range(2)]


@pytest.mark.parametrize("version", ["18", "15"])
async def test_server_is_of_the_version_that_it_is_called_by(version: str, servers: Servers):
    """What is said of a version was tried on it."""
    connection = await asyncpg.connect(servers(version).url())
    assert connection.get_server_version().major == int(version)
    await connection.close()


async def kill_all(url: str) -> None:
    """End every other connection to the database, as an operator may."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()


# -------------------------------------------------------------------------------------------------------- batches


async def test_pings_at_once_share_commits(connector: PostgresConnector):
    """100 pings at once take a few commits, not 100, and none is lost or mixed up."""
    store = Store(connector)
    assert await pings_at_once(store, range(100)) == [None] * 100
    assert connector.commit_count <= 5
    found = await store.audit.recent_pings(1_000)
    assert [ping.ping_id for ping in reversed(found)] == [a_ping(number).ping_id for number in range(100)]
    assert found[0] == a_ping(99)


async def test_commit_is_synced(connector: PostgresConnector):
    """Whatever the server's default, a commit is on disk when it is answered."""
    found = await connector.write((Statement(sql="SHOW synchronous_commit"),))
    assert found.rows == ([("on",)],)


async def test_units_of_one_batch_are_judged_one_by_one(connector: PostgresConnector):
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


async def test_lost_race_costs_no_connection(connector: PostgresConnector):
    """A guard that fails behind other statements has its batch made again, on the connection that there is."""
    store = Store(connector)

    async def process_ids() -> set[int]:
        found = await asyncio.gather(*(connector.write((statement,)) for statement in [Statement(sql=BACKEND)] * 4))
        return {each.rows[0][0][0] for each in found}

    before = await process_ids()
    for number in range(5):
        full = await store.claim_lead(a_lead(number), takes=[slot("a"), slot("b", 0)], now_ms=NOW_MS)
        assert full.counter == "b"
    assert await process_ids() == before


async def test_unit_with_a_broken_statement_changes_nothing(connector: PostgresConnector):
    """A unit that breaks in its midst is undone as a whole."""
    unit = (
        Statement(sql=statements.RECORD_CONFIG, params=("v1", 1, "", None)),
        Statement(sql=statements.TAKE_CAP, params=("c", "c", 2**70, 0, 1, 1)),
    )
    with pytest.raises(StorageError, match="DataError"):
        await connector.write(unit)
    assert await connector.read("SELECT * FROM config_versions") == []


async def test_error_says_nothing_of_the_row(connector: PostgresConnector):
    """What the server says of a row that breaks a rule, it says with the row: people's data stays out of errors."""
    with pytest.raises(StorageError, match="CheckViolation") as caught:
        await Store(connector).record_ping(a_ping(1, bid_micros=-1))
    assert "Zo" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_readers_cannot_write(connector: PostgresConnector):
    """Only units change the database; a query that breaks is its caller's alone."""
    for read in (connector.read, connector.scan):
        with pytest.raises(StorageError, match="read-only"):
            await read("DELETE FROM pings")
        with pytest.raises(StorageError, match="does not exist"):
            await read("SELECT * FROM nowhere")
        assert await read("SELECT 1") == [(1,)]


async def test_close_writes_what_waits(place: str):
    """Units that wait when the store is closed are durable; later ones are refused."""
    async with connected(place) as opened:
        store = Store(opened)
        waiting = asyncio.ensure_future(pings_at_once(store, range(1_200)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert await waiting == [None] * 1_200
    for refused in (store.record_ping(a_ping(1)), store.audit.find_ping("PING-0"), store.audit.recent_pings(1)):
        with pytest.raises(StorageError, match="closed"):
            await refused
    async with Store.open(place) as again:
        assert len(await again.audit.recent_pings(2_000)) == 1_200


async def test_cancelled_caller_harms_nobody(place: str):
    """A caller that goes away leaves its unit to be written, and the others their answers."""
    async with connected(place) as opened:
        store = Store(opened)
        gone = asyncio.ensure_future(store.record_ping(a_ping(1)))
        await asyncio.sleep(0)
        gone.cancel()
        assert await pings_at_once(store, range(2, 5)) == [None] * 3
    async with Store.open(place) as again:
        await assert_stored(again, range(1, 5))


# ---------------------------------------------------------------------------------------------------------- races


async def test_caps_are_exact_over_two_stores(two: list[Store]):
    """400 takers on two stores share 150 slots, in whatever order they name two caps."""
    orders = [[slot("a", 150), slot("b", 400)], [slot("b", 400), slot("a", 150)]]
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        tasks = [group.create_task(two[number % 2].take_caps(orders[number // 2 % 2])) for number in range(400)]
    assert sum(task.result() is None for task in tasks) == 150
    assert await two[0].read_counters(["a", "b"]) == {"a": 150, "b": 150}


async def test_one_of_equal_leads_is_claimed(two: list[Store]):
    """64 equal leads at once on two stores: one is claimed, the others are its duplicates."""
    mark = Fingerprint(campaign="home", scope_key="", digest="d1", since_ms=0)
    async with asyncio.TaskGroup() as group:
        claims = [
            group.create_task(two[number % 2].claim_lead(a_lead(number), fingerprints=[mark], now_ms=NOW_MS))
            for number in range(64)
        ]
    outcomes = [claim.result().outcome for claim in claims]
    assert sorted(set(outcomes)) == [ClaimOutcome.CLAIMED, ClaimOutcome.DUPLICATE]
    assert outcomes.count(ClaimOutcome.CLAIMED) == 1


async def test_lead_is_sent_again_by_one(two: list[Store]):
    """Two processes that found the same unknown lead do not both send it."""
    for number in range(20):
        found = ended(a_lead(number), LeadState.UNKNOWN)
        await two[0].claim_lead(a_lead(number), now_ms=NOW_MS)
        await two[0].finish_lead(found)
        asked = replace(found, updated_ms=found.updated_ms + 1)
        async with asyncio.TaskGroup() as group:
            tries = [group.create_task(store.start_resend(asked, found)) for store in two]
        assert sorted(task.result() for task in tries) == [False, True]


async def test_hold_is_given_back_once(two: list[Store], place: str):
    """A claim gives its ping's slot back and has to wait; a store whose clock is ahead does not give it back too."""
    await two[0].record_ping(a_ping(1), [slot("home:c")])
    await two[0].take_caps([slot("home:c"), slot("home:d")])
    other = await asyncpg.connect(place)
    async with asyncio.TaskGroup() as group, other.transaction():
        await other.execute("SELECT * FROM cap_counters WHERE counter = 'home:d' FOR UPDATE")
        lead = a_lead(1, a_ping(1).ping_id)
        claim = group.create_task(two[0].claim_lead(lead, takes=[slot("home:d")], now_ms=NOW_MS))
        await asyncio.sleep(0.2)
        release = group.create_task(two[1].release_expired_holds("home", NOW_MS + TTL_MS))
        await asyncio.sleep(0.2)
        assert not claim.done()
    await other.close()
    assert (claim.result().outcome, release.result()) == (ClaimOutcome.CLAIMED, 0)
    assert await two[0].read_counters(["home:c", "home:d"]) == {"home:c": 1, "home:d": 2}


async def test_batches_that_collide_are_made_again(place: str):
    """Units that touch the same rows in opposite orders, and say nothing of it, end all the same."""

    def crossing(buyers: list[str]) -> Unit:
        return tuple(Statement(sql=statements.RECORD_TURN, params=("home", buyer, NOW_MS)) for buyer in buyers)

    buyers = [f"b{number}" for number in range(30)]
    async with connected(place, 5_000) as one, connected(place, 5_000) as other, asyncio.timeout(20):
        for _ in range(10):
            async with asyncio.TaskGroup() as group:
                group.create_task(one.write(crossing(buyers)))
                group.create_task(other.write(crossing(buyers[::-1])))
        assert len(await one.read(statements.LAST_SALES, ("home",))) == 30


# --------------------------------------------------------------------------------------------------------- faults


async def test_killed_connections_are_replaced(connector: PostgresConnector, place: str):
    """Under load every connection is killed, three times: what was acknowledged is there, and work goes on."""
    store = Store(connector)
    acknowledged: list[int] = []
    refused: list[int] = []
    is_over = False

    async def record(lane: int) -> None:
        number = lane * 100_000
        while not is_over:
            number += 1
            errors = await pings_at_once(store, range(number, number + 1))
            (refused if errors[0] else acknowledged).append(number)

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for lane in range(1, 21):
            group.create_task(record(lane))
        for _ in range(3):
            await asyncio.sleep(0.2)
            await kill_all(place)
            enough = len(acknowledged) + 20
            await wait_until(lambda: len(acknowledged) >= enough)  # noqa: B023 - called before the next round
        is_over = True
    assert refused
    found = {ping.ping_id for ping in await store.audit.recent_pings(1_000_000)}
    assert {a_ping(number).ping_id for number in acknowledged} <= found


async def test_restarted_server_is_found_again():
    """While the server is away nothing is acknowledged, in bounded time; then it goes on without our restart."""
    with running("18") as server, server.database() as url:
        async with connected(url, 300) as opened:
            store = Store(opened)
            await store.record_ping(a_ping(1))
            await asyncio.to_thread(server.stop)
            async with asyncio.timeout(3):
                errors = await pings_at_once(store, range(10, 30))
                assert all(isinstance(error, StorageError) for error in errors)
                with pytest.raises(StorageError, match="cannot connect"):
                    await store.audit.find_ping(a_ping(1).ping_id)
            await asyncio.to_thread(server.start)
            assert await pings_at_once(store, range(10, 30)) == [None] * 20
            await assert_stored(store, range(1, 2))


@pytest.mark.parametrize(
    ("fate", "is_stored"), [(Fate.CUT, True), (Fate.SILENCED, True), (Fate.SWALLOWED, False)], ids=lambda it: str(it)
)
async def test_lost_commit_is_looked_up(place: str, fate: Fate, is_stored: bool):
    """A commit whose answer is lost counts as the server says, and is never made twice."""
    async with proxied(place) as (url, proxy), connected(url) as opened:
        store = Store(opened)
        await store.record_ping(a_ping(1))
        proxy.fate = fate
        errors = await pings_at_once(store, range(2, 4))
        assert [error is None for error in errors] == [is_stored] * 2
        assert proxy.commits == 2
        await assert_stored(store, range(2, 4), is_stored=is_stored)
        await store.record_ping(a_ping(4))


async def test_lost_commit_that_cannot_be_looked_up(place: str):
    """As long as nobody knows, the answer is an error."""
    async with proxied(place) as (url, proxy), connected(url, 300) as opened:
        store = Store(opened)
        await store.record_ping(a_ping(1))
        proxy.fate, proxy.is_away = Fate.CUT, True
        async with asyncio.timeout(3):
            with pytest.raises(StorageError, match="cannot connect"):
                await store.record_ping(a_ping(2))
        proxy.is_away = False
        await store.record_ping(a_ping(3))


async def test_locked_table_is_refused_in_time(place: str):
    """A batch that waits in vain acknowledges none of its units, reads go on, and it works again afterwards."""
    async with connected(place, 200) as opened:
        store = Store(opened)
        other = await asyncpg.connect(place)
        async with other.transaction():
            await other.execute("LOCK TABLE pings IN SHARE MODE")
            async with asyncio.timeout(2):
                errors = await pings_at_once(store, range(20))
            assert await store.audit.find_ping(a_ping(1).ping_id) is None
        await other.close()
        assert all(isinstance(error, StorageError) for error in errors)
        assert await pings_at_once(store, range(20)) == [None] * 20


async def test_connection_that_is_cut_in_the_driver_is_told_as_slow(place: str):
    """The driver has let go of its protocol, and stumbles over that: no mistake of ours, and of nobody's statement."""
    sessions = Sessions(Database.at(place), 1, {})

    async def use(for_s: float, until_s: float, what: str) -> None:
        async with sessions.one(asyncio.get_running_loop().time() + until_s) as connection:
            await asyncio.sleep(for_s)
            getattr(connection, what)()

    with pytest.raises(StorageError, match="slow"):
        await use(1.1, 1.0, "is_in_transaction")
    with pytest.raises(AttributeError):
        await use(0.0, 10.0, "no_such_thing")
    await sessions.aclose()


async def test_too_many_waiting_units_are_refused_at_once(place: str):
    """Above the bound a unit is refused before it waits; the others are written."""
    async with connected(place, waiting=150) as opened:
        store = Store(opened)
        errors = await pings_at_once(store, range(400))
        refused = [error for error in errors if error]
        assert len(refused) == 250
        assert all("wait for the store already" in str(error) for error in refused)
        assert await pings_at_once(store, range(1_000, 1_100)) == [None] * 100
