"""`python -m bench.stored_ping`: how many bytes a stored ping and a sold lead take, on SQLite and on PostgreSQL.

A ping of `bench/calls/ping.json` to five buyers, three of whom bid, as the exchange records it; every tenth is sold.
The tables are compacted before they are measured, so that the figure is what a row takes and not what a load has left.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random

import asyncpg

from lexchange.ids import Ids
from lexchange.lead import BuyerPing, Lead, LeadState, Ping, PingOutcome
from lexchange.storage import Store
from lexchange.storage.sqlite import SqliteConnector
from tests.storage.examples import BID, NOW_MS, SKIPPED, a_lead, a_ping, an_attempt, ended, slot
from tests.storage.servers import PostgresServer, binaries

SOLD = 10  # of so many pings one
TABLES = {"pings": "pings", "leads": "leads"}
AT_ONCE = 500
CALL = json.loads((Path(__file__).parent / "calls" / "ping.json").read_text("utf-8"))
ANSWER = '{"status":"accepted","price":7.00,"ping_id":"b-%032x","expires_in":900,"terms":"exclusive"}'
RANDOM = Random(7)  # what compresses well would take less than it will
SIZE = """
SELECT COALESCE(SUM(pg_table_size(inhrelid)), 0), COALESCE(SUM(pg_indexes_size(inhrelid)), 0)
FROM pg_inherits WHERE inhparent = $1::regclass"""


class Ticks:
    """A clock that goes on by 20 ms at each look: 50 pings a second."""

    def __init__(self) -> None:
        self._now_ms = NOW_MS

    def now_ms(self) -> int:
        self._now_ms += 20
        return self._now_ms


def five_buyers() -> list[BuyerPing]:
    """Three bids, a refusal, and one who was not asked."""
    bids = [replace(BID, buyer=f"buyer_{number}", answer=ANSWER % RANDOM.getrandbits(128)) for number in range(3)]
    refused = BuyerPing(buyer="buyer_3", outcome=PingOutcome.NO_BID, detail="filtered", asked_ms=NOW_MS, latency_us=900)
    return [*bids, refused, replace(SKIPPED, buyer="buyer_4")]


def stored(ids: Ids) -> tuple[Ping, Lead]:
    """A ping and the lead that it becomes."""
    ping = a_ping(1, ping_id=ids.ping_id(), data=CALL["data"], buyers=five_buyers(), problems=[], dropped=[], seed=0)
    delivery_id = ids.delivery_id()
    attempt = an_attempt(1, delivery_id=delivery_id, answer='{"result":"sold","id":"b-0123456789"}', http_status=200)
    more = {"data": CALL["data"], "buyers": [], "attempts": [attempt], "delivery_id": delivery_id, "dropped": []}
    return ping, a_lead(
        1, ping.ping_id, lead_id=ids.lead_id(), takes=[slot("home:buyer:buyer_0:leads", 1 << 40)], **more
    )


async def fill(url: str, count: int) -> None:
    """Record so many pings and sell some."""
    ids = Ids(Ticks())
    async with Store.open(url) as store:
        await store.make_room(NOW_MS)
        for _ in range(0, count, AT_ONCE):
            batch = [stored(ids) for _ in range(AT_ONCE)]
            await asyncio.gather(*(store.record_ping(ping) for ping, _ in batch))
            sold = [lead for _, lead in batch[::SOLD]]
            await asyncio.gather(*(store.claim_lead(lead, takes=lead.takes, now_ms=NOW_MS) for lead in sold))
            await asyncio.gather(*(store.finish_lead(ended(lead, LeadState.DELIVERED)) for lead in sold))


async def on_sqlite(folder: str, count: int) -> dict[str, tuple[int, int]]:
    """Bytes of each table and of its indexes."""
    file = f"{folder}/store.db"
    await fill(f"sqlite:///{file}", count)
    connector = await SqliteConnector.open(file, busy_timeout_ms=1_000, waiting_units=10)
    try:
        rows = await connector.scan(
            "SELECT made.tbl_name, made.type, SUM(pgsize) FROM dbstat "
            "JOIN sqlite_schema AS made ON made.name = dbstat.name GROUP BY 1, 2"
        )
    finally:
        await connector.aclose()
    sizes = {(table, kind): size for table, kind, size in rows}
    return {table: (sizes[table, "table"], sizes.get((table, "index"), 0)) for table in TABLES}


async def on_postgres(url: str, count: int) -> tuple[dict[str, tuple[int, int]], int]:
    """The same, and the bytes of the log."""
    connection = await asyncpg.connect(url)
    before = await connection.fetchval("SELECT pg_current_wal_lsn()")
    await fill(url, count)
    log_bytes = await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), $1)::bigint", before)
    await connection.execute("VACUUM FULL")
    sizes = {table: tuple(map(int, await connection.fetchrow(SIZE, table))) for table in TABLES}
    await connection.close()
    return {table: (size[0], size[1]) for table, size in sizes.items()}, log_bytes


def tell(engine: str, sizes: dict[str, tuple[int, int]], count: int) -> None:
    for table, (rows, indexes) in sizes.items():
        number = count if table == "pings" else count // SOLD
        print(f"{engine} {table}: {(rows + indexes) / number:,.0f} bytes a row, {indexes / number:,.0f} of it indexes")


def main() -> None:
    """Measure both engines."""
    parser = argparse.ArgumentParser(prog="bench.stored_ping", description="Bytes that a ping and a lead take.")
    parser.add_argument("--pings", type=int, default=20_000)
    count = parser.parse_args().pings
    with tempfile.TemporaryDirectory(prefix="lexchange-bench-") as folder:
        tell("SQLite", asyncio.run(on_sqlite(folder, count)), count)
    programs = binaries("18")
    if programs is None:
        sys.exit("bench: PostgreSQL 18 is missing: make setup")
    with tempfile.TemporaryDirectory(prefix="lexchange-bench-") as folder:
        Path(folder).chmod(0o755)
        server = PostgresServer(programs, Path(folder), ("fsync=off",))
        server.start()
        try:
            with server.database() as url:
                asyncio.run(_migrated(url))
                sizes, log_bytes = asyncio.run(on_postgres(url, count))
        finally:
            server.stop()
    tell("PostgreSQL", sizes, count)
    print(f"PostgreSQL log: {log_bytes / count:,.0f} bytes a ping, every tenth sold")


async def _migrated(url: str) -> None:
    async with Store.open(url):
        pass


if __name__ == "__main__":
    main()
