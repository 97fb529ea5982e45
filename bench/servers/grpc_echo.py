"""A bare grpc.aio server on uvloop that sends a PingRequest back: what the gRPC figures are divided by."""

import asyncio
import signal

import grpc
import uvloop

from leadexchange.v1 import lead_exchange_pb2 as pb


async def _echo(request: pb.PingRequest, context: object) -> pb.PingRequest:
    return request


async def serve() -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    method = grpc.unary_unary_rpc_method_handler(
        _echo, request_deserializer=pb.PingRequest.FromString, response_serializer=pb.PingRequest.SerializeToString
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.v1.Echo", {"Ping": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"ready grpc=127.0.0.1:{port}", flush=True)
    await stop.wait()
    await server.stop(1)


if __name__ == "__main__":
    uvloop.run(serve())
