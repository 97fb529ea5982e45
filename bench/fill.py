"""Fill an SQLite store with pings and leads that the exchange has made, again and again under new ids and times.

As fast as SQLite takes them, so without syncing: what is measured is the store when it is full, not how it became so.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from bench.child import BenchError
from lexchange.ids import Ids
from lexchange.lead import Lead, Ping, PingState
from lexchange.storage import rows, statements
from lexchange.storage.connector import Row, Value
from lexchange.storage.sqlite import prepare

BATCH_PINGS = 10_000
SPAN_MS = 3_600_000  # they came within the last hour
OPEN_MS = 86_400_000  # and can be posted for a day
SOLD_EVERY = 10  # a ping of so many has become a lead
BUSY_MS = 5_000


class Then:
    """A clock that is set."""

    def __init__(self, then_ms: int) -> None:
        self.then_ms = then_ms

    def now_ms(self) -> int:
        """What it is set to."""
        return self.then_ms


def fill(file: Path, like: Path, count: int, tell: Callable[[int], None]) -> None:
    """Make a store of so many pings and a tenth as many leads; `like` is one with a lead to copy.

    `tell` hears every now and then how many there are. Raises BenchError when `like` has no delivered lead.
    """
    ping, lead = _examples(like)
    prepare(str(file), BUSY_MS)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = MEMORY")
        began_ms = time.time_ns() // 1_000_000 - SPAN_MS
        for first in range(0, count, BATCH_PINGS):
            batch = range(first, min(first + BATCH_PINGS, count))
            times = (began_ms + SPAN_MS * number // count for number in batch)
            pings, leads = _copies(ping, lead, times)
            connection.execute("BEGIN")
            connection.executemany(statements.INSERT_PING, pings)
            connection.executemany(statements.INSERT_LEAD, leads)
            connection.execute("COMMIT")
            tell(batch.stop)
        connection.execute("PRAGMA journal_mode = WAL")


def _examples(like: Path) -> tuple[Ping, Lead]:
    with closing(sqlite3.connect(like)) as connection:
        leads = rows.leads(connection.execute("SELECT * FROM lead_rows WHERE state = 'delivered' LIMIT 1").fetchall())
        if not leads:
            raise BenchError("no lead was sold, so there is none to fill a store with")
        found = connection.execute("SELECT * FROM ping_rows WHERE ping_id = ?", (leads[0].ping_id,))
        return rows.pings(found.fetchall())[0], leads[0]


def _copies(ping: Ping, lead: Lead, times: Iterable[int]) -> tuple[list[Row], list[Row]]:
    """Rows of pings, and of leads for every tenth; the others are open. Made of columns: ten times as fast."""
    sold = dict(zip((*rows.PING_COLUMNS, "record"), rows.ping_row(ping), strict=True))
    unsold = sold | {"state": PingState.OFFERED, "lead_id": None}
    delivered = dict(zip((*rows.LEAD_COLUMNS, "record"), rows.lead_row(lead), strict=True))
    clock = Then(0)
    ids = Ids(clock)
    pings: list[Row] = []
    leads: list[Row] = []
    for number, then_ms in enumerate(times):
        clock.then_ms = then_ms
        own: dict[str, Value] = {"ping_id": ids.ping_id(), "created_ms": then_ms, "expires_ms": then_ms + OPEN_MS}
        if number % SOLD_EVERY:
            pings.append(tuple((unsold | own).values()))
            continue
        own["lead_id"] = ids.lead_id()
        pings.append(tuple((sold | own).values()))
        leads.append(_lead_row(delivered, own, ids.delivery_id()))
    return pings, leads


def _lead_row(delivered: dict[str, Value], ping: dict[str, Value], delivery_id: str) -> Row:
    record = str(delivered["record"]).replace(str(delivered["delivery_id"]), delivery_id)
    named = {name: ping[name] for name in ("lead_id", "ping_id", "created_ms")}
    own = {"updated_ms": ping["created_ms"], "delivery_id": delivery_id, "record": record}
    return tuple((delivered | named | own).values())
