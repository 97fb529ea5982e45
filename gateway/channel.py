"""Channel: the exchange on another port or machine. What a body says becomes the proto's messages here."""

from collections.abc import Awaitable
from typing import Any

from gateway.wire import Request
from leadexchange.v1 import lead_exchange_pb2 as pb
from leadexchange.v1 import lead_exchange_pb2_grpc as pb_grpc


class ChannelStub:
    """A gRPC stub as the gateway calls it. `timeout` is in seconds."""

    def __init__(self, stub: pb_grpc.LeadExchangeStub) -> None:
        self._stub = stub

    def Ping(self, request: Request, *, timeout: float | None = None, metadata: Any = ()) -> Awaitable[pb.PingResponse]:
        """Offer a lead."""
        message = pb.PingRequest(src=request.src, key=request.key, data=request.data)
        return self._stub.Ping(message, timeout=timeout, metadata=metadata)

    def Post(self, request: Request, *, timeout: float | None = None, metadata: Any = ()) -> Awaitable[pb.PostResponse]:
        """Deliver the lead of an accepted ping."""
        message = pb.PostRequest(src=request.src, key=request.key, data=request.data, ping_id=request.ping_id)
        return self._stub.Post(message, timeout=timeout, metadata=metadata)

    def DirectPost(
        self, request: Request, *, timeout: float | None = None, metadata: Any = ()
    ) -> Awaitable[pb.DirectPostResponse]:
        """Sell a lead in one call."""
        message = pb.DirectPostRequest(src=request.src, key=request.key, data=request.data)
        return self._stub.DirectPost(message, timeout=timeout, metadata=metadata)
