"""`python -m bench.h2spec`: run h2spec, the conformance suite of HTTP/2, against a turbo server on loopback."""

import asyncio
import sys

from grpc_health.v1 import health_pb2_grpc

from bench.child import BenchError
from bench.tools import h2spec
from gateway.server import address_of, open_socket
from lexchange.health import Health
from lexchange.turbo import TurboServer
from lexchange.watches import Watches


async def check(arguments: list[str]) -> int:
    """Its exit code; 2 when it cannot be had."""
    try:
        binary = await asyncio.to_thread(h2spec)
    except BenchError as error:
        print(f"h2spec: {error}", file=sys.stderr)
        return 2
    server, opened = TurboServer(), open_socket("127.0.0.1:0")
    health_pb2_grpc.add_HealthServicer_to_server(Health(Watches()), server)  # type: ignore[arg-type] # it takes what it needs
    host, _, port = address_of(opened).partition(":")
    await server.start(opened)
    try:
        suite = await asyncio.create_subprocess_exec(binary, "-h", host, "-p", port, *arguments)
        return await suite.wait()
    finally:
        await server.stop(1)


if __name__ == "__main__":
    sys.exit(asyncio.run(check(sys.argv[1:])))
