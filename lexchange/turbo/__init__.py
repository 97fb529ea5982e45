"""Turbo: gRPC on an HTTP/2 server of our own, because grpc.aio alone costs five times what a test ping does.

`TurboServer` takes the servicers that grpc.aio's server takes. Knows nothing of leads.
"""

from lexchange.turbo.server import TurboServer

__all__ = ["TurboServer"]
