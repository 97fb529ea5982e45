"""Commits that wait for a synchronous standby which is away: nothing is told that only one machine has."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from lexchange.errors import StorageError
from lexchange.lead import LeadState
from lexchange.storage import Store
from tests.exchange.cases import BASE
from tests.exchange.running import exchange_for
from tests.exchange.transports import Call, transport
from tests.storage.examples import a_ping
from tests.storage.servers import PostgresServer, binaries, running

BUSY_MS = 500
CASE = {"change": {"traffic_type": "direct_post"}, "limits": {"store_busy_ms": BUSY_MS}}
DIRECT_POST = Call(name="direct_post", body=BASE["calls"]["direct_post"])


@pytest.fixture(scope="module", params=["18", "15"])
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    if binaries(request.param) is None:
        pytest.skip(f"PostgreSQL {request.param} is not installed: make debian")
    with running(request.param) as started:
        yield started


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    server.follow("")
    with server.database() as place:
        yield place
        server.follow("")


async def commits_that_wait(server: PostgresServer) -> list[int]:
    """The pids of the sessions whose COMMIT waits for the standby, once there are any."""
    connection = await asyncpg.connect(server.url())
    try:
        async with asyncio.timeout(5):
            while True:
                found = await connection.fetch("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
                if found:
                    return [row["pid"] for row in found]
                await asyncio.sleep(0.01)
    finally:
        await connection.close()


async def test_commit_that_the_standby_does_not_have_is_no_success(server: PostgresServer, url: str) -> None:
    """A session ended while its commit waits has committed, on one machine alone: whoever asked hears an error."""
    async with Store.open(url, busy_timeout_ms=BUSY_MS) as store:
        await asyncio.to_thread(server.follow, "nobody")
        recording = asyncio.ensure_future(store.record_ping(a_ping(1)))
        connection = await asyncpg.connect(server.url())
        for pid in await commits_that_wait(server):
            await connection.execute("SELECT pg_terminate_backend($1)", pid)
        await connection.close()
        with pytest.raises(StorageError):
            await recording


async def test_claim_that_is_durable_late_is_settled(server: PostgresServer, url: str, tmp_path: Path) -> None:
    """The source was refused while its claim waited for the standby: later it stands, and is ended as not sent."""
    async with exchange_for(CASE, tmp_path, url) as (exchange, buyers), transport("grpc", exchange) as source:
        await asyncio.to_thread(server.follow, "nobody")
        _, answer = await source.send(DIRECT_POST)
        assert (answer["status"], answer["reason"]) == ("error", "overloaded")
        await asyncio.sleep(2 * BUSY_MS / 1000)
        await asyncio.to_thread(server.follow, "")
        async with Store.open(url) as store, asyncio.timeout(5):
            while [lead.state for lead in await store.audit.recent_leads(10)] != [LeadState.FAILED]:  # noqa: ASYNC110 - the product sets no event
                await asyncio.sleep(0.05)
        assert not [endpoint for endpoint in buyers.calls if endpoint.endswith(".post")]
