"""Server: uvicorn inside an event loop that is already there, stopped without cutting a call short."""

import re
import socket
from asyncio import AbstractEventLoop, TimerHandle, get_running_loop
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.errors import RETRY_AFTER_S, error_body

KEEP_ALIVE_S = 75
HEADER_BYTES = 32_768  # all headers of a request
HEADERS_S = 10  # their arrival: who connects and says nothing, or says it drop by drop, is hung up on
# uvloop takes one new connection off a listening socket each turn: when turns are slow, who comes would wait seconds.
ACCEPTED_A_TURN = 16

SHED_PATHS = frozenset([b"/ping", b"/direct_post"])  # a post is a promise and always gets through
_TOO_MANY = error_body("overloaded", "too many calls wait already; try again")
OVERLOADED = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: %d\r\n"
    b"content-length: %d\r\n\r\n%b" % (RETRY_AFTER_S, len(_TOO_MANY), _TOO_MANY)
)


SHED_STARTS = tuple(b"POST %b HTTP/1.1\r\n" % path for path in sorted(SHED_PATHS))
_length = re.compile(rb"(?i)\r\ncontent-length: *(\d{1,5})(?=\r\n|\Z)")
_unusual = re.compile(rb"(?i)\r\n(connection|expect|transfer-encoding|upgrade):")


def _plain_length(head: bytes) -> int | None:
    """The length of a body that a keep-alive call sends in one piece; None where the parser should look."""
    found = _length.findall(head)
    return int(found[0]) if len(found) == 1 and not _unusual.search(head) else None


class JsonErrorProtocol(HttpToolsProtocol):
    """Bounds the headers, answers what is no HTTP in JSON like everything else, and what is too much without a task."""

    header_bytes = 0
    is_between = True  # two calls: nothing of the next has come
    is_refused = False  # the request that is being read
    _is_full: Callable[[], bool]  # set by HttpServer

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.awaited_since_s: float | None = self.loop.time()  # a request that has not told its headers

    def data_received(self, data: bytes) -> None:
        """Parse; but a whole call that would be refused is refused as it lies there, at a third of the cost."""
        if self.is_between and data.startswith(SHED_STARTS) and self._is_full() and self._is_idle():
            head, _, body = data.partition(b"\r\n\r\n")
            if _plain_length(head) == len(body):
                self._unset_keepalive_if_required()
                self.transport.write(OVERLOADED)
                self.on_response_complete()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin counting."""
        self.header_bytes = 0
        self.is_between = False
        self.awaited_since_s = self.loop.time()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header; too many end the connection."""
        self.header_bytes += len(name) + len(value)
        if self.header_bytes > HEADER_BYTES:
            raise ValueError(f"headers of more than {HEADER_BYTES} bytes")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin a call, or refuse it with as little work as there can be, so that those in flight do not suffer."""
        self.is_refused = self.url in SHED_PATHS and self._is_full() and self._may_refuse()
        if not self.is_refused:
            self.awaited_since_s = None
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """The body of a refused call is not looked at."""
        if not self.is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A refused call is answered, and its connection lives on."""
        self.is_between = True
        if not self.is_refused:
            super().on_message_complete()
            return
        self.awaited_since_s = None
        self.transport.write(OVERLOADED)
        if self.parser.should_keep_alive():
            self.on_response_complete()
        else:
            self.transport.close()

    def _is_idle(self) -> bool:
        """Whether the connection owes no earlier answer."""
        before: RequestResponseCycle | None = self.cycle  # uvicorn declares it without the None that it starts as
        return before is None or before.response_complete

    def _may_refuse(self) -> bool:
        """Whether this call is the next, and its body on its way."""
        return self._is_idle() and not self.expect_100_continue and self.parser.get_method() == b"POST"

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered and hung up on."""
        body = error_body("invalid_payload_shape", f"this is no HTTP/1.1 request that can be read: {msg}")
        head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()


class HttpServer:
    """Serves one ASGI application on open sockets, until it is stopped."""

    def __init__(self) -> None:
        self._server: uvicorn.Server | None = None
        self._sockets: list[socket.socket] = []
        self._tick: TimerHandle | None = None

    async def start(self, app: ASGIApp, opened: socket.socket, is_full: Callable[[], bool] = lambda: False) -> None:
        """Answer on the socket, which now belongs to the server. `is_full`: whether a call would only be refused."""

        class Protocol(JsonErrorProtocol):
            _is_full = staticmethod(is_full)

        config = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # what strangers send is worth no line of ours
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        self._sockets = [opened, *(opened.dup() for _ in range(ACCEPTED_A_TURN - 1))]
        self._look_after(get_running_loop())
        await self._server.startup(self._sockets)

    async def stop(self, grace_s: int) -> None:
        """Take no more calls, let those in flight end within the grace, then close."""
        if self._server is None:
            return
        self._server.config.timeout_graceful_shutdown = grace_s
        await self._server.shutdown(self._sockets)
        if self._tick is not None:
            self._tick.cancel()
        self._server = None

    def _look_after(self, loop: AbstractEventLoop) -> None:
        """Each second: set the Date header, as uvicorn's own main loop would, and hang up on who is too slow."""
        if self._server is None:
            return
        state = self._server.server_state
        state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        before_s = loop.time() - HEADERS_S
        for each in [each for each in state.connections if isinstance(each, JsonErrorProtocol)]:
            if each.awaited_since_s is not None and each.awaited_since_s < before_s:
                each.transport.close()
        self._tick = loop.call_later(1, self._look_after, loop)


def open_socket(address: str, *, is_shared: bool = False) -> socket.socket:
    """A bound socket for HOST:PORT, which several processes may share (SO_REUSEPORT); raises OSError."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65_535:
        raise OSError(0, f"expected HOST:PORT, got {address!r}", address)
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, is_shared)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.bind((host.strip("[]"), int(port)))
    except OSError:
        opened.close()
        raise
    opened.setblocking(False)
    return opened


def address_of(opened: socket.socket) -> str:
    """HOST:PORT of a bound socket."""
    host, port = opened.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
