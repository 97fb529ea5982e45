"""A TCP proxy before a PostgreSQL server that loses the answer to a COMMIT, in one of three ways."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum
from urllib.parse import urlsplit

COMMIT = b"COMMIT\x00"
PIECE = 65_536


class Fate(Enum):
    """What happens to the next COMMIT."""

    PASSED = "it is answered"
    CUT = "it arrives, and the connection breaks"
    SWALLOWED = "it does not arrive, and the connection breaks"
    SILENCED = "it arrives, and nothing comes back"


class Proxy:
    """Passes everything on, but for one COMMIT. While `is_away`, nobody gets through anew."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.fate = Fate.PASSED
        self.is_away = False
        self.commits = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self.is_away:
            writer.transport.abort()
            return
        silenced = asyncio.Event()
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._port)
        ends = [
            asyncio.ensure_future(self._back(upstream_reader, writer, silenced)),
            asyncio.ensure_future(self._forth(reader, upstream_writer, silenced)),
        ]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        await asyncio.wait(ends)
        for each in (writer, upstream_writer):
            each.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()

    async def _forth(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, silenced: asyncio.Event) -> None:
        while piece := await reader.read(PIECE):
            fate = Fate.PASSED
            if COMMIT in piece:
                self.commits += 1
                fate, self.fate = self.fate, Fate.PASSED
            if fate is Fate.SILENCED:
                silenced.set()
            if fate is not Fate.SWALLOWED:
                to.write(piece)
                await to.drain()
            if fate in (Fate.CUT, Fate.SWALLOWED):
                return

    async def _back(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, silenced: asyncio.Event) -> None:
        while piece := await reader.read(PIECE):
            if not silenced.is_set():
                to.write(piece)
                await to.drain()


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[str, Proxy]]:
    """The URL by way of the proxy."""
    port = urlsplit(url).port
    assert port is not None
    proxy = Proxy(port)
    served: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.ensure_future(proxy.serve(reader, writer)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield url.replace(f":{port}/", f":{server.sockets[0].getsockname()[1]}/"), proxy
    finally:
        server.close()
        if served:
            await asyncio.wait(served)
