"""gRPC calls from Python: pings whose ids are then posted, and the load when there is no ghz.

python -m bench.grpc_calls pings --duration 3s --out posts.json 127.0.0.1:50051
python -m bench.grpc_calls load --config bench/ghz/ping.json --duration 3s 127.0.0.1:50051
"""

import argparse
import asyncio
import itertools
import json
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import uvloop
from google.protobuf import json_format

from bench.child import ROOT
from bench.load import PERCENTILES
from leadexchange.v1 import lead_exchange_pb2 as pb
from leadexchange.v1 import lead_exchange_pb2_grpc as pb_grpc

IN_FLIGHT = 50
CHANNELS = 10
REQUESTS = {"Ping": pb.PingRequest, "Post": pb.PostRequest, "DirectPost": pb.DirectPostRequest}


async def collect_pings(address: str, seconds: float) -> list[dict[str, object]]:
    """Ping for so long; a post for every accepted ping."""
    ping = json_format.Parse((ROOT / "bench/calls/ping.json").read_text(), pb.PingRequest())
    post = json.loads((ROOT / "bench/calls/post.json").read_text())
    posts: list[dict[str, object]] = []
    until = time.monotonic() + seconds
    async with grpc.aio.insecure_channel(address) as channel:
        stub = pb_grpc.LeadExchangeStub(channel)

        async def ping_on() -> None:
            while time.monotonic() < until:
                answer = await stub.Ping(ping)
                if answer.status != pb.PING_STATUS_ACCEPTED:
                    raise SystemExit(f"a ping was not accepted: {answer}")
                posts.append({**post, "ping_id": answer.ping_id})

        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(ping_on())
    return posts


async def load(
    address: str, config: dict[str, str], *, seconds: float, total: int | None, in_flight: int, connections: int
) -> dict[str, float]:
    """Call in a closed loop until the time or the number is reached; the answers are not parsed."""
    service, _, method = config["call"].rpartition(".")
    messages = _messages(config["data-file"], REQUESTS[method])
    numbers = itertools.count() if total is None else iter(range(total))
    latencies_s: list[float] = []
    failures = 0
    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(connections)
    ]
    started = time.perf_counter()
    until = started + seconds

    async def call_on(send: Callable[[bytes], Awaitable[bytes]]) -> None:
        nonlocal failures
        while (sent := time.perf_counter()) < until and (number := next(numbers, None)) is not None:
            try:
                await send(messages[number % len(messages)])
            except grpc.aio.AioRpcError:
                failures += 1
            latencies_s.append(time.perf_counter() - sent)

    async with asyncio.TaskGroup() as group:
        for index in range(in_flight):
            channel = channels[index % connections]
            send: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{service}/{method}")
            group.create_task(call_on(send))
    elapsed_s = time.perf_counter() - started
    for channel in channels:
        await channel.close()
    latencies_s.sort()
    return {
        "calls": len(latencies_s),
        "elapsed_us": elapsed_s * 1e6,
        **{f"{name}_us": latencies_s[int((len(latencies_s) - 1) * share)] * 1e6 for name, share in PERCENTILES.items()},
        "failures": failures,
    }


def _messages(path: str, request_type) -> list[bytes]:
    found = json.loads(Path(path).read_text())
    bodies = found if isinstance(found, list) else [found]
    return [json_format.ParseDict(body, request_type()).SerializeToString() for body in bodies]


def main() -> None:
    """Read the options and call."""
    parser = argparse.ArgumentParser(prog="bench.grpc_calls", description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["pings", "load"])
    parser.add_argument("address")
    parser.add_argument("--config", type=Path, help="a file of bench/ghz")
    parser.add_argument("--data-file", help="instead of the config's")
    parser.add_argument("--duration", default="", help="such as 3s")
    parser.add_argument("--total", type=int)
    parser.add_argument("--concurrency", type=int, default=IN_FLIGHT)
    parser.add_argument("--connections", type=int, default=CHANNELS)
    parser.add_argument("--out", type=Path, default=Path("posts.json"))
    options = parser.parse_args()
    seconds = float(options.duration.removesuffix("s")) if options.duration else math.inf
    if options.what == "pings":
        options.out.write_text(json.dumps(uvloop.run(collect_pings(options.address, seconds))))
        return
    config = json.loads(options.config.read_text())
    if options.data_file:
        config["data-file"] = options.data_file
    story = load(
        options.address,
        config,
        seconds=seconds,
        total=options.total,
        in_flight=options.concurrency,
        connections=options.connections,
    )
    print(json.dumps(uvloop.run(story)))


if __name__ == "__main__":
    main()
