"""A store that the benchmark fills is one that the exchange could have written."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bench.child import BenchError
from bench.fill import fill
from lexchange.clock import SystemClock
from lexchange.lead import LeadState, PingState
from lexchange.storage import Store
from lexchange.storage.tables import TABLES
from lexchange.storage.values import ClaimOutcome
from tests.storage.examples import a_lead, a_ping, ended

PINGS, LEADS = (next(table for table in TABLES if table.name == name) for name in ("pings", "leads"))


async def like(path: Path, state: LeadState = LeadState.DELIVERED) -> Path:
    """A store with one lead."""
    ping, lead = a_ping(), a_lead(ping_id=a_ping().ping_id)
    async with Store.open(f"sqlite:///{path}") as store:
        await store.record_ping(ping)
        await store.claim_lead(lead, now_ms=ping.created_ms)
        await store.finish_lead(ended(lead, state))
    return path


async def test_fill(tmp_path: Path) -> None:
    """So many pings as asked for, in the order of their ids, a tenth of them sold; open ones can be claimed."""
    told: list[int] = []
    fill(tmp_path / "full.db", await like(tmp_path / "like.db"), 25, told.append)
    assert told == [25]
    async with Store.open(f"sqlite:///{tmp_path}/full.db") as store:
        (pings,) = [page async for page in store.contents.pages(PINGS)]
        assert Counter(row[PINGS.columns.index("state")] for row in pings) == {"offered": 22, "claimed": 3}
        times = [row[PINGS.columns.index("created_ms")] for row in pings]
        assert times == sorted(times)
        assert await store.contents.count(LEADS) == 3
        found = [await store.find_ping(row[0], campaign=a_ping().campaign) for row in pings]
        ping = next(each for each in found if each and each.state is PingState.OFFERED)
        assert ping.data == a_ping().data
        lead = replace(a_lead(99), ping_id=ping.ping_id)
        claimed = await store.claim_lead(lead, now_ms=SystemClock().now_ms())
        assert claimed.outcome is ClaimOutcome.CLAIMED


async def test_fill_without_a_sale(tmp_path: Path) -> None:
    """There is nothing to fill it with."""
    with pytest.raises(BenchError, match="no lead was sold"):
        fill(tmp_path / "full.db", await like(tmp_path / "like.db", LeadState.FAILED), 25, lambda done: None)
