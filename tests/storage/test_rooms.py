"""Whole months of PostgreSQL: dropped when every row is due, and nobody waits for it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import asyncpg
import pytest

from lexchange.config import Limits
from lexchange.lead import LeadState
from lexchange.purge import Purge
from lexchange.retention import DAY_MS, Retention
from lexchange.storage import Store
from tests.storage.examples import LATE
from tests.storage.servers import TEMPLATE, Servers
from tests.storage.test_purges import Wall, keep, old_lead, old_ping, rows

AUGUST_MS = int(datetime(2025, 8, 10, tzinfo=UTC).timestamp() * 1000)
OCTOBER_MS = int(datetime(2025, 10, 10, tzinfo=UTC).timestamp() * 1000)
NOW_MS = int(datetime(2025, 11, 24, tzinfo=UTC).timestamp() * 1000)
AGES = Retention(ping_days=30, lead_days=60)


@pytest.fixture(params=["18", "15"])
def place(request: pytest.FixtureRequest, servers: Servers) -> Iterator[str]:
    with servers(request.param).database(TEMPLATE) as database:
        yield database


@pytest.fixture
async def store(place: str) -> AsyncIterator[Store]:
    """With months from August on, in each of which are pings and leads."""
    async with Store.open(place) as opened:
        await opened.make_room(AUGUST_MS)
        await opened.make_room(NOW_MS)
        for number, at_ms in enumerate((AUGUST_MS, AUGUST_MS + DAY_MS, OCTOBER_MS, NOW_MS), 1):
            ping = old_ping(number, at_ms)
            await opened.record_ping(ping)
            await opened.record_late_answers(ping.campaign, ping.ping_id, [LATE])
            lead = old_lead(number, at_ms, ping_id=ping.ping_id)
            await keep(opened, lead, LeadState.DELIVERED)
            await opened.record_late_answers(lead.campaign, lead.lead_id, [LATE])
        yield opened


def months_are(place: str) -> "asyncio.Future[list[str]]":
    async def find() -> list[str]:
        connection = await asyncpg.connect(place)
        try:
            found = await connection.fetch(
                "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
                " WHERE relkind = 'r' AND relname ~ '[0-9]$' ORDER BY 1"
            )
        finally:
            await connection.close()
        return [name for (name,) in found]

    return asyncio.ensure_future(find())


async def purge(store: Store, **retentions: Retention) -> dict[str, int]:
    gone = await Purge(store, Wall(NOW_MS), Limits(), rests=0).run(retentions or {"home": AGES})
    return {part: number for part, number in gone.items() if number}


async def test_months_that_are_due_are_dropped_with_all_that_belongs_to_them(store: Store, place: str) -> None:
    """Pings of August and September, of which there are none; of October one by one. Leads of August alone."""
    assert await purge(store) == {"pings": 3, "leads": 2}
    left = [name for name in await months_are(place) if "2026" not in name]
    assert left == [
        *("leads_2025_09", "leads_2025_10", "leads_2025_11", "leads_2025_12"),
        *("pings_2025_10", "pings_2025_11", "pings_2025_12"),
    ]
    assert await rows(store) == {"pings": 1, "leads": 2, "late_answers": 3, "fingerprints": 2}


async def test_a_month_in_which_somebody_keeps_a_row_loses_the_others_one_by_one(store: Store, place: str) -> None:
    kept = old_ping(9, AUGUST_MS, campaign="silent")
    await store.record_ping(kept)
    await keep(store, old_lead(9, AUGUST_MS), LeadState.UNKNOWN)
    assert await purge(store) == {"pings": 3, "leads": 2}
    assert {"pings_2025_08", "leads_2025_08"} <= set(await months_are(place))
    assert await store.audit.find_ping(kept.ping_id) is not None
    assert len(await store.audit.unresolved_leads()) == 1


async def test_a_month_goes_when_the_longest_age_is_over(store: Store, place: str) -> None:
    """Two campaigns with their own ages share it."""
    await store.record_ping(old_ping(9, AUGUST_MS, campaign="auto"))
    assert await purge(store, home=AGES, auto=Retention(ping_days=365)) == {"pings": 3, "leads": 2}
    assert "pings_2025_08" in await months_are(place)
    assert await purge(store, home=AGES, auto=AGES) == {"pings": 1}
    assert "pings_2025_08" not in await months_are(place)


async def test_a_drop_does_not_make_the_writers_wait_for_a_reader(
    store: Store, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody reads the table for long, the drop gives way at once; then the rows go one by one."""
    monkeypatch.setattr("lexchange.purge.DROP_TRIES", 3)
    reader = await asyncpg.connect(place)
    slowest_s = 0.0
    loop = asyncio.get_running_loop()
    async with reader.transaction():
        await reader.fetch("SELECT COUNT(*) FROM pings, leads")
        running = asyncio.ensure_future(purge(store))
        number = 100
        while not running.done():
            began, number = loop.time(), number + 1
            await store.record_ping(old_ping(number, NOW_MS))
            slowest_s = max(slowest_s, loop.time() - began)
            await asyncio.sleep(0.01)
        assert await running == {"pings": 3, "leads": 2}
    await reader.close()
    assert number > 200, "it was tried for seconds"
    assert slowest_s < 1.0
    assert "pings_2025_08" in await months_are(place)
    assert "pings_2025_08" not in (await purge(store), await months_are(place))[1]
