"""A client that says exactly which frames it sends, and reads those that come back."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import hpack

from gateway.server import address_of, open_socket
from lexchange.turbo import TurboServer, frames


def fields_of(method: str, *more: tuple[str, str]) -> list[tuple[str, str]]:
    """The header fields of a call."""
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", f"/bench.v1.Echo/{method}"),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more,
    ]


GRPC_FIELDS = fields_of("Say")
FIRST_IDS = range(1, 10_000_000, 2)
PING = frames.frame(frames.PING, 0, 0, b"12345678")


def message(payload: bytes) -> bytes:
    return bytes([0]) + len(payload).to_bytes(4, "big") + payload


def greeted(packets: bytes) -> bytes:
    """Packets behind a client's first words."""
    return frames.PREFACE + frames.settings_frame({}) + packets


@dataclass
class Frame:
    kind: int
    flags: int
    stream_id: int
    payload: bytes


class Peer:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()

    def say(self, *packets: bytes) -> None:
        self.writer.write(b"".join(packets))

    def headers(self, stream_id: int, fields: Any = GRPC_FIELDS, *, ends: bool = False) -> bytes:
        flags = frames.END_HEADERS | (frames.END_STREAM if ends else 0)
        return frames.frame(frames.HEADERS, flags, stream_id, self.encoder.encode(fields))

    def call(self, stream_id: int, payload: bytes = b"hello", fields: Any = GRPC_FIELDS) -> bytes:
        body = message(payload)
        cuts = [body[at : at + frames.FRAME_BYTES] for at in range(0, len(body), frames.FRAME_BYTES)]
        parts = [frames.frame(frames.DATA, 0, stream_id, cut) for cut in cuts[:-1]]
        return b"".join(
            [
                self.headers(stream_id, fields),
                *parts,
                frames.frame(frames.DATA, frames.END_STREAM, stream_id, cuts[-1]),
            ]
        )

    async def next(self) -> Frame | None:
        """The next frame; None when the server has hung up."""
        try:
            async with asyncio.timeout(10):
                head = await self.reader.readexactly(9)
                payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return Frame(head[3], head[4], int.from_bytes(head[5:], "big"), payload)

    async def find(self, kind: int) -> Frame:
        """The next frame of a kind."""
        while (found := await self.next()) is not None:
            if found.kind == kind and not (kind == frames.SETTINGS and found.flags & frames.ACK):
                return found
        raise AssertionError("the server hung up first")

    async def fault(self) -> frames.ErrorCode:
        """The code of the last GOAWAY; the connection has to be closed then."""
        codes = []
        while (found := await self.next()) is not None:
            if found.kind == frames.GOAWAY:
                codes.append(int.from_bytes(found.payload[4:8], "big"))
        return frames.ErrorCode(codes[-1])

    async def status(self, stream_id: int) -> tuple[dict[str, str], bytes]:
        """The trailers of a call, with its head's fields before them, and its body."""
        fields: dict[str, str] = {}
        body = b""
        while (found := await self.next()) is not None:
            if found.kind == frames.HEADERS:
                decoded = {str(name): str(value) for name, value in self._decoder.decode(found.payload)}
                if found.stream_id == stream_id:
                    fields |= decoded
                    if found.flags & frames.END_STREAM:
                        return fields, body
            elif found.kind == frames.DATA and found.stream_id == stream_id:
                body += found.payload
        raise AssertionError("the server hung up first")


class Echo:
    """A servicer of bytes: `Say` returns what it hears; `Wait` does after a while; `Count` sends several."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.metadata: list[Any] = []
        self.cancelled = 0
        self.waits = asyncio.Event()

    async def say(self, request: bytes, context: Any) -> bytes:
        self.heard.append(request)
        self.metadata.append(context.invocation_metadata())
        if request == b"abort":
            await context.abort(grpc.StatusCode.ABORTED, "nö, 100 %", trailing_metadata=(("x-bin", b"\x00\xff"),))
        if request == b"break":
            raise ValueError("sam.carter@example.com")
        if request == b"cancel":
            raise asyncio.CancelledError
        return request

    async def wait(self, request: bytes, context: Any) -> bytes:
        try:
            await self.waits.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return b"%.0f" % (context.time_remaining() or 0)

    async def count(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    async def talk(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request.upper()

    def methods(self) -> dict[str, Any]:
        unary, several, both = (
            grpc.unary_unary_rpc_method_handler,
            grpc.unary_stream_rpc_method_handler,
            grpc.stream_stream_rpc_method_handler,
        )
        raw: Any = {"request_deserializer": bytes, "response_serializer": bytes}
        return {
            "Say": unary(self.say, **raw),
            "Wait": unary(self.wait, **raw),
            "Count": several(self.count, **raw),
            "Talk": both(self.talk, **raw),
        }


@dataclass
class Running:
    server: TurboServer
    echo: Echo
    address: str

    @asynccontextmanager
    async def peer(self, *, is_greeting: bool = True) -> AsyncIterator[Peer]:
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        peer = Peer(reader, writer)
        if is_greeting:
            peer.say(frames.PREFACE, frames.settings_frame({}))
        try:
            yield peer
        finally:
            writer.close()


@asynccontextmanager
async def running(tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[Running]:
    server, echo, opened = TurboServer(**options), Echo(), open_socket("127.0.0.1:0")
    server.add_registered_method_handlers("bench.v1.Echo", echo.methods())
    address = address_of(opened)
    await server.start(opened, tls)
    try:
        yield Running(server, echo, address)
    finally:
        await server.stop(1)
