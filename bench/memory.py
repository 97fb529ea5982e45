"""Memory: what a ping in flight holds, and what an open ping leaves behind in the process."""

import json
import sys
import time
from collections.abc import Callable

from bench.campaigns import CampaignShape
from bench.child import BenchError
from bench.lab import Lab, Served
from bench.measure import Plan, Results

HELD = 400
WARM_UP_HELD = 20
HELD_S = 60.0  # at most
SETTLE_S = 0.3
WARM_UP_S = 2.0


def measure_memory(lab: Lab, plan: Plan, results: Results) -> None:
    """Resident memory: pings held by slow buyers, connections included; and the growth over many answered pings."""
    slow = lab.exchange(
        [CampaignShape(urls=lab.slow_buyer_urls())],
        limits={"connections_per_buyer": HELD + WARM_UP_HELD, "in_flight": HELD * 2},
    )
    _hold(lab, slow, WARM_UP_HELD)
    time.sleep(SETTLE_S)
    before_bytes = slow.resident_bytes()
    peak_bytes = _hold(lab, slow, HELD)
    results.readings["in_flight_bytes"] = (peak_bytes - before_bytes) / HELD
    plan.say(f"memory of {HELD} pings in flight: {(peak_bytes - before_bytes) / 2**20:.1f} MiB")
    buyers = lab.buyers()
    quick = lab.exchange([CampaignShape(urls=buyers.urls[:5])])
    load = lab.generator.grpc(quick.grpc, "ping")
    load(WARM_UP_S)
    before_bytes, pings = _settled(quick.resident_bytes), 0
    for _ in range(plan.rounds):
        seen = load(plan.seconds)
        if seen.failures:
            raise BenchError(f"{seen.failures} of {seen.calls} pings failed {seen.why}")
        pings += seen.calls
    after_bytes = _settled(quick.resident_bytes)
    results.readings["open_ping_bytes"] = max(0, after_bytes - before_bytes) / pings
    plan.say(f"memory after {pings:,} more open pings: {(after_bytes - before_bytes) / 2**10:+,.0f} KiB")


def _hold(lab: Lab, server: Served, count: int) -> int:
    """Keep so many pings in flight once; the most memory seen meanwhile. Raises BenchError when one failed."""
    command = [sys.executable, "-m", "bench.grpc_calls", "load", "--config", "bench/ghz/ping.json"]
    command += ["--total", str(count), "--concurrency", str(count), server.grpc]
    child = lab.start(f"hold-{count}", command)
    peak_bytes = 0
    until = time.monotonic() + HELD_S
    while child.is_running() and time.monotonic() < until:
        peak_bytes = max(peak_bytes, server.resident_bytes())
        time.sleep(0.02)
    child.check_success(SETTLE_S)
    if failures := json.loads(child.output().splitlines()[-1])["failures"]:
        raise BenchError(f"{failures} of {count} pings in flight failed")
    return peak_bytes


def _settled(read: Callable[[], int]) -> int:
    time.sleep(SETTLE_S)
    return read()
