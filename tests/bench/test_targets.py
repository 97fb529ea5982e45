"""What came out is judged by the medians of rounds that were measured next to each other."""

from dataclasses import replace

import pytest

from bench.measure import Results, Sample
from bench.targets import NOT_MEASURED, Added, Ratio, Reading, judge


def results(**speeds: list[float]) -> Results:
    """Rounds of subjects, by calls a second; the 99th percentile is a tenth of it, in ms."""
    return Results(
        samples={
            name: [Sample(calls_per_s=speed, cpu_us=1, p99_ms=speed / 10) for speed in rounds]
            for name, rounds in speeds.items()
        }
    )


@pytest.mark.parametrize(
    ("at_least", "found", "verdict"), [(2, "2.00 (1.00–3.00)", "met"), (2.1, "2.00 (1.00–3.00)", "NOT MET")]
)
def test_ratio(at_least: float, found: str, verdict: str) -> None:
    """The median of the ratios of rounds, not the ratio of medians, which is 3 here."""
    ratio = Ratio(label="", over="fast", under="slow", at_least=at_least)
    judged = ratio.judge(results(fast=[100, 300, 600], slow=[100, 100, 300]))
    assert (judged.found, judged.verdict) == (found, verdict)


@pytest.mark.parametrize(("at_most", "verdict"), [(20, "met"), (19, "NOT MET")])
def test_added(at_most: float, verdict: str) -> None:
    """What a ping's 99th percentile adds to its buyer's."""
    added = Added(label="", name="ping", base="buyer", at_most=at_most)
    judged = added.judge(results(ping=[700, 600], buyer=[500, 400]))
    assert (judged.found, judged.verdict) == ("20.0 ms (20.0–20.0)", verdict)


def test_added_where_calls_failed() -> None:
    """Latencies of those that were answered are no success while others were not."""
    found = results(ping=[500], buyer=[500])
    found.samples["ping"] = [replace(each, failed=0.2) for each in found.samples["ping"]]
    judged = Added(label="", name="ping", base="buyer", at_most=5).judge(found)
    assert (judged.found, judged.verdict) == ("0.00 ms (0.00–0.00), 20.0% failed", "NOT MET")


@pytest.mark.parametrize(("found", "verdict"), [(2048, "met"), (2049, "NOT MET")])
def test_reading(found: float, verdict: str) -> None:
    """A figure in its unit."""
    reading = Reading(label="", name="bytes", target="≤ 2 KiB", at_most=2048, unit="KiB", scale=1024)
    judged = reading.judge(Results(readings={"bytes": found}))
    assert (judged.found, judged.verdict) == ("2.00 KiB", verdict)


def test_nothing_measured() -> None:
    """No target is met by not being measured."""
    assert {row.verdict for row in judge(Results())} == {NOT_MEASURED}
