"""What an open loop tells of what it saw."""

from collections import Counter

from bench.open_loop import Seen, told


def test_told() -> None:
    """Latencies are those of sold pings; whatever was not sold is a failure, with its name."""
    seen = Seen(
        sold=[(0.1 * number, 0.05 + number / 1000) for number in range(1, 11)],
        refused=[(0.5, 0.002)],
        others=Counter({"not offered": 2, "unanswered": 0}),
    )
    found = told(seen, 1.0)
    assert (found["calls"], found["failures"], found["why"]) == (13, 3, "1 refused, 2 not offered")
    assert (found["p50_us"], found["p999_us"]) == (55_000, 59_000)
    assert found["refused_ms"] == {"p50": 2.0, "p90": 2.0, "p99": 2.0, "p999": 2.0, "max": 2.0}
    assert found["sold_per_s"] == 10


def test_told_of_nothing() -> None:
    """No answer is no latency, and no error."""
    assert told(Seen(), 1.0)["calls"] == 0
