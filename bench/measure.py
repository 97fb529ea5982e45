"""Measuring: subjects take turns (A B A B), and what each round said is kept, so that ratios compare neighbours."""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from bench.buyers import Buyers
from bench.child import BenchError
from bench.lab import Served
from bench.load import IN_FLIGHT, MOST_FAILED, Load, LoadFor

WARM_UP_S = 0.5
UNTOLD = 2 * IN_FLIGHT  # pings that went on when their load, or the one before, had ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round of one subject. `scaled_per_s` is calls/s as if the load had a core of its own."""

    calls_per_s: float
    cpu_us: float
    p50_ms: float = 0.0
    p90_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    resident_mib: float = 0.0
    busy: float = 0.0  # cores that the server used
    outbound_per_s: float = 0.0
    failed: float = 0.0  # of all calls, where some may
    scaled_per_s: float = 0.0

    @property
    def per_core_s(self) -> float:
        """Calls that a core would do in a second: what to compare where the load could not fill one."""
        return 1e6 / self.cpu_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One thing to measure. `prepare` runs before a round and is not measured."""

    name: str
    label: str
    measure: Callable[[float], Sample]
    prepare: Callable[[float], None] | None = None


@dataclass(slots=True, kw_only=True)
class Plan:
    """How long and how often; `until` is when to stop starting rounds, on the monotonic clock.

    `rows` is how many pings the fullest store holds.
    """

    rounds: int
    seconds: float
    rows: int
    started: float
    until: float

    def points(self, values: Sequence[int]) -> list[int]:
        """Which points of a curve to measure: a single round makes do with its ends and its middle."""
        return list(values) if self.rounds > 1 else [values[0], values[len(values) // 2], values[-1]]

    def is_over(self) -> bool:
        """Whether the time is used up."""
        return time.monotonic() >= self.until

    def say(self, text: str) -> None:
        """A line of progress."""
        print(f"[{time.monotonic() - self.started:4.0f} s] {text}", file=sys.stderr, flush=True)


@dataclass(slots=True, kw_only=True)
class Results:
    """Everything measured: samples by subject, single readings by name, and what went wrong."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    readings: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    is_complete: bool = True

    def median(self, name: str, attribute: str) -> float:
        """The median over the rounds."""
        return statistics.median(float(getattr(sample, attribute)) for sample in self.samples[name])

    def fail(self, why: str) -> None:
        """Something could not be measured."""
        self.notes.append(why)
        self.is_complete = False

    def add(self, group: "Results") -> None:
        """Take over what a group found."""
        self.samples |= group.samples
        self.labels |= group.labels
        self.readings |= group.readings
        self.notes += group.notes
        self.is_complete = self.is_complete and group.is_complete

    def as_json(self) -> dict[str, object]:
        """For the results file."""
        return {
            "samples": {name: [asdict(sample) for sample in samples] for name, samples in self.samples.items()},
            "labels": self.labels,
            "readings": self.readings,
            "notes": self.notes,
        }


def interleave(subjects: Sequence[Subject], plan: Plan, results: Results) -> None:
    """Warm all subjects up, then measure them in turn, round by round, while there is time.

    One that fails loses its row; the others go on.
    """
    for subject in subjects:
        results.labels[subject.name] = subject.label
        results.samples[subject.name] = []
        _round(subject, WARM_UP_S, plan, results)
    for number in range(1, plan.rounds + 1):
        if number > 1 and plan.is_over():
            results.fail(f"out of time after {number - 1} of {plan.rounds} rounds: {subjects[0].name} …")
            return
        for subject in subjects:
            if subject.name in results.samples and (sample := _round(subject, plan.seconds, plan, results)):
                results.samples[subject.name].append(sample)
                speed = f"{sample.calls_per_s:9,.0f} calls/s {sample.cpu_us:7,.0f} µs"
                plan.say(f"{number}/{plan.rounds} {subject.name:22} {speed}")


def _round(subject: Subject, seconds: float, plan: Plan, results: Results) -> Sample | None:
    try:
        if subject.prepare:
            subject.prepare(seconds)
        return subject.measure(seconds)
    except BenchError as error:
        del results.samples[subject.name]
        results.fail(f"{subject.name}: {error}")
        plan.say(f"{subject.name}: {error}")
        return None


def served(
    server: Served,
    load: LoadFor,
    *,
    buyers: Buyers | None = None,
    buyer_calls: int = 0,
    core_count: int | None = None,
    may_fail: bool = False,
) -> Callable[[float], Sample]:
    """A measurement of a server under load. Every call must reach as many buyers as it should, or nearly; unless some
    `may_fail`, no more than one of a thousand may.

    `core_count`: the server has so many cores, of which the load uses a part; the sample is scaled to all of them.
    """

    def measure(seconds: float) -> Sample:
        asked_before = buyers.settled_count() if buyers else 0
        cpu_before_s = server.cpu_seconds()
        seen = load(seconds)
        cpu_s = server.cpu_seconds() - cpu_before_s
        asked = buyers.answer_count() - asked_before if buyers else 0
        _check(seen, asked if buyers else None, buyer_calls, may_fail=may_fail)
        calls_per_s = seen.answered_per_s
        left = core_count - seen.client_cpu_s / seen.elapsed_s if core_count else 1.0
        return Sample(
            calls_per_s=calls_per_s,
            cpu_us=cpu_s / seen.elapsed_s / calls_per_s * 1e6,
            p50_ms=seen.p50_ms,
            p90_ms=seen.p90_ms,
            p99_ms=seen.p99_ms,
            p999_ms=seen.p999_ms,
            resident_mib=server.resident_bytes() / 2**20,
            busy=cpu_s / seen.elapsed_s,
            outbound_per_s=asked / seen.elapsed_s,
            failed=seen.failures / seen.calls,
            scaled_per_s=calls_per_s * (core_count or 1) / left,
        )

    return measure


def _check(seen: Load, asked: int | None, buyer_calls: int, *, may_fail: bool) -> None:
    if seen.calls <= seen.failures:  # calls that found no connection are failures only
        raise BenchError(f"no call was answered {seen.why}".rstrip())
    if seen.failures / seen.calls > MOST_FAILED and not may_fail:
        raise BenchError(f"{seen.failures} of {seen.calls} calls failed {seen.why}".rstrip())
    if asked is not None and not 0 <= asked - seen.calls * buyer_calls <= UNTOLD * buyer_calls:
        raise BenchError(f"{seen.calls} calls made {asked} calls to buyers instead of {buyer_calls} each")
