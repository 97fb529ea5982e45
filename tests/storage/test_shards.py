"""No statement on the way of a call touches rows of two shards, and a claim's are all in one (docs/scaling.md)."""

import inspect
import re
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import pytest

from lexchange.blocks import BlockRule
from lexchange.lead import Fingerprint, LeadState
from lexchange.storage import CallMark, Store, statements
from lexchange.storage.connector import Row, Unit, UnitResult, Value
from lexchange.storage.schema import pending
from lexchange.storage.sqlite import SqliteConnector
from lexchange.storage.values import BreakerRow
from tests.storage.examples import LATE, NOW_MS, TTL_MS, a_lead, a_ping, an_attempt, ended, slot
from tests.storage.servers import TEMPLATE, Servers
from tests.storage.shards import CAMPAIGN, EVERYWHERE, KEYS, TwoShards, blocks, places

SCALING = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text("utf-8")

BY_ID = (
    "an operator, or a repeat whose first call has never answered, knows an id alone; an index of each shard is asked"
)
LISTS = "an operator's list over all campaigns, read beside the traffic"
SWEEPS = "a sweep of what dead processes have left, every few seconds; it is of all campaigns"
UPKEEP = "upkeep of all campaigns, every ten minutes"

# Statements that may touch rows of many shards, and why they may.
EXCEPTIONS = {
    statements.FIND_ANY_PING: BY_ID,
    statements.FIND_LEAD: BY_ID,
    statements.FIND_LEAD_OF_ANY_PING: BY_ID,
    statements.FIND_DELIVERY: BY_ID,
    statements.RECENT_PINGS: LISTS,
    statements.RECENT_LEADS: LISTS,
    statements.UNKNOWN_LEADS: LISTS,
    statements.UNRESOLVED_LEADS: LISTS,
    statements.in_flight_leads(2): SWEEPS,
    statements.sweep_calls(2): SWEEPS,
    statements.CAP_LEASES: SWEEPS,
    statements.EXPIRED_HOLDERS: UPKEEP,
    statements.LEADS_BY_STATE: LISTS,
    statements.SOLD_BY_CAMPAIGN: LISTS,
    statements.COUNTERS: LISTS,
}
ALL = {
    name: found if isinstance(found, str) else found(2)
    for name, found in vars(statements).items()
    if not name.startswith("_") and (isinstance(found, str) or inspect.isfunction(found))
}


@pytest.mark.parametrize("name", ALL)
def test_statement_names_its_shard(name: str):
    """Its table's key equals a parameter, or is inserted, or joined by; an exception is one that does not."""
    if ALL[name] in EXCEPTIONS:
        with pytest.raises(TwoShards):
            places(ALL[name])
    else:
        places(ALL[name])


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM pings WHERE ping_id = ?",
        "SELECT * FROM pings WHERE campaign = ? OR ping_id = ?",
        "SELECT * FROM pings WHERE campaign IN (?, ?)",
        "SELECT * FROM pings WHERE campaign = src",
        "SELECT * FROM pings WHERE campaign = ? AND lead_id IN (SELECT lead_id FROM leads WHERE buyer = ?)",
        "SELECT * FROM pings JOIN leads ON leads.ping_id = pings.ping_id WHERE pings.campaign = ?",
        "UPDATE cap_counters SET campaign = ? WHERE counter = ?",
        "DELETE FROM remembered_calls WHERE idempotency_key = ?",
        "INSERT INTO turns (buyer, last_sale_ms) VALUES (?, ?) ON CONFLICT DO NOTHING",
        "SELECT * FROM new_table WHERE campaign = ?",
    ],
)
def test_statement_of_two_shards_is_refused(sql: str):
    """A check that lets these pass would prove nothing."""
    with pytest.raises(TwoShards):
        places(sql)


