"""Engines: what serves gRPC. `turbo` is our own HTTP/2, `aio` is grpc.aio, the reference that turbo is held to."""

import ssl
from collections.abc import Callable
from typing import Any, Protocol

import grpc

from gateway.server import address_of, open_socket
from lexchange.buyers.tls import problem_of
from lexchange.config import Limits, Settings
from lexchange.errors import ConfigError
from lexchange.turbo import TurboServer

METADATA_BYTES = 16_384


class Engine(Protocol):
    """A server that is bound when it is made. `adds` is what generated code adds servicers to."""

    address: str
    adds: Any

    async def start(self) -> None:
        """Answer."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, let those in flight end within the grace."""
        ...


class AioEngine:
    """grpc.aio."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        options = [
            ("grpc.so_reuseport", int(settings.shares_ports)),
            ("grpc.max_receive_message_length", limits.body_bytes),
            ("grpc.max_metadata_size", METADATA_BYTES),
        ]
        self.adds = self._server = grpc.aio.server(options=options)
        try:
            port = self._bind(settings)
        except RuntimeError as error:
            raise ConfigError(f"--grpc {settings.grpc}: cannot listen there; is the port taken?") from error
        self.address = f"{settings.grpc.rpartition(':')[0]}:{port}"

    def _bind(self, settings: Settings) -> int:
        if settings.tls is None:
            return self._server.add_insecure_port(settings.grpc)
        _tls_context(settings)  # says what is wrong with them
        pair = (settings.tls.key.read_bytes(), settings.tls.certificate.read_bytes())
        return self._server.add_secure_port(settings.grpc, grpc.ssl_server_credentials([pair]))

    async def start(self) -> None:
        """Answer."""
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, let those in flight end within the grace."""
        await self._server.stop(grace_s)


class TurboEngine:
    """Our own."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        self.adds = self._server = TurboServer(message_bytes=limits.body_bytes)
        self._tls = _tls_context(settings)
        try:
            self._socket = open_socket(settings.grpc, is_shared=settings.shares_ports)
        except OSError as error:
            raise ConfigError(f"--grpc {settings.grpc}: cannot listen there: {error.strerror}") from error
        self.address = address_of(self._socket)

    async def start(self) -> None:
        """Answer."""
        await self._server.start(self._socket, self._tls)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, let those in flight end within the grace."""
        await self._server.stop(grace_s)


def _tls_context(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    pair = (settings.tls.certificate, settings.tls.key)
    try:
        context.load_cert_chain(*pair, password=_no_password)
    except (OSError, ValueError) as error:  # of the first is what OpenSSL raises
        text = f"--grpc-tls {pair[0]}:{pair[1]}: expected PEM files that fit each other; got: {problem_of(error)}"
        raise ConfigError(text) from error
    return context


def _no_password() -> str:
    """OpenSSL would ask the terminal for an encrypted key's password, and wait."""
    raise ValueError("a key with a password")


ENGINES: dict[str, Callable[[Settings, Limits], Engine]] = {"turbo": TurboEngine, "aio": AioEngine}
