"""An event loop in which no time passes while there is work: waiting costs nothing, and every run is the same.

Connections to 127.0.0.1 are made by a Network instead of the kernel, so that the real buyer client runs on it.
"""

import asyncio
import selectors
import socket
from collections.abc import Callable
from typing import Any, Protocol


class Network(Protocol):
    """What stands in for the kernel's TCP."""

    async def connect(self, sock: socket.socket, address: tuple[str, int]) -> None:
        """Return once the connection stands; raises OSError."""
        ...

    def attach(self, sock: socket.socket, protocol: asyncio.Protocol) -> asyncio.Transport:
        """Give a connected socket its protocol."""
        ...


class Standstill(AssertionError):
    """Everything waits, and nothing is to come."""


class _TimeKeeper(selectors.SelectSelector):
    """Never waits for a file: moves the loop's time on instead."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Standstill("all tasks wait and no timer is set")
        self.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop; `network` is set before the first connection."""

    network: Network

    def __init__(self) -> None:
        self._keeper = _TimeKeeper()
        super().__init__(self._keeper)

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self._keeper.now_s

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect through the network."""
        await self.network.connect(sock, address)

    async def create_connection(  # type: ignore[override] # only what the buyer client asks for
        self, protocol_factory: Callable[[], asyncio.Protocol], *, sock: socket.socket, **_tls: None
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Wrap a socket that the network has connected."""
        protocol = protocol_factory()
        transport = self.network.attach(sock, protocol)
        protocol.connection_made(transport)
        return transport, protocol