def test_parameter_of_the_shard_is_found():
    """By its place among all of the statement's, those of inner queries included."""
    inner = "(SELECT 1 FROM pings WHERE ping_id = ? AND campaign = ?)"
    sql = f"UPDATE leads SET reason = ?, bid = {inner} WHERE lead_id = ? AND campaign = ?"
    assert {place.table: place.mark for place in places(sql)} == {"pings": 2, "leads": 4}
    assert [place.mark for place in places("INSERT INTO pings (ping_id, campaign) VALUES (?, ?)")] == [1]


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_every_table_has_its_key(engine: str):
    """Each table that is spread has its key for a column; views join by it."""
    scripts = "\n".join(script for _, _, script in pending(engine, ()))
    tables = set(re.findall(r"CREATE TABLE (\w+) \(", scripts)) - set(re.findall(r"ALTER TABLE (\w+) RENAME", scripts))
    assert (
        tables - {"pings_default", "leads_default"}
        == {name for name in KEYS if not name.endswith("_rows")} | EVERYWHERE
    )
    for view in ("ping_rows", "lead_rows"):
        text = scripts[scripts.rindex(f"VIEW {view} AS") :].partition("AS\n")[2].partition(";")[0]
        assert [place.mark for place in places(text)] == [None, None]
        assert next(blocks(text)).tokens.count("JOIN") == 1


def test_documented_tables_are_spread_by_their_keys():
    """What docs/scaling.md has an operator run is what the statements are checked against."""
    spread = dict(re.findall(r"create_distributed_table\('(\w+)', '(\w+)'", SCALING))
    assert spread == {table: key for table, key in KEYS.items() if not table.endswith("_rows")}
    assert set(re.findall(r"create_reference_table\('(\w+)'", SCALING)) == EVERYWHERE


UNIQUE = """
SELECT relation.relname, ARRAY(
    SELECT attname::text FROM pg_attribute WHERE attrelid = relation.oid AND attnum = ANY (pg_index.indkey))
FROM pg_index JOIN pg_class AS relation ON relation.oid = indrelid
WHERE indisunique AND relation.relnamespace = 'public'::regnamespace"""


async def test_what_is_unique_is_so_in_its_shard(servers: Servers):
    """A cluster keeps in one place what is unique, so each key and unique index holds what rows are spread by."""
    with servers("18").database(TEMPLATE) as url:
        connection = await asyncpg.connect(url)
        found = {table: columns for table, columns in await connection.fetch(UNIQUE) if table in KEYS}
        foreign = await connection.fetch("SELECT conname FROM pg_constraint WHERE contype = 'f'")
        await connection.close()
    assert found.keys() == {table for table in KEYS if not table.endswith("_rows")}
    assert [table for table, columns in found.items() if KEYS[table] not in columns] == []
    assert foreign == []


class Recorder(SqliteConnector):
    """A connector that keeps what it is asked."""

    def listen(self) -> None:
        self.reads: list[str] = []
        self.units: list[Unit] = []

    async def read(self, sql: str, params: Sequence[Value] = ()) -> Sequence[Row]:
        self.reads.append(sql)
        return await super().read(sql, params)

    async def write(self, unit: Unit) -> UnitResult:
        self.units.append(unit)
        return await super().write(unit)


HELD, CAP, SOURCE_CAP = slot("home:held", 9), slot("home:cap", 99), slot("home:source", 99)
MARK = CallMark(idempotency_key="k", begun_ms=NOW_MS)
PRINT = Fingerprint(campaign="home", scope_key="", digest="d", since_ms=0)


