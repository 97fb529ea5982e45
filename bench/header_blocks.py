"""`python -m bench.header_blocks`: what reading the header block of a gRPC call takes hpack's decoder, and ours.

The blocks are those that grpc-go sends: all in the table but the deadline, which is another one in each call.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import hpack

from lexchange.turbo.header_blocks import HeaderDecoder

CALLS, ROUNDS = 5_000, 5
FIELDS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/leadexchange.v1.LeadExchange/Ping"),
    (":authority", "127.0.0.1:50051"),
    ("content-type", "application/grpc"),
    ("user-agent", "grpc-go/1.60"),
    ("te", "trailers"),
]


def measure(read: Callable[[bytes], object], blocks: list[bytes]) -> float:
    """Microseconds a block."""
    began_s = time.perf_counter()
    for block in blocks:
        read(block)
    return (time.perf_counter() - began_s) / len(blocks) * 1e6


def main() -> None:
    """Take turns, print medians."""
    encoder = hpack.Encoder()
    deadlines = (f"{20_000_000 - 37 * number}u" for number in range(CALLS))
    blocks = [encoder.encode([*FIELDS, ("grpc-timeout", deadline)]) for deadline in deadlines]
    found: dict[str, list[float]] = {"hpack": [], "ours": []}
    for _ in range(ROUNDS):
        found["hpack"].append(measure(partial(hpack.Decoder().decode, raw=True), blocks))
        found["ours"].append(measure(HeaderDecoder().decode, blocks))
    for name, times_us in found.items():
        print(f"{name:5} {statistics.median(times_us):5.1f} µs a header block")


if __name__ == "__main__":
    main()
