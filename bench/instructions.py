"""`python -m bench.instructions`: how many of Python's instructions a ping or a post takes, and where.

Counted, so it says the same on every machine and in every minute, where calls/s move by 15-40 %: a profile to tune by.
What C does within one instruction (regular expressions, JSON, protobuf, SQLite, the kernel) it does not see.
"""

import argparse
import asyncio
import json
import sys
import threading
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import uvloop

from bench.buyers import BUYER_COUNT
from bench.campaigns import CampaignShape, write_campaigns
from bench.child import ROOT
from bench.fronts import NOBODY
from bench.lab import Lab
from bench.load import LoadFor
from bench.machine import choose_cores
from bench.tools import find_tools
from lexchange.config import Limits, Settings
from lexchange.server import Server, serving

CALLS, IN_FLIGHT = 200, 10
POSTS_S = 1.5  # of pings to post
REST_S = 4.0  # wrk counts seconds, not calls
QUEUE_MS = 600_000  # a traced exchange is slow, and nothing of it is to be refused
SHOWN = 30
LONG_S = 120.0


class Count:
    """Instructions by function, of every thread, while it is on."""

    def __init__(self) -> None:
        self.by_code: Counter[CodeType] = Counter()

    def start(self) -> None:
        """Count what is called from now on."""
        threading.settrace(self._trace)
        sys.settrace(self._trace)

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            self.by_code[frame.f_code] += 1
        return self._trace


def main() -> None:
    """Serve in this process, traced; load from another one; print a table."""
    parser = argparse.ArgumentParser(prog="bench.instructions", description=__doc__.partition("\n")[0])
    parser.add_argument("--buyers", type=int, default=0, help="so many are asked (default 0: a test-mode ping)")
    parser.add_argument("--listed", type=int, default=0, help="so many buyers are listed, though a lead suits --buyers")
    road = parser.add_mutually_exclusive_group()
    road.add_argument("--rest", action="store_true", help="over REST instead of gRPC")
    road.add_argument("--posts", action="store_true", help="posts to the winners of pings, instead of pings")
    options = parser.parse_args()
    count = Count()
    with Lab(choose_cores(), find_tools([])) as lab:
        count.start()
        calls = uvloop.run(_measure(lab, count, options))
        sys.settrace(None)
    print(render(count.by_code, calls))


async def _measure(lab: Lab, count: Count, options: argparse.Namespace) -> int:
    """Count; returns the calls that were counted."""
    buyers = max(options.buyers, options.posts)
    listed = max(options.listed, buyers)
    urls = lab.buyers(max(BUYER_COUNT, listed)).urls[:listed] if buyers else NOBODY
    settings = Settings(
        config=write_campaigns(lab.folder / "campaigns", [CampaignShape(urls=urls, suited=buyers)]),
        store=f"sqlite:///{lab.folder}/store.db",
        grpc="127.0.0.1:0",
        http="127.0.0.1:0",
        pepper=b"",
        is_dev=True,
    )
    async with serving(settings, Limits(queue_ms=QUEUE_MS)) as server:
        call = "ping" if buyers else "ping_test"
        seconds = REST_S if options.rest else LONG_S
        if options.rest:
            load = again = lab.generator.http(server.http, "/ping", call, in_flight=IN_FLIGHT)
        elif options.posts:
            load, again = await _posts(lab, server, count)
        else:
            load = again = lab.generator.grpc(server.grpc, call, calls=CALLS, in_flight=IN_FLIGHT)
        await asyncio.to_thread(load, seconds)  # every cache is warm after it
        count.by_code.clear()
        seen = await asyncio.to_thread(again, seconds)
        assert seen.failures == 0, f"{seen.failures} of {seen.calls} calls failed"
    return seen.calls


async def _posts(lab: Lab, server: Server, count: Count) -> list[LoadFor]:
    """Two loads of posts to the winners of pings that are made here, untraced; each ping is posted once."""
    sys.settrace(None)
    made = lab.folder / "posts.json"
    await asyncio.to_thread(lab.generator.write_posts, server.grpc, POSTS_S, made)
    posts, loads = json.loads(made.read_text()), []
    for start in (0, CALLS):
        body = lab.folder / f"posts-{start}.json"
        body.write_text(json.dumps(posts[start : start + CALLS]))
        loads.append(lab.generator.grpc(server.grpc, "post", body=body, calls=CALLS, in_flight=IN_FLIGHT))
    count.start()
    return loads


def render(by_code: Counter[CodeType], calls: int) -> str:
    """The dearest functions, then the sums of the packages."""
    ours = {code: number for code, number in by_code.items() if "/bench/" not in code.co_filename}
    total = sum(ours.values())
    lines = [f"{total / calls:,.0f} instructions of Python a call"]
    for code, number in sorted(ours.items(), key=lambda item: -item[1])[:SHOWN]:
        lines.append(f"{number / calls:7.0f} {number / total:6.1%}  {_place(code)} {code.co_qualname}")
    packages: Counter[str] = Counter()
    for code, number in ours.items():
        packages[_place(code).rpartition("/")[0] or "libraries"] += number
    lines += [f"{number / calls:7.0f} {number / total:6.1%}  {name}" for name, number in packages.most_common()]
    return "\n".join(lines)


def _place(code: CodeType) -> str:
    """The file within the repository; of a library its name alone."""
    path = Path(code.co_filename)
    is_ours = any(path.is_relative_to(ROOT / package) for package in ("lexchange", "gateway"))
    return str(path.relative_to(ROOT)) if is_ours else path.name


if __name__ == "__main__":
    main()
