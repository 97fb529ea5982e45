"""Overload: pings offered at three times what the exchange can take, in an open loop, and what becomes of the rest."""

import json
import sys
from typing import Any

from bench.campaigns import CampaignShape
from bench.child import BenchError
from bench.lab import Lab, Served
from bench.load import SPARE_S
from bench.measure import Plan, Results
from lexchange.config import Limits

BUYERS = 5
TIMES = 3  # the capacity
AFTER = 0.5  # of the capacity, once the overload is over
ROUNDS = 10  # of a plan's length, that the overload lasts


def measure_overload(lab: Lab, plan: Plan, results: Results) -> None:
    """What is sold under overload ÷ at best, how soon the rest is told, and how soon all is well again."""
    shapes = [CampaignShape(urls=lab.buyers().urls[:BUYERS])]
    ours = lab.exchange(shapes, limits={"queue_ms": Limits().queue_ms}, may_say_no=True)
    closed = lab.generator.http(ours.http, "/ping", "ping")
    closed(1.0)
    at_rest_bytes = ours.resident_bytes()
    peak_per_s = closed(plan.seconds * 2).answered_per_s
    offered_per_s = peak_per_s * TIMES
    plan.say(f"overload: {peak_per_s:,.0f} pings a second at best, now {TIMES} times as many are offered")
    over = _offer(lab, ours, offered_per_s, plan.seconds * ROUNDS)
    after = _offer(lab, ours, peak_per_s * AFTER, plan.seconds * 2)
    if not over["refused_per_s"]:
        raise BenchError(f"nothing was refused, so {TIMES} times as many pings were no overload")
    # The load afterwards cannot begin at once; when nothing of it is refused, it was over by then.
    pause_s = after["began_s"] - over["began_s"] - plan.seconds * ROUNDS
    peak_per_s = (peak_per_s + closed(plan.seconds * 2).answered_per_s) / 2  # the machine's pace changes
    results.readings |= {
        "overload_goodput": over["sold_per_s"] / peak_per_s,
        "overload_refusal_ms": over["refused_ms"]["p50"],
        "overload_recovery_s": pause_s + after["last_refusal_s"],
        "overload_bytes": ours.resident_bytes() - at_rest_bytes,
    }
    refused, taken = over["refused_ms"], over["sold_ms"]
    plan.say(f"overload: {over['sold_per_s']:,.0f} sold a second, p50 {taken['p50']} ms, p99 {taken['p99']} ms")
    plan.say(f"overload: {over['refused_per_s']:,.0f} refused, p50 {refused['p50']} ms, p99 {refused['p99']} ms")
    plan.say(f"overload: {over['others'] or 'every call was answered'}; afterwards {after['sold_ms']}")
    if over["others"] or after["others"]:
        results.notes.append(f"overload: neither sold nor refused: {over['others']}, afterwards {after['others']}")
    results.notes.append(
        f"overload: {offered_per_s:,.0f} pings/s offered for {plan.seconds * ROUNDS:g} s, {peak_per_s:,.0f} at best: "
        f"sold p50 {taken['p50']} p99 {taken['p99']} ms, refused p50 {refused['p50']} p99 {refused['p99']} ms"
    )


def _offer(lab: Lab, ours: Served, rate: float, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.open_loop", ours.http, "--rate", str(rate), "--duration", str(seconds)]
    child = lab.start(f"open-loop-{rate:.0f}", command)
    child.check_success(seconds + SPARE_S)
    found: dict[str, Any] = json.loads(child.output().splitlines()[-1])
    return found
