"""Server: uvicorn inside an event loop that is already there, stopped without cutting a call short."""

import socket
from asyncio import AbstractEventLoop, TimerHandle, get_running_loop
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from gateway.app import Gateway
from gateway.protocol import JsonErrorProtocol

# uvloop takes one new connection off a listening socket each turn: when turns are slow, who comes would wait seconds.
ACCEPTED_A_TURN = 16
# After a minute of silence, each ten seconds: who does not answer three is gone.
PROBES = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # names that not every system has


class HttpServer:
    """Serves one ASGI application on open sockets, until it is stopped."""

    def __init__(self) -> None:
        self._server: uvicorn.Server | None = None
        self._sockets: list[socket.socket] = []
        self._tick: TimerHandle | None = None
        self._is_stopping = False

    async def start(self, app: ASGIApp, opened: socket.socket, is_full: Callable[[], bool] = lambda: False) -> None:
        """Answer on the socket, which now belongs to the server. `is_full`: whether a call would only be refused."""
        endpoints = app.endpoints if isinstance(app, Gateway) else {}
        config = uvicorn.Config(
            app,
            http=cast(Any, partial(JsonErrorProtocol, endpoints=endpoints, is_full=is_full)),  # uvicorn asks for a type
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # what strangers send is worth no line of ours
            access_log=False,
            server_header=False,
            proxy_headers=False,
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
        self._is_stopping = True
        self._server.config.timeout_graceful_shutdown = grace_s
        await self._server.shutdown(self._sockets)
        if self._tick is not None:
            self._tick.cancel()
        self._server = None

    def _look_after(self, loop: AbstractEventLoop) -> None:
        """Each second: set the Date header, as uvicorn's own main loop would, and hang up on who is too slow."""
        if self._server is None:
            return
        self._tick = loop.call_later(1, self._look_after, loop)
        state = self._server.server_state
        state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        now_s = loop.time()
        for each in [each for each in state.connections if isinstance(each, JsonErrorProtocol)]:
            if self._is_stopping:
                each.shutdown()  # it may have been accepted when the others were told
            each.end_if_due(now_s)


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
        _probe_who_is_silent(opened)
        opened.bind((host.strip("[]"), int(port)))
    except OSError:
        opened.close()
        raise
    opened.setblocking(False)
    return opened


def _probe_who_is_silent(opened: socket.socket) -> None:
    """A gRPC client may rest for ever, but one whose machine is gone would hold his connection for ever, too."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # which those inherit that are accepted here
    for name, value in PROBES.items():
        if hasattr(socket, name):
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def address_of(opened: socket.socket) -> str:
    """HOST:PORT of a bound socket."""
    host, port = opened.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
