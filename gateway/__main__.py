"""`python -m gateway`: the REST side on its own, in front of an exchange on another port or machine."""

import argparse
import asyncio
import os
import signal
import sys

import grpc
import uvloop

from gateway.app import create_app
from gateway.channel import ChannelStub
from gateway.server import HttpServer, address_of, open_socket
from leadexchange.v1 import lead_exchange_pb2_grpc as pb_grpc

DRAIN_NOTICE_S = 1  # /healthz says so that long before calls are taken no more
DRAIN_S = 30


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM; returns the exit code."""
    options = _parser().parse_args(arguments)
    return uvloop.run(_serve(options.upstream, options.http))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gateway", description="REST in front of a LeadExchange gRPC service.")
    upstream = os.environ.get("LEXCHANGE_UPSTREAM")
    parser.add_argument(
        "--upstream",
        default=upstream,
        required=upstream is None,
        help="HOST:PORT of the gRPC service [LEXCHANGE_UPSTREAM]",
    )
    parser.add_argument(
        "--http",
        default=os.environ.get("LEXCHANGE_HTTP", "127.0.0.1:8080"),
        help="HOST:PORT to serve REST on, port 0 picks a free one (default 127.0.0.1:8080) [LEXCHANGE_HTTP]",
    )
    return parser


async def _serve(upstream: str, http: str) -> int:
    try:
        opened = open_socket(http)
    except OSError as error:
        print(f"gateway: --http {http}: cannot listen there: {error.strerror}", file=sys.stderr)
        return 1
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    server = HttpServer()
    async with grpc.aio.insecure_channel(upstream) as channel:
        address = address_of(opened)
        app = create_app(ChannelStub(pb_grpc.LeadExchangeStub(channel)))
        await server.start(app, opened)
        print(f"ready http={address}", flush=True)
        await stop.wait()
        app.is_draining = True
        await asyncio.sleep(DRAIN_NOTICE_S)
        await server.stop(DRAIN_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