async def sell_in_all_ways(store: Store) -> None:
    """Every verb that a call uses, also where a cap is leased."""
    ping = a_ping(1, repeat_key="r")
    await store.begin_call("SRC_MAIN", "k", "hash", now_ms=NOW_MS, remember_ms=TTL_MS)
    await store.record_ping(ping, [HELD])
    await store.record_ping(a_ping(2, expires_ms=NOW_MS), [HELD])
    await store.find_repeat("home", "SRC_MAIN", "r", since_ms=0, now_ms=NOW_MS)
    await store.record_late_answers("home", ping.ping_id, [LATE])
    await store.find_ping(ping.ping_id, campaign="home")
    await store.find_duplicates("home", "d", since_ms=0)
    await store.last_sales("home")
    await store.read_counters([CAP.counter, SOURCE_CAP.counter])
    await store.release_expired_holds("home", NOW_MS)
    for _ in range(5):
        await store.take_caps([CAP])
    await store.take_caps([slot(CAP.counter, 6)])  # of a cap that was lowered: what is leased is taken back
    lead = a_lead(1, ping.ping_id, takes=[HELD, CAP, SOURCE_CAP])
    await store.claim_lead(lead, takes=lead.takes, held=[HELD], fingerprints=[PRINT], now_ms=NOW_MS, mark=MARK)
    await store.claim_lead(a_lead(9, ping.ping_id), now_ms=NOW_MS)  # claimed already
    await store.outlast_claim(lead.lead_id)
    await store.find_lead_of_ping(ping.ping_id, campaign="home")
    following = a_lead(
        1,
        ping.ping_id,
        routing_mode="round_robin",
        attempts=[an_attempt(1), an_attempt(2)],
        delivery_id=an_attempt(2).delivery_id,
    )
    await store.start_attempt(following, takes=[SOURCE_CAP], releases=[CAP], fingerprints=[PRINT])
    unknown = ended(following, LeadState.UNKNOWN)
    await store.finish_lead(unknown, adjustments=[(CAP.counter, 1)])
    await store.start_resend(unknown, unknown)
    await store.finish_lead(ended(following, LeadState.DELIVERED), before=[LeadState.UNKNOWN])
    await store.claim_lead(a_lead(3), fingerprints=[PRINT], now_ms=NOW_MS)
    await store.finish_lead(ended(a_lead(3), LeadState.FAILED), releases=[CAP])
    await store.finish_call("SRC_MAIN", MARK, b"answer")
    await store.abandon_call("SRC_MAIN", MARK)
    await store.record_breaker(
        BreakerRow(campaign="home", buyer="acme", stage="ping", state="open", is_enforced=True, why="", changed_ms=1)
    )
    await store.breaker_resets()


@pytest.fixture
async def recorder(file: str):
    opened = await Recorder.open(file, busy_timeout_ms=50, waiting_units=150)
    assert isinstance(opened, Recorder)
    opened.listen()
    yield opened
    await opened.aclose()


async def test_way_of_a_call_has_no_exceptions(recorder: Recorder):
    """What a call asks of the store is of one shard each time, whichever verbs it uses."""
    store = Store(recorder)
    store.lease_caps("w", BlockRule(hot_per_s=1, share=1, fewest=1))
    await sell_in_all_ways(store)
    asked = {statement.sql for unit in recorder.units for statement in unit} | set(recorder.reads)
    assert {statements.TAKE_LEASED, statements.KEEP_LEASE, statements.DROP_LEASES, statements.CLAIM_PING} <= asked
    for sql in asked:
        places(sql)
    used = {name for name, sql in ALL.items() if sql in asked or sql in EXCEPTIONS}
    leases = {"RENEW_LEASE", "END_LEASE", "LEASES", "forget_workers", "END_CAP_LEASE"}
    configurations = {"RECORD_CONFIG", "PUBLISH_CONFIG", "CURRENT_CONFIG", "FIND_CONFIG", "CONFIGS"}
    left = leases | configurations | {"BREAKERS", "RESET_BREAKERS"}
    assert ALL.keys() - used == left, "a new statement is used here, or is no part of a call"


async def test_unit_is_of_one_shard(recorder: Recorder):
    """All of a claim and an outcome is in its campaign's shard; only a remembered call is in its source's."""
    await sell_in_all_ways(Store(recorder))
    for unit in recorder.units:
        campaigns = {
            statement.params[place.mark]
            for statement in unit
            for place in places(statement.sql)
            if place.mark is not None and KEYS[place.table] == CAMPAIGN
        }
        assert campaigns <= {"home"}
    assert max(map(len, recorder.units)) >= 8
