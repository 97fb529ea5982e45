"""Latency over load: pings to five buyers that take 50 ms each, in an open loop, at parts of the highest rate.

Publishers do not wait for each other: what counts is how long a ping takes at the rate at which they come, beyond the
time that its buyers take. That time is measured too, from the same nginx.
"""

from collections.abc import Callable
from functools import partial

from bench.campaigns import CampaignShape
from bench.child import BenchError
from bench.lab import Lab, Served
from bench.load import LoadFor
from bench.measure import Plan, Results, Sample, Subject, interleave, served
from bench.subjects import under

BUYERS = 5
DELAY_MS = 50
PERCENT = (10, 50, 75)  # of the highest rate
IN_FLIGHT = 100  # in the closed loop that finds it
LIMITS = {"connections_per_buyer": 512}  # so that no ping waits for a connection


def measure_latency(lab: Lab, plan: Plan, results: Results) -> None:
    """The buyer alone, then pings over REST and, where there is ghz, over gRPC."""
    found = lab.buyers(BUYERS, delay_ms=DELAY_MS)
    ours = lab.exchange([CampaignShape(urls=found.urls)], limits=LIMITS)
    generator = lab.generator
    buyer = Served(http=found.urls[0].removeprefix("http://"), children=(found.child,))
    subjects = [
        under(generator.http(buyer.http, "/ping", "ping"), buyer, "buyer_50ms", "a 50 ms buyer, asked directly")
    ]
    rest = generator.http(ours.http, "/ping", "ping", in_flight=IN_FLIGHT)
    subjects += _over_load(ours, "rest", "REST", rest, partial(generator.open_http, ours.http), plan)
    if generator.ghz:
        grpc = generator.grpc(ours.grpc, "ping", in_flight=IN_FLIGHT)
        subjects += _over_load(ours, "grpc", "gRPC", grpc, partial(generator.open_grpc, ours.grpc), plan)
    interleave(subjects, plan, results)
    for subject in subjects:
        if subject.name in results.samples and (failed := results.median(subject.name, "failed")):
            results.notes.append(f"{subject.name}: {failed:.1%} of the pings were refused or not offered")


def _over_load(
    ours: Served, way: str, label: str, closed: LoadFor, opened: Callable[[float], LoadFor], plan: Plan
) -> list[Subject]:
    """The peak, found anew in every round, for a machine's pace changes; then parts of it."""
    peak_per_s = 0.0

    def measure_peak(seconds: float) -> Sample:
        nonlocal peak_per_s
        sample = served(ours, closed, may_fail=True)(seconds)
        peak_per_s = sample.calls_per_s
        return sample

    def measure_part(percent: int, seconds: float) -> Sample:
        if not peak_per_s:
            raise BenchError("the peak is not known")
        return served(ours, opened(peak_per_s * percent / 100), may_fail=True)(seconds)

    what = f"{label} ping, {BUYERS} buyers of {DELAY_MS} ms"
    peak = Subject(name=f"load_peak_{way}", label=f"{what}, {IN_FLIGHT} in flight: the peak", measure=measure_peak)
    parts = [
        Subject(
            name=f"load_{percent}_{way}",
            label=f"{what}, open loop at {percent} % of the peak",
            measure=partial(measure_part, percent),
        )
        for percent in plan.points(PERCENT)
    ]
    return [peak, *parts]
