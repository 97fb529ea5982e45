"""Clients that connect and say nothing, or half of it, cost sockets and nobody else's time."""

import asyncio
from pathlib import Path

import aiohttp

from tests.commands.processes import serving
from tests.commands.test_serve import PING, options
from tests.exchange.cases import campaign_of, replies_of
from tests.exchange.scripted_buyers import scripted_buyers
from tests.exchange.transports import Rest

SLOW_CLIENTS = 500
HALF_A_CALL = b"POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{"
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # and empty settings
CALLS = 40


async def test_five_hundred_half_calls_and_idle_connections(tmp_path: Path) -> None:
    """500 half-sent REST calls and 500 silent HTTP/2 connections: pings are accepted, their bids come in time."""
    async with scripted_buyers(replies_of({})) as buyers:
        (tmp_path / "auto.yaml").write_bytes(campaign_of({}, buyers.address))
        with serving(*options(tmp_path)) as server:
            lines = [(server.http, HALF_A_CALL), (server.grpc, HTTP2_PREFACE)] * SLOW_CLIENTS
            slow = [await _say(address, said) for address, said in lines]
            async with aiohttp.ClientSession() as http:
                source = Rest(server.http, http)
                for _ in range(CALLS):
                    assert (await source.send(PING))[1]["status"] == "accepted"
            for writer in slow:
                writer.close()
            assert await asyncio.to_thread(server.stop) == 0


async def _say(address: str, said: bytes) -> asyncio.StreamWriter:
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(said)
    await writer.drain()
    return writer
