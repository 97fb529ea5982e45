"""More calls than a process takes: some are sold as ever, the rest are refused at once and leave nothing behind."""

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import aiohttp
import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from leadexchange.v1 import lead_exchange_pb2 as pb
from leadexchange.v1 import lead_exchange_pb2_grpc as pb_grpc
from tests.commands.processes import serving
from tests.commands.test_serve import PING, options, post
from tests.exchange.cases import Case, campaign_of, replies_of
from tests.exchange.scripted_buyers import scripted_buyers
from tests.exchange.transports import Grpc, Rest, Transport, wait_until

PLACES, CALLS = 64, 400
SLOW_BID: Case = {"replies": {"acme.ping": [{"json": {"status": "ok", "bid": 7}, "delay_ms": 400}]}}


@pytest.mark.parametrize("road", ["rest", "grpc"])
async def test_too_many_pings_at_once(road: str, tmp_path: Path) -> None:
    """400 pings where 64 fit: each is accepted or refused, and a refused one met neither the store nor a buyer.

    Meanwhile a post goes through: what was promised comes first. Afterwards the next ping is taken.
    """
    async with scripted_buyers(replies_of(SLOW_BID)) as buyers:
        (tmp_path / "auto.yaml").write_bytes(campaign_of({}, buyers.address))
        with serving(*options(tmp_path), LEXCHANGE_IN_FLIGHT=str(PLACES)) as server:
            connector = aiohttp.TCPConnector(limit=0)
            async with (
                aiohttp.ClientSession(connector=connector) as http,
                grpc.aio.insecure_channel(server.grpc) as channel,
            ):
                source: Transport = Rest(server.http, http) if road == "rest" else Grpc(channel)
                offered = (await source.send(PING))[1]
                async with asyncio.TaskGroup() as group:
                    flood = [group.create_task(source.send(PING)) for _ in range(CALLS)]
                    await wait_until(lambda: any(call.done() for call in flood))
                    sold = group.create_task(source.send(post(offered["ping_id"])))
                assert sold.result()[1]["status"] == "delivered"
                assert (await source.send(PING))[1]["status"] == "accepted"
            assert await asyncio.to_thread(server.stop) == 0
        answers = Counter((status, answer["status"], answer.get("reason")) for status, answer in map(_result, flood))
        accepted = answers.pop((200, "accepted", None))
        assert PLACES <= accepted <= CALLS - PLACES
        assert answers == {(503, "error", "overloaded"): CALLS - accepted}
        assert buyers.calls["acme.ping"] == accepted + 2
    with closing(sqlite3.connect(tmp_path / "store.db")) as database:
        assert database.execute("SELECT COUNT(*) FROM pings").fetchone() == (accepted + 2,)


async def test_who_is_refused_hears_when_to_come_back(tmp_path: Path) -> None:
    """Over REST in `Retry-After`, over gRPC in `RetryInfo`."""
    ping = pb.PingRequest(src=PING.body["SRC"], key=PING.body["KEY"], data=PING.body["data"])
    async with scripted_buyers(replies_of(SLOW_BID)) as buyers:
        (tmp_path / "auto.yaml").write_bytes(campaign_of({}, buyers.address))
        with serving(*options(tmp_path), LEXCHANGE_IN_FLIGHT="1") as server:
            async with (
                aiohttp.ClientSession() as http,
                grpc.aio.insecure_channel(server.grpc) as channel,
                asyncio.TaskGroup() as group,
            ):
                group.create_task(Rest(server.http, http).send(PING))
                await wait_until(lambda: "acme.ping" in buyers.calls)
                async with http.post(f"http://{server.http}/ping", json=PING.body) as response:
                    assert (response.status, response.headers["Retry-After"]) == (503, "1")
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await pb_grpc.LeadExchangeStub(channel).Ping(ping)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    status, retry = rpc_status.from_call(cast(Any, refused.value)), error_details_pb2.RetryInfo()
    assert status is not None
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.seconds == 1


def _result(call: asyncio.Task[tuple[int, dict[str, Any]]]) -> tuple[int, dict[str, Any]]:
    return call.result()
