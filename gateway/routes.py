"""Routes: one endpoint per call. Body to request, request to stub, response to body; decides nothing."""

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias

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
RETRY_LATER = (429, 503)


class Stub(Protocol):
    """The exchange, over a channel or in this process."""

    def Ping(
        self, request: pb.PingRequest, *, timeout: float | None = None, metadata: Any = ()
    ) -> Awaitable[pb.PingResponse]:
        """Offer a lead."""

    def Post(
        self, request: pb.PostRequest, *, timeout: float | None = None, metadata: Any = ()
    ) -> Awaitable[pb.PostResponse]:
        """Deliver the lead of an accepted ping."""

    def DirectPost(
        self, request: pb.DirectPostRequest, *, timeout: float | None = None, metadata: Any = ()
    ) -> Awaitable[pb.DirectPostResponse]:
        """Sell a lead in one call."""


class Endpoint:
    """An ASGI application for one call of the exchange."""

    def __init__(
        self, call: Callable[..., Awaitable[Any]], request: Callable[[bytes], Any], body: Callable[[Any], bytes]
    ) -> None:
        self._call = call
        self._request = request
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._answer(scope, receive)
        except Refused as refused:
            await _refuse(send, refused)
        except grpc.RpcError as error:
            await _refuse(send, refusal_of(error))
        except Exception as error:  # noqa: BLE001 - whatever broke, the caller reads JSON and nothing of our inside
            LOG.error("event=gateway_error path=%s error=%s", scope["path"], type(error).__name__)
            await _refuse(send, server_error())
        else:
            await send_json(send, 200, body)

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        body = await read_body(scope, receive)
        try:
            request = self._request(body)
        except wire.Unreadable as error:
            raise Refused("invalid_payload_shape", str(error)) from None
        timeout_s, metadata = _call_options(scope["headers"])
        return self._body(await self._call(request, timeout=timeout_s, metadata=metadata))


def endpoints(stub: Stub) -> dict[str, Endpoint]:
    """The endpoint of each path."""
    return {
        "/ping": Endpoint(stub.Ping, wire.ping_request, wire.ping_body),
        "/post": Endpoint(stub.Post, wire.post_request, wire.post_body),
        "/direct_post": Endpoint(stub.DirectPost, wire.direct_post_request, wire.direct_post_body),
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


async def _refuse(send: Send, refused: Refused) -> None:
    status = refused.http_status
    headers: Headers = [(b"retry-after", str(RETRY_AFTER_S).encode())] if status in RETRY_LATER else []
    if status == 413:
        headers.append((b"connection", b"close"))  # what is left of the body is not worth reading
    await send_json(send, status, error_body(refused.reason, refused.message), headers)


async def send_json(send: Send, status: int, body: bytes, headers: Headers | None = None) -> None:
    """Answer with a JSON body."""
    sent = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *(headers or ())]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})
