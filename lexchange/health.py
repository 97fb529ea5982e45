"""Health: what gRPC clients and balancers are told of this process, by `grpc.health.v1`."""

import asyncio
from contextlib import suppress
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio


class Health(aio.HealthServicer):
    """The stock servicer, whose watchers can be let go: a stream that stays open would hold up the server's end."""

    def __init__(self) -> None:
        super().__init__()
        self._watches: set[asyncio.Timeout] = set()

    async def Watch(
        self,
        request: health_pb2.HealthCheckRequest,
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> None:
        """Tell every change, until the client leaves or is let go."""
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as watch:
                self._watches.add(watch)
                try:
                    await super().Watch(request, context)
                finally:
                    self._watches.discard(watch)

    def let_go(self) -> None:
        """End every watch."""
        for watch in self._watches:
            watch.reschedule(asyncio.get_running_loop().time())
