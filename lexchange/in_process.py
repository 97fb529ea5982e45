"""InProcessStub: the channel's twin for a gateway in the same event loop. No socket, and no message on the way in.

It raises what a channel would raise, `grpc.RpcError` with code, text and rich details, so that the gateway cannot
tell the difference.
"""

from collections.abc import Awaitable
from typing import Any, TypeVar

import grpc

from leadexchange.v1 import lead_exchange_pb2 as pb
from lexchange.exchange import Exchange
from lexchange.servicer import (
    DETAILS_KEY,
    STATUS_CODES,
    Metadata,
    PostRequest,
    Request,
    answer_direct_post,
    answer_ping,
    answer_post,
    idempotency_key,
    refusal_of,
    refusal_status,
)

Response = TypeVar("Response")


class InProcessRpcError(grpc.RpcError):
    """A refused call."""

    def __init__(self, code: grpc.StatusCode, text: str, details: bytes) -> None:
        super().__init__(f"{code.name}: {text}")
        self._code = code
        self._text = text
        self._details = details

    def code(self) -> grpc.StatusCode:
        """The status code."""
        return self._code

    def details(self) -> str:
        """The sentence."""
        return self._text

    def trailing_metadata(self) -> Any:
        """Carries the rich status, as over a channel."""
        return ((DETAILS_KEY, self._details),)


class InProcessStub:
    """The three calls, straight into the exchange. `timeout` is in seconds."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def Ping(
        self, request: Request, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> Awaitable[pb.PingResponse]:
        """Offer a lead."""
        return _or_raise(answer_ping(self._exchange, request, timeout))

    def Post(
        self, request: PostRequest, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> Awaitable[pb.PostResponse]:
        """Deliver the lead of an accepted ping."""
        return _or_raise(answer_post(self._exchange, request, timeout, idempotency_key(metadata)))

    def DirectPost(
        self, request: Request, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> Awaitable[pb.DirectPostResponse]:
        """Sell a lead in one call."""
        return _or_raise(answer_direct_post(self._exchange, request, timeout, idempotency_key(metadata)))


async def _or_raise(story: Awaitable[Response]) -> Response:
    try:
        return await story
    except Exception as error:  # whatever went wrong, the caller gets a status and no inside
        status = refusal_status(refusal_of(error))
        raise InProcessRpcError(STATUS_CODES[status.code], status.message, status.SerializeToString()) from error
