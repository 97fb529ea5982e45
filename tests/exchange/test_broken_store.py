"""What a source hears when the exchange itself is broken: never a yes, and nothing of the inside."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lexchange.exchange import Exchange
from tests.exchange.cases import BASE, ENDPOINTS, campaign_of
from tests.exchange.failing_store import FAULTS, failing_store_of
from tests.exchange.running import exchange_for
from tests.exchange.transports import TRANSPORTS, Call, transport


@pytest.mark.parametrize("road", TRANSPORTS)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_server_error(endpoint: str, road: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours is a 500 that tells nothing of itself."""

    async def broken(self: Exchange, call: object) -> None:
        raise ValueError("sam.carter@example.com")

    monkeypatch.setattr(Exchange, endpoint, broken)
    async with exchange_for({}, tmp_path) as (server, _), transport(road, server) as source:
        status, answer = await source.send(Call(name=endpoint, body=BASE["calls"][endpoint]))
    assert (status, answer["reason"]) == (500, "server_error")
    assert "sam" not in str(answer)


@pytest.mark.parametrize("road", TRANSPORTS)
async def test_store_that_does_not_write(road: str, tmp_path: Path) -> None:
    """While another process holds the database no ping is accepted; afterwards the next one is."""
    case = {"limits": {"store_busy_ms": 200}}
    ping = Call(name="ping", body=BASE["calls"]["ping"])
    async with exchange_for(case, tmp_path) as (server, _), transport(road, server) as source:
        with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            status, answer = await source.send(ping)
            assert (status, answer["reason"]) == (503, "overloaded")
            other.execute("ROLLBACK")
        assert (await source.send(ping))[1]["status"] == "accepted"


async def test_reload_changes_nothing_when_the_store_fails(tmp_path: Path) -> None:
    """The version that the next pings run under cannot be kept, so they run under the old one; then it is taken."""
    async with exchange_for({}, tmp_path) as (server, buyers), transport("rest", server) as road:
        half = {"change": {"payout": {"mode": "revenue_share", "share": 0.5}}}
        (tmp_path / "campaign.yaml").write_bytes(campaign_of(half, buyers.address))
        ping = Call(name="ping", body=BASE["calls"]["ping"])
        failing = failing_store_of(server)
        failing.fail(FAULTS[0], 1)
        assert not await server.reload()
        assert (await road.send(ping))[1]["bid"] == 5_950_000
        assert await server.reload()
        assert (await road.send(ping))[1]["bid"] == 3_500_000
