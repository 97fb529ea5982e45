"""Targets: which figure is compared with which, and what has to come out. The table of docs/performance.md."""

import math
import statistics
from dataclasses import dataclass

from bench.load import MOST_FAILED
from bench.measure import Results, Sample

KIB = 1024
NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A row of the table of targets."""

    label: str
    target: str
    found: str
    verdict: str

    @property
    def is_measured(self) -> bool:
        """Whether there is anything to judge."""
        return self.verdict != NOT_MEASURED


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Rounds of `over` divided by the same rounds of `under`; their median has to be at least `at_least`, if given."""

    label: str
    over: str
    under: str
    at_least: float = 0
    over_speed: str = "calls_per_s"
    under_speed: str = "calls_per_s"

    def judge(self, results: Results) -> Verdict:
        """What came out."""
        target = f"≥ {self.at_least:g}" if self.at_least else "-"
        pairs = list(zip(results.samples.get(self.over, []), results.samples.get(self.under, []), strict=False))
        if not pairs:
            return Verdict(label=self.label, target=target, found="-", verdict=NOT_MEASURED)
        found = sorted(_speed(over, self.over_speed) / _speed(under, self.under_speed) for over, under in pairs)
        median = statistics.median(found)
        text = f"{_short(median)} ({_short(found[0])}–{_short(found[-1])})"
        verdict = _met(median >= self.at_least) if self.at_least else ""
        return Verdict(label=self.label, target=target, found=text, verdict=verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A single figure that has to be at most, or at least, so much; it is shown in `unit`s of `scale`."""

    label: str
    name: str
    target: str
    at_most: float = math.inf
    at_least: float = 0
    unit: str = ""
    scale: float = 1

    def judge(self, results: Results) -> Verdict:
        """What came out."""
        found = results.readings.get(self.name)
        if found is None:
            return Verdict(label=self.label, target=self.target, found="-", verdict=NOT_MEASURED)
        text = f"{_short(found / self.scale)} {self.unit}".strip()
        is_met = self.at_least <= found <= self.at_most
        return Verdict(label=self.label, target=self.target, found=text, verdict=_met(is_met))


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """By how many ms the 99th percentile of `name` exceeds that of `base`: the median of rounds, at most `at_most`.

    Latencies are those of calls that were answered, so no more than a few may not have been.
    """

    label: str
    name: str
    base: str
    at_most: float

    def judge(self, results: Results) -> Verdict:
        """What came out."""
        target = f"≤ {self.at_most:g} ms"
        pairs = list(zip(results.samples.get(self.name, []), results.samples.get(self.base, []), strict=False))
        found = sorted(each.p99_ms - base.p99_ms for each, base in pairs)
        if not found:
            return Verdict(label=self.label, target=target, found="-", verdict=NOT_MEASURED)
        median = statistics.median(found)
        failed = statistics.median(each.failed for each, _ in pairs)
        text = f"{_short(median)} ms ({_short(found[0])}–{_short(found[-1])})"
        text += f", {failed:.1%} failed" if failed > MOST_FAILED else ""
        is_met = median <= self.at_most and failed <= MOST_FAILED
        return Verdict(label=self.label, target=target, found=text, verdict=_met(is_met))


# No target: what others put in the same place.
PEERS = (
    Ratio(
        label="gRPC test-mode ping, turbo ÷ grpc-go echo, by CPU",
        over="peers_grpc",
        under="go_echo",
        over_speed="per_core_s",
        under_speed="per_core_s",
    ),
    Ratio(
        label="REST test-mode /ping, in process ÷ grpc-gateway and grpc-go echo", over="peers_rest", under="go_gateway"
    ),
    Ratio(
        label="test-mode ping: our gateway over a channel ÷ grpc-gateway, in front of ours",
        over="peers_channel",
        under="peers_grpc_gateway",
    ),
    Ratio(
        label="test-mode ping: our gateway over a channel ÷ Envoy, in front of ours",
        over="peers_channel",
        under="peers_envoy",
    ),
    Ratio(label="test-mode ping: REST in process ÷ Envoy in front of ours", over="peers_rest", under="peers_envoy"),
)

STORES = tuple(
    Ratio(
        label=f"{what}: PostgreSQL, {count} process{'es' if count > 1 else ''} ÷ SQLite, 1 process",
        over=f"postgres_{count}_{name}",
        under=f"sqlite_{name}",
    )
    for name, what in (("test", "test-mode ping"), ("ping", "1-buyer ping"), ("post", "1-buyer post"))
    for count in (1, 2, 4)
)

STORED = tuple(
    Ratio(
        label=f"{what}: {count} pings stored ÷ empty store",
        over=f"stored_{number}_{name}",
        under=f"stored_0_{name}",
        at_least=0.9,
    )
    for number, count in ((10**6, "10⁶"), (10**7, "10⁷"))
    for name, what in (("ping", "1-buyer ping"), ("post", "1-buyer post"))
)

LATENCIES = tuple(
    Added(
        label=f"p99 added over a 50 ms buyer at {percent} % of peak, open loop, {label}",
        name=f"load_{percent}_{way}",
        base="buyer_50ms",
        at_most=at_most,
    )
    for way, label in (("grpc", "gRPC"), ("rest", "REST"))
    for percent, at_most in ((10, 5), (50, 15))
)

TARGETS: tuple[Ratio | Reading | Added, ...] = (
    Ratio(
        label="gRPC test-mode ping, aio ÷ bare grpc.aio echo", over="grpc_test_aio", under="grpc_echo", at_least=0.85
    ),
    Ratio(label="gRPC test-mode ping, turbo ÷ bare grpc.aio echo", over="grpc_test", under="grpc_echo", at_least=3.5),
    Ratio(
        label="the same by CPU, where the load generator is at its limit first",
        over="grpc_test",
        under="grpc_echo",
        at_least=3.5,
        over_speed="per_core_s",
        under_speed="per_core_s",
    ),
    Ratio(label="REST test-mode /ping, in process ÷ Starlette echo", over="rest_test", under="http_echo", at_least=0.6),
    *PEERS,
    Ratio(label="5-buyer gRPC ping, aio ÷ FastAPI peer", over="grpc_5_aio", under="peer_5", at_least=14),
    Ratio(label="5-buyer gRPC ping, turbo ÷ FastAPI peer", over="grpc_5", under="peer_5", at_least=35),
    Ratio(label="5-buyer REST /ping ÷ FastAPI peer", over="rest_5", under="peer_5", at_least=25),
    Ratio(label="post to the winner ÷ 1-buyer ping", over="grpc_post", under="grpc_1", at_least=0.8),
    Ratio(label="buyer client alone ÷ raw ceiling", over="client", under="raw", at_least=0.7),
    Ratio(
        label="outbound calls/s in a 20-buyer ping ÷ raw ceiling",
        over="grpc_20",
        under="raw",
        at_least=0.4,
        over_speed="outbound_per_s",
    ),
    *LATENCIES,
    *STORED,
    Reading(label="start with 1,000 campaigns", name="start_1000_s", target="< 2 s", at_most=2, unit="s"),
    Ratio(label="1,000 campaigns ÷ 1 campaign", over="campaigns_1000", under="campaigns_1", at_least=0.95),
    Ratio(label="40,000-ZIP filters ÷ none", over="zips_40000", under="zips_none", at_least=0.95),
    Ratio(
        label="2 workers ÷ 1 worker, client subtracted",
        over="workers_2",
        under="workers_1",
        at_least=1.7,
        over_speed="scaled_per_s",
    ),
    Reading(
        label="memory of an in-flight 5-buyer ping",
        name="in_flight_bytes",
        target="≤ 40 KiB",
        at_most=40 * KIB,
        unit="KiB",
        scale=KIB,
    ),
    Reading(
        label="memory of an open ping",
        name="open_ping_bytes",
        target="0 (≤ 0.1 KiB)",
        at_most=0.1 * KIB,
        unit="KiB",
        scale=KIB,
    ),
    Reading(
        label="memory of an open ping, of those in the fullest store",
        name="stored_open_ping_bytes",
        target="0 (≤ 0.1 KiB)",
        at_most=0.1 * KIB,
        unit="KiB",
        scale=KIB,
    ),
    Reading(label="3 × overload: pings sold ÷ at best", name="overload_goodput", target="≥ 0.8", at_least=0.8),
    Reading(
        label="3 × overload: median time to a refusal",
        name="overload_refusal_ms",
        target="< 10 ms",
        at_most=10,
        unit="ms",
    ),
    Reading(
        label="3 × overload: time until nothing is refused any more",
        name="overload_recovery_s",
        target="< 2 s",
        at_most=2,
        unit="s",
    ),
    Reading(
        label="3 × overload: memory added",
        name="overload_bytes",
        target="≤ 64 MiB",
        at_most=64 * KIB**2,
        unit="MiB",
        scale=KIB**2,
    ),
    *STORES,
)


def judge(results: Results) -> list[Verdict]:
    """The whole table."""
    return [target.judge(results) for target in TARGETS]


def _speed(sample: Sample, attribute: str) -> float:
    return float(getattr(sample, attribute))


def _met(is_met: bool) -> str:
    return "met" if is_met else "NOT MET"


def _short(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"
