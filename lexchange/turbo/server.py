"""TurboServer: listens, and hands each request to the servicer that was added for it, as grpc.aio's server would."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import grpc

from lexchange.background import drained
from lexchange.telemetry import log_event
from lexchange.turbo.calls import Call, Calling, Method
from lexchange.turbo.connection import GREETING_S, Connection
from lexchange.turbo.messages import HEAD, NO_GRPC, NO_POST, NO_TRAILERS, Refusal, refusal_trailers
from lexchange.turbo.requests import Request
from lexchange.turbo.streams import Receiver, Stream

LISTENERS = 16  # of one socket: uvloop takes one connection from each a turn
TLS_FAREWELL_S = 1  # grpcio answers no end of TLS, and asks what crossed ours elsewhere only when its line is cut
BACKLOG = 2_048  # who comes while so many wait to be taken is dropped by the kernel, and tries again after a second


class Refused:
    """The receiver of a request that no servicer takes.

    It hears so in the next turn, so that a flood of such requests meets the limit of streams. A gRPC client hears it
    before he has sent everything: on a stream of messages he may wait for the first answer.
    """

    is_patient = False

    def __init__(self, answer: Callable[[], None], *, is_grpc: bool) -> None:
        self._answer = answer
        self._soon: asyncio.Handle | None = None
        if is_grpc:
            self._answer_soon()

    def hear(self, part: bytes) -> None:
        """Not looked at; the window ends it."""

    def end(self) -> None:
        """All is sent."""
        if self._soon is None:
            self._answer_soon()

    def expire(self, now_s: float) -> None:
        """It has no deadline."""

    def cancel(self) -> None:
        """Nobody listens."""
        if self._soon is not None:
            self._soon.cancel()

    def _answer_soon(self) -> None:
        self._soon = asyncio.get_running_loop().call_soon(self._answer)


class TurboServer:
    """Add servicers with their generated `add_…Servicer_to_server`, then start it on a bound socket."""

    def __init__(self, *, message_bytes: int = 65_536) -> None:
        self._calling = Calling(loop=asyncio.get_running_loop(), message_bytes=message_bytes)
        self._methods: dict[bytes, Method] = {}
        self._connections: set[Connection] = set()
        self._all_gone = asyncio.Event()
        self._all_gone.set()
        self._listeners: list[asyncio.Server] = []
        self._tick: asyncio.TimerHandle | None = None
        self._is_stopping = False

    def add_generic_rpc_handlers(self, methods: Sequence[object]) -> None:
        """Generated code calls this and then the next; the next is enough."""

    def add_registered_method_handlers(self, service: str, methods: Mapping[str, Method]) -> None:
        """Take a servicer's methods."""
        self._methods |= {f"/{service}/{name}".encode(): method for name, method in methods.items()}

    async def start(self, opened: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Answer on the socket, which now belongs to the server."""
        loop = asyncio.get_running_loop()
        more: dict[str, Any] = {"backlog": BACKLOG}
        if tls is not None:
            more |= {"ssl": tls, "ssl_handshake_timeout": GREETING_S, "ssl_shutdown_timeout": TLS_FAREWELL_S}
        for each in (opened, *(opened.dup() for _ in range(LISTENERS - 1))):
            self._listeners.append(await loop.create_server(self._connection, sock=each, **more))
        self._look_after(loop)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, let those in flight end within the grace, then close."""
        self._is_stopping = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.leave()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._all_gone.wait()
        for connection in list(self._connections):
            connection.abort()
        await drained(self._calling.tasks, 1)
        if self._tick is not None:
            self._tick.cancel()

    def _connection(self) -> Connection:
        return Connection(self._accept, self._note, window_bytes=2 * self._calling.message_bytes)

    def _note(self, connection: Connection, is_open: bool) -> None:
        if is_open:
            self._connections.add(connection)
            self._all_gone.clear()
            if self._is_stopping:
                connection.leave()  # it was accepted, or at its TLS handshake, when the others were told
            return
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()

    def _accept(self, connection: Connection, stream: Stream, request: Request) -> Receiver:
        """The call that a request makes, or its refusal."""
        if request.method != b"POST":
            return Refused(partial(stream.answer, NO_POST, b"expected POST", NO_TRAILERS), is_grpc=False)
        if not request.content_type.startswith(b"application/grpc"):
            expected = b"expected content-type: application/grpc"
            return Refused(partial(stream.answer, NO_GRPC, expected, NO_TRAILERS), is_grpc=False)
        method = self._methods.get(request.path)
        try:
            if method is None:
                text = f"no method {request.path.decode('latin-1')}"
                raise Refusal(grpc.StatusCode.UNIMPLEMENTED, text)
            return Call(stream, request, method, self._calling)
        except Refusal as refusal:
            return Refused(partial(stream.finish, HEAD + refusal_trailers(refusal)), is_grpc=True)

    def _look_after(self, loop: asyncio.AbstractEventLoop) -> None:
        self._tick = loop.call_later(1, self._look_after, loop)
        for connection in list(self._connections):
            try:
                connection.look_after(loop.time())
            except Exception as error:  # noqa: BLE001 - without us no deadline of anybody would be kept
                log_event("grpc_connection_failed", error=type(error).__name__)
                connection.abort()
