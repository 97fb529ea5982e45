"""A disk that is full, or takes no write at all, under the running server; its log lies on the same disk."""

import asyncio
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from lexchange.lead import LeadState
from lexchange.storage import Store
from tests.commands.disks import disk, mounted, read_only
from tests.commands.processes import lexchange, serving
from tests.commands.test_serve import options
from tests.exchange.cases import BASE, campaign_of, replies_of
from tests.exchange.scripted_buyers import scripted_buyers
from tests.exchange.transports import Answer, Call, Rest

REFUSED = (503, "overloaded")
LEASE_S = 1  # so that the lease cannot be renewed several times meanwhile
PINGS = 200  # while the disk is full


class Leads:
    """Leads with a number, their calls, and what their source was told."""

    def __init__(self, source: Rest, ping_ids: Sequence[str] = ()) -> None:
        self._source = source
        self._count = 0
        self.ping_ids = list(ping_ids)  # acknowledged
        self.delivered: dict[str, str] = {}  # delivery_id by ping_id

    async def ping(self, **data: Any) -> tuple[int, str | None]:
        """Offer the next lead; the status, and the reason of a no."""
        self._count += 1
        status, answer = await self._send("ping", {"email": f"{self._count}@example.com"} | data)
        if answer["status"] == "accepted":
            self.ping_ids.append(answer["ping_id"])
        return status, answer.get("reason")

    async def post(self, ping_id: str) -> tuple[int, str | None]:
        """Post the lead of a ping; the status, and the reason of a no."""
        status, answer = await self._send("post", {}, ping_id=ping_id)
        if answer["status"] == "delivered":
            self.delivered[ping_id] = answer["delivery_id"]
        return status, answer.get("reason")

    async def _send(self, name: str, data: dict[str, Any], **more: Any) -> tuple[int, Answer]:
        given = BASE["calls"][name]
        return await self._source.send(Call(name=name, body=given | {"data": given["data"] | data} | more))


def stored_pings(folder: Path) -> set[str]:
    """Read beside the server, which is not asked."""
    with closing(sqlite3.connect(f"file://{folder}/store.db?mode=ro", uri=True)) as database:
        return {ping_id for (ping_id,) in database.execute("SELECT ping_id FROM pings WHERE state <> 'no_sale'")}


@pytest.mark.parametrize("kind", ["full", "every write"])
async def test_server_goes_on_when_its_disk_has_failed(kind: str, tmp_path: Path) -> None:
    """Meanwhile every call is refused as overloaded and no buyer gets a lead; nothing acknowledged is lost."""
    async with scripted_buyers(replies_of({})) as buyers:
        with disk(kind, tmp_path) as broken:
            (tmp_path / "auto.yaml").write_bytes(campaign_of({}, buyers.address))
            with (
                (tmp_path / "log").open("w") as log,
                serving(*options(tmp_path), log=log, LEXCHANGE_LEASE_S=str(LEASE_S)) as server,
            ):
                async with aiohttp.ClientSession() as http:
                    leads = Leads(Rest(server.http, http))
                    for _ in range(20):
                        assert await leads.ping() == (200, None)
                    assert await leads.post(leads.ping_ids[0]) == (200, None)

                    broken.break_under(server)
                    heard = [await leads.ping() for _ in range(PINGS)]
                    assert set(heard) <= {(200, None), REFUSED}
                    assert heard[-20:] == [REFUSED] * 20
                    assert await leads.ping(Test_Mode=1) == REFUSED
                    for ping_id in leads.ping_ids[1:10]:
                        assert await leads.post(ping_id) == REFUSED
                    await asyncio.sleep(LEASE_S)
                    assert server.process.poll() is None
                    assert stored_pings(tmp_path) >= set(leads.ping_ids)
                    assert buyers.calls["acme.post"] == 1

                    broken.mend_under(server)
                    assert await leads.ping() == (200, None)
                    for ping_id in leads.ping_ids[1:]:
                        assert await leads.post(ping_id) == (200, None)
                assert await asyncio.to_thread(server.stop) == 0
            await check_store(tmp_path, leads)
        got = [lead["delivery"] for lead in buyers.received["acme.post"]]
        assert sorted(got) == sorted(leads.delivered.values())


async def check_store(folder: Path, leads: Leads) -> None:
    """The file is whole, and holds what was told."""
    with closing(sqlite3.connect(folder / "store.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert stored_pings(folder) >= set(leads.ping_ids)
    async with Store.open(f"sqlite:///{folder}/store.db") as store:
        for ping_id, delivery_id in leads.delivered.items():
            lead = await store.audit.find_lead_of_ping(ping_id)
            assert lead is not None
            assert (lead.state, lead.delivery_id) == (LeadState.DELIVERED, delivery_id)
        assert await store.audit.unresolved_leads() == []


async def test_start_is_refused_when_the_disk_is_read_only(tmp_path: Path) -> None:
    """In one line, also after a `kill -9`; once it can be written to, what was acknowledged is there."""
    async with scripted_buyers(replies_of({})) as buyers:
        with mounted(tmp_path) as is_own:
            (tmp_path / "auto.yaml").write_bytes(campaign_of({}, buyers.address))
            with serving(*options(tmp_path)) as server:
                async with aiohttp.ClientSession() as http:
                    leads = Leads(Rest(server.http, http))
                    assert await leads.ping() == (200, None)
                await asyncio.to_thread(server.stop, signal.SIGKILL)
            with read_only(tmp_path, is_own=is_own):
                refused = lexchange(*options(tmp_path))
            assert (refused.returncode, refused.stdout) == (1, "")
            assert len(refused.stderr.splitlines()) == 1, refused.stderr
            with serving(*options(tmp_path)) as server:
                async with aiohttp.ClientSession() as http:
                    leads = Leads(Rest(server.http, http), leads.ping_ids)
                    assert await leads.post(leads.ping_ids[0]) == (200, None)
                assert await asyncio.to_thread(server.stop) == 0
