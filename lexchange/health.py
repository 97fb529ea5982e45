"""Health: what gRPC clients and balancers are told of this process, by `grpc.health.v1`."""

from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

from lexchange.watches import Watches


class Health(aio.HealthServicer):
    """The stock servicer, whose watchers can be let go."""

    def __init__(self, watches: Watches) -> None:
        super().__init__()
        self._watches = watches

    async def Watch(
        self,
        request: health_pb2.HealthCheckRequest,
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> None:
        """Tell every change, until the client leaves or is let go."""
        async with self._watches.watch():
            await super().Watch(request, context)
