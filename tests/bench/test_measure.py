"""Subjects take turns; what cannot be measured costs its own row."""

import time

from bench.child import BenchError
from bench.measure import Plan, Results, Sample, Subject, interleave


def a_plan(rounds: int) -> Plan:
    now = time.monotonic()
    return Plan(rounds=rounds, seconds=3.0, rows=1, started=now, until=now + 60)


def test_interleave() -> None:
    """One that fails in a later round loses all its rounds, and is not asked again; its neighbour keeps its own."""
    asked: list[str] = []

    def subject(name: str, answers: int) -> Subject:
        def measure(seconds: float) -> Sample:
            asked.append(name)
            if asked.count(name) > answers:
                raise BenchError("no call was answered")
            return Sample(calls_per_s=seconds, cpu_us=1)

        return Subject(name=name, label=name.upper(), measure=measure)

    results = Results()
    interleave([subject("a", 9), subject("b", 2)], a_plan(3), results)
    assert asked == ["a", "b", "a", "b", "a", "b", "a"]
    assert {name: len(samples) for name, samples in results.samples.items()} == {"a": 3}
    assert results.notes == ["b: no call was answered"]
    assert not results.is_complete


def test_interleave_without_time() -> None:
    """Rounds that there was no time for are told, for the median is of fewer."""
    plan, results = a_plan(3), Results()
    plan.until = plan.started
    interleave([Subject(name="a", label="A", measure=lambda seconds: Sample(calls_per_s=1, cpu_us=1))], plan, results)
    assert len(results.samples["a"]) == 1
    assert not results.is_complete
