"""Routes: one endpoint per call. Body to request, request to stub, response to body; decides nothing."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import grpc
from starlette.types import Receive, Scope, Send

from gateway import wire
from gateway.body import read_body
from gateway.errors import RETRY_AFTER_S, Refused, error_body, refusal_of, server_error
from leadexchange.v1 import lead_exchange_pb2 as pb

Metadata: TypeAlias = Sequence[tuple[str, str]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

LOG = logging.getLogger("gateway")

TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
IDEMPOTENCY_KEY = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
JSON = (b"content-type", b"application/json")
RETRY_AFTER = (b"retry-after", b"%d" % RETRY_AFTER_S)
CLOSE = (b"connection", b"close")
FURTHER_HEADERS = {429: [RETRY_AFTER], 503: [RETRY_AFTER], 413: [CLOSE]}  # what is left of a body is not worth reading


class Stub(Protocol):
    """The exchange, over a channel or in this process, called by the names of its rpcs."""

    def Ping(
        self, request: wire.Request, *, timeout: float | None = None, metadata: Any = ()
    ) -> Awaitable[pb.PingResponse]:
        """Offer a lead."""

    def Post(
        self, request: wire.Request, *, timeout: float | None = None, metadata: Any = ()
    ) -> Awaitable[pb.PostResponse]:
        """Deliver the lead of an accepted ping."""

    def DirectPost(
        self, request: wire.Request, *, timeout: float | None = None, metadata: Any = ()
    ) -> Awaitable[pb.DirectPostResponse]:
        """Sell a lead in one call."""


class Reply(NamedTuple):
    """What an endpoint answers: a status and a JSON body."""

    status: int
    body: bytes


class Endpoint:
    """One call of the exchange: a whole body in, a reply out. And that as an ASGI application, which reads the body."""

    def __init__(
        self,
        path: str,
        call: Callable[..., Awaitable[Any]],
        read: Callable[[bytes], wire.Request],
        told: Callable[[Any], bytes],
    ) -> None:
        self.path = path
        self._call = call
        self._read = read
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(scope, receive)
        except Refused as refused:
            reply = _refusal(refused)
        else:
            reply = await self.answer(scope["headers"], body)
        await send({"type": "http.response.start", "status": reply.status, "headers": headers_of(reply)})
        await send({"type": "http.response.body", "body": reply.body})

    async def answer(self, headers: Headers, body: bytes) -> Reply:
        """Answer a call, whatever comes of it."""
        try:
            request = self._read(body)
            timeout_s, metadata = _call_options(headers)
            return Reply(200, self._told(await self._call(request, timeout=timeout_s, metadata=metadata)))
        except wire.Unreadable as error:
            return _refusal(Refused("invalid_payload_shape", str(error)))
        except Refused as refused:
            return _refusal(refused)
        except grpc.RpcError as error:
            return _refusal(refusal_of(error))
        except asyncio.CancelledError:  # the server's grace is over, and the caller the only one to hear of it
            return _refusal(server_error())
        except Exception as error:  # noqa: BLE001 - whatever broke, the caller reads JSON and nothing of our inside
            LOG.error("event=gateway_error path=%s error=%s", self.path, type(error).__name__)
            return _refusal(server_error())


def endpoints(stub: Stub) -> dict[str, Endpoint]:
    """The endpoint of each path."""
    return {
        each.path: each
        for each in (
            Endpoint("/ping", stub.Ping, wire.read_request, wire.ping_body),
            Endpoint("/post", stub.Post, wire.read_post, wire.post_body),
            Endpoint("/direct_post", stub.DirectPost, wire.read_request, wire.direct_post_body),
        )
    }


def _call_options(headers: Headers) -> tuple[float | None, Metadata]:
    """The caller's deadline in seconds and his idempotency key, from his headers."""
    timeout_s: float | None = None
    metadata: Metadata = ()
    for name, value in headers:
        if name == b"grpc-timeout":
            timeout_s = _timeout_s(value)
        elif name == b"idempotency-key":
            metadata = (("idempotency-key", _idempotency_key(value)),)
    return timeout_s, metadata


def _timeout_s(value: bytes) -> float:
    found = TIMEOUT.fullmatch(value)
    if found is None or int(found[1]) == 0:
        message = "Grpc-Timeout: expected 1 to 8 digits, not all 0, and a unit of H M S m u n, such as 800m or 5S"
        raise Refused("invalid_payload_shape", message)
    return int(found[1]) * UNIT_S[found[2]]


def _idempotency_key(value: bytes) -> str:
    if IDEMPOTENCY_KEY.fullmatch(value) is None:
        message = "Idempotency-Key: expected 1 to 255 printable ASCII characters"
        raise Refused("invalid_payload_shape", message)
    return value.decode("ascii")


def headers_of(reply: Reply) -> Headers:
    """The headers of a reply."""
    return [JSON, (b"content-length", b"%d" % len(reply.body)), *FURTHER_HEADERS.get(reply.status, ())]


def _refusal(refused: Refused) -> Reply:
    return Reply(refused.http_status, error_body(refused.reason, refused.message))
