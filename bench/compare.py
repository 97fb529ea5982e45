"""`python -m bench.compare OTHER`: what a call takes here and in another checkout, side by side.

Both serve at once and take turns under load, so that whatever else the machine does hits both alike. Each runs with the
Python of its own .venv: two checkouts of one commit compare two Pythons.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

from bench.campaigns import CampaignShape
from bench.child import ROOT, BenchError
from bench.fronts import NOBODY
from bench.lab import Lab
from bench.machine import choose_cores
from bench.measure import Plan, Results, Subject, interleave
from bench.subjects import Pings
from bench.targets import Ratio
from bench.tools import find_tools

SECONDS = 2.0
HERE, OTHER = "here", "other"
SAVED = Ratio(
    label="CPU a call, other ÷ here", over=HERE, under=OTHER, over_speed="per_core_s", under_speed="per_core_s"
)


def main() -> int:
    """Measure in turns, print both and their ratio; 2 when that cannot be done."""
    options = _options()
    plan = Plan(rounds=options.rounds, seconds=SECONDS, rows=0, started=time.monotonic(), until=math.inf)
    results = Results()
    try:
        with Lab(choose_cores(), find_tools([])) as lab:
            pings = Pings(lab, lab.buyers())
            places = {HERE: ROOT, OTHER: options.other.resolve()}
            interleave([_subject(pings, name, place, options) for name, place in places.items()], plan, results)
    except BenchError as error:
        print(f"bench.compare: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(results.as_json(), indent=2))
        return 0
    for name, label in results.labels.items():
        speed, cpu_us = (results.median(name, attribute) for attribute in ("calls_per_s", "cpu_us"))
        print(f"{cpu_us:7.1f} µs of CPU a call, {speed:7,.0f} calls/s  {label}")
    print(f"{SAVED.label}: {SAVED.judge(results).found}, median of {options.rounds} rounds (lowest–highest)")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.compare", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("other", type=Path, help="a checkout in which `make setup` has run")
    parser.add_argument("--buyers", type=int, default=0, help="so many are asked (default 0: a test-mode ping)")
    road = parser.add_mutually_exclusive_group()
    road.add_argument("--rest", action="store_true", help="over REST instead of gRPC")
    road.add_argument("--posts", action="store_true", help="posts to the winners of pings, instead of pings")
    road.add_argument("--engine", choices=["turbo", "aio"], default="turbo", help="of gRPC (default turbo)")
    parser.add_argument("--rounds", type=int, default=9, help="of 2 s for each (default 9)")
    parser.add_argument("--json", action="store_true", help="every round, for a program")
    return parser.parse_args()


def _subject(pings: Pings, name: str, checkout: Path, options: argparse.Namespace) -> Subject:
    python = checkout / ".venv" / "bin" / "python"
    if not python.exists():
        raise BenchError(f"{python}: expected the Python of a checkout in which `make setup` has run")
    buyers = max(options.buyers, options.posts)
    shape = CampaignShape(urls=pings.buyers.urls[:buyers] or NOBODY)
    # -P: what is imported is the checkout that is installed there, not the one that this runs in.
    server = pings.lab.exchange([shape], engine=options.engine, python=(str(python), "-P"))
    label = f"{name}: {checkout}"
    if options.posts:
        return pings.then_posts(name, label, server)
    over = pings.over_rest if options.rest else pings.over_grpc
    return over(name, label, server, buyers, call="ping" if buyers else "ping_test")


if __name__ == "__main__":
    sys.exit(main())
