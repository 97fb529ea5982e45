"""An open loop of REST pings: they leave at their time, whether answers come or not, as publishers' do.

`python -m bench.open_loop HOST:PORT --rate 2000 --duration 30` prints one JSON line.
"""

import argparse
import asyncio
import json
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop

from bench.load import PERCENTILES

CONNECTIONS = 1_000  # at most; open before the first call. While all are busy a call is not offered, and said so
FEWEST, BUSY_S = 50, 0.5  # a connection for each call of so long, and some more
SETTLE_S = 0.3  # from the last connection to the first call
ANSWER_S = 10.0  # waited for at the end
BODY = Path(__file__).with_name("calls") / "ping.json"


@dataclass(slots=True)
class Seen:
    """What came back, with seconds since the start and the latency of each answer; `began_s` is a time of day."""

    began_s: float = 0.0
    sold: list[tuple[float, float]] = field(default_factory=list)
    refused: list[tuple[float, float]] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    own_pause_s: float = 0.0  # the longest that the generator itself was held up


class Line(asyncio.Protocol):
    """A keep-alive connection that carries one call at a time."""

    def __init__(self, loop: "OpenLoop") -> None:
        self._loop = loop
        self._sent_s = 0.0
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not derive from it

    def send(self) -> None:
        """Ping."""
        self._sent_s = time.perf_counter()
        self._transport.write(self._loop.message)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, mark, body = self._answer.partition(b"\r\n\r\n")
        if not mark or len(body) < int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        self._answer = b""
        is_accepted = b'"status":"accepted"' in body
        self._loop.hear(self, "accepted" if is_accepted else head[9:12].decode(), self._sent_s)

    def connection_lost(self, error: Exception | None) -> None:
        self._loop.seen.others["connection lost"] += 1


class OpenLoop:
    """Calls at a rate, as long as a connection is free."""

    def __init__(self, address: str, rate: float, duration_s: float) -> None:
        host, _, port = address.rpartition(":")
        self._place = (host, int(port))
        self._rate = rate
        self._connections = min(CONNECTIONS, FEWEST + int(rate * BUSY_S))
        self._duration_s = duration_s
        self._idle: deque[Line] = deque()
        self._started_s = 0.0
        self.seen = Seen()
        body = BODY.read_bytes()
        self.message = (
            "\r\n".join(("POST /ping HTTP/1.1", f"host: {address}", f"content-length: {len(body)}", "", "")).encode()
            + body
        )

    async def run(self) -> None:
        """Connect, offer, then wait for the last answers."""
        loop = asyncio.get_running_loop()
        for _ in range(self._connections):
            self._idle.append((await loop.create_connection(lambda: Line(self), *self._place))[1])
        await asyncio.sleep(SETTLE_S)
        sent = 0
        self._started_s = time.perf_counter()
        self.seen.began_s = time.time()
        last_s = 0.0
        while (now_s := time.perf_counter() - self._started_s) < self._duration_s:
            self.seen.own_pause_s = max(self.seen.own_pause_s, now_s - last_s)
            last_s = now_s
            due = int(now_s * self._rate) - sent
            sent += due
            lines = [self._idle.popleft() for _ in range(min(due, len(self._idle)))]
            for line in lines:
                line.send()
            self.seen.others["not offered"] += due - len(lines)
            await asyncio.sleep(0.002)
        for _ in range(round(ANSWER_S / 0.05)):
            if len(self._idle) == self._connections:
                break
            await asyncio.sleep(0.05)
        self.seen.others["unanswered"] += self._connections - len(self._idle)

    def hear(self, line: Line, outcome: str, sent_s: float) -> None:
        """An answer: accepted, or its HTTP status. A ping that finds no buyer, all being too slow, is not sold."""
        now_s = time.perf_counter()
        entry = (now_s - self._started_s, now_s - sent_s)
        if outcome == "accepted":
            self.seen.sold.append(entry)
        elif outcome in ("503", "429"):
            self.seen.refused.append(entry)
        else:
            self.seen.others[outcome] += 1
        self._idle.append(line)


def told(seen: Seen, duration_s: float) -> dict[str, object]:
    """The figures, times in ms where they are of answers; `others` is what should be nothing."""
    in_time = [at_s for at_s, _ in seen.sold if at_s <= duration_s]
    return {
        **_load(seen, duration_s),
        "began_s": seen.began_s,
        "sold_per_s": len(in_time) / duration_s,
        "refused_per_s": len(seen.refused) / duration_s,
        "sold_ms": _quantiles([took_s for _, took_s in seen.sold]),
        "refused_ms": _quantiles([took_s for _, took_s in seen.refused]),
        "last_refusal_s": max([at_s for at_s, _ in seen.refused], default=0.0),
        "own_pause_ms": round(seen.own_pause_s * 1000, 1),
        "others": {what: count for what, count in seen.others.items() if count},
    }


def _load(seen: Seen, duration_s: float) -> dict[str, object]:
    """As bench/load.py reads it, with the latencies of those that were sold."""
    missing = Counter({"refused": len(seen.refused)}) + seen.others
    quantiles_ms = _quantiles([took_s for _, took_s in seen.sold])
    return {
        "calls": len(seen.sold) + missing.total(),
        "elapsed_us": duration_s * 1e6,
        **{f"{name}_us": quantiles_ms[name] * 1000 for name in PERCENTILES},
        "failures": missing.total(),
        "why": ", ".join(f"{count} {what}" for what, count in missing.items()),
    }


def _quantiles(latencies_s: list[float]) -> dict[str, float]:
    ordered = sorted(latencies_s) or [0.0]
    last = len(ordered) - 1
    return {name: round(ordered[int(last * at)] * 1000, 2) for name, at in (PERCENTILES | {"max": 1.0}).items()}


def main() -> None:
    """Read the options, load, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--rate", type=float, required=True, help="pings a second")
    parser.add_argument("--duration", type=float, required=True, help="seconds")
    options = parser.parse_args()

    async def load() -> Seen:
        loop = OpenLoop(options.address, options.rate, options.duration)
        await loop.run()
        return loop.seen

    print(json.dumps(told(uvloop.run(load()), options.duration)))


if __name__ == "__main__":
    main()
