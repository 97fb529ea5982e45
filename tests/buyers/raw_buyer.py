"""A buyer made of one listening socket: every byte, pause and reset of his is written out by a script.

It runs in the test's own event loop, so a test decides what happens when.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress


class Line:
    """One accepted connection, as its script sees it."""

    def __init__(self, sock: socket.socket, requests: list[bytes]) -> None:
        self._sock = sock
        self._requests = requests

    async def read(self) -> bytes:
        """One request with its body; b"" when the client closes instead."""
        loop = asyncio.get_running_loop()
        request = b""
        while b"\r\n\r\n" not in request or len(request) < _length(request):
            part = await loop.sock_recv(self._sock, 65_536)
            if not part:
                return b""
            request += part
        self._requests.append(request)
        return request

    async def read_some(self) -> bytes:
        """What has arrived so far of a request that is still being sent."""
        return await asyncio.get_running_loop().sock_recv(self._sock, 1_000)

    async def send(self, data: bytes) -> None:
        """Send all of `data`; a client that has closed meanwhile is his own business."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._sock, data)
        except OSError:
            await hang()

    def reset(self) -> None:
        """Close with a TCP reset instead of an orderly end."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def close(self) -> None:
        """Close in an orderly way."""
        self._sock.close()


Script = Callable[[Line], Awaitable[None]]


async def hang() -> None:
    """Do nothing more."""
    await asyncio.get_running_loop().create_future()


def _length(request: bytes) -> int:
    head, _, _ = request.partition(b"\r\n\r\n")
    for header in head.split(b"\r\n")[1:]:
        name, _, value = header.partition(b":")
        if name.lower() == b"content-length":
            return len(head) + 4 + int(value)
    return len(head) + 4


class RawBuyer:
    """A listening socket on loopback; `requests` and `connection_count` are what has reached it."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._sock: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self.lines: list[tuple[asyncio.Task[None], socket.socket]] = []
        self.port = 0
        self.requests: list[bytes] = []
        self.connection_count = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/ping"

    def start(self) -> None:
        """Listen, on the port of last time when there was one."""
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sock.bind(("127.0.0.1", self.port))
        self._sock.listen(128)
        self._sock.setblocking(False)
        self.port = self._sock.getsockname()[1]
        self._accepting = asyncio.get_running_loop().create_task(self._accept(self._sock))

    async def stop(self) -> None:
        """Close the listening socket and every connection, and forget them."""
        assert self._sock is not None
        assert self._accepting is not None
        tasks = [self._accepting, *(task for task, _ in self.lines)]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for sock in (self._sock, *(sock for _, sock in self.lines)):
            sock.close()
        self.lines.clear()
        for task in tasks:
            if not task.cancelled():
                task.result()  # a script that failed fails its test

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(listening)
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what a script sends leaves at once
            self.connection_count += 1
            self.lines.append((loop.create_task(self._serve(sock)), sock))

    async def _serve(self, sock: socket.socket) -> None:
        with suppress(ConnectionError):  # the client may reset or close while the script reads
            await self._script(Line(sock, self.requests))


@asynccontextmanager
async def raw_buyer(script: Script) -> AsyncIterator[RawBuyer]:
    """A started buyer that runs `script` for every connection."""
    buyer = RawBuyer(script)
    buyer.start()
    try:
        yield buyer
    finally:
        await buyer.stop()


def answering(*answers: bytes) -> Script:
    """A script that answers the n-th request of a connection with the n-th answer, then hangs."""

    async def script(line: Line) -> None:
        for answer in answers:
            if await line.read():
                await line.send(answer)
        await line.read()
        await hang()

    return script


def answering_always(answer: bytes) -> Script:
    """A script that gives every request the same answer, until the client closes."""

    async def script(line: Line) -> None:
        while await line.read():
            await line.send(answer)
        line.close()

    return script


def closing_after(answer: bytes) -> Script:
    """A script that reads a request, sends `answer` and closes."""

    async def script(line: Line) -> None:
        await line.read()
        await line.send(answer)
        line.close()

    return script
