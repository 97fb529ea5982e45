"""Buyers as a real HTTP server on loopback: `/NAME/ping` and `/NAME/post`, each answering what a case says.

A reply is {"status": 200, "json": …, "text": …, "delay_ms": 0, "reset": false}; the last of a list repeats.
"""

import asyncio
import socket
import struct
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson

Reply = dict[str, Any]


class ScriptedBuyers:
    """What the buyers answer, and what has reached them."""

    def __init__(self, replies: dict[str, list[Reply]]) -> None:
        self._replies = replies  # by "NAME.ping", "NAME.post"
        self.address = ""
        self.connections = 0
        self.received: defaultdict[str, list[Any]] = defaultdict(list)
        self.headers: defaultdict[str, list[dict[str, str]]] = defaultdict(list)

    @property
    def calls(self) -> dict[str, int]:
        """How many requests each endpoint got."""
        return {endpoint: len(bodies) for endpoint, bodies in self.received.items()}

    def say(self, endpoint: str, *replies: Reply) -> None:
        """From now on it answers so; the last reply repeats."""
        self._replies[endpoint] = list(replies)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until its client closes it or a script resets it."""
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._serve_one(reader, writer):
                    pass
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        endpoint = lines[0].split(" ")[1].strip("/").replace("/", ".")
        self.received[endpoint].append(_readable(body))
        self.headers[endpoint].append(headers)
        reply = self._reply(endpoint)
        await asyncio.sleep(reply.get("delay_ms", 0) / 1000)
        if reply.get("reset"):
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        content = orjson.dumps(reply["json"]) if "json" in reply else reply.get("text", "").encode()
        kind = "application/json" if "json" in reply else "text/plain"
        head = f"HTTP/1.1 {reply.get('status', 200)} X\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}"
        writer.write(f"{head}\r\n\r\n".encode() + content)
        await writer.drain()
        return True

    def _reply(self, endpoint: str) -> Reply:
        replies = self._replies[endpoint]
        return replies.pop(0) if len(replies) > 1 else replies[0]


def _readable(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")


@asynccontextmanager
async def scripted_buyers(replies: dict[str, list[Reply]]) -> AsyncIterator[ScriptedBuyers]:
    """Serve until the block ends."""
    buyers = ScriptedBuyers(replies)
    connections: set[asyncio.Task[None]] = set()

    def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.get_running_loop().create_task(buyers.serve(reader, writer)))

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    buyers.address = f"{host}:{port}"
    try:
        yield buyers
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        if connections:
            await asyncio.wait(connections)
            await asyncio.sleep(0)  # closed transports let go of their sockets
