"""The circuit breaker as a state machine: when it opens, whom it lets through, and how long it rests."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexchange.breaker import Breaker, BreakerMode, BreakerRule, BreakerState
from lexchange.gates import Gates

RULE = BreakerRule(mode=BreakerMode.ENFORCE, failures=3, percent=50, of=10, within_s=10, pause_s=30, max_pause_s=70)


def a_breaker(rule: BreakerRule = RULE) -> tuple[Breaker, list[str]]:
    """A breaker at time 1000, and the states it tells."""
    told: list[str] = []
    return Breaker(rule, lambda each: told.append(each.state.value)), told


def fail(breaker: Breaker, count: int, now: float = 1000.0) -> None:
    for _ in range(count):
        breaker.record(False, now, now)


def test_opens_after_failures_in_a_row():
    """One success in between and the row begins anew."""
    breaker, told = a_breaker()
    fail(breaker, 2)
    breaker.record(True, 1000, 1000)
    fail(breaker, 2)
    assert (breaker.state, breaker.admit(1000)) == (BreakerState.CLOSED, True)
    fail(breaker, 1)
    assert (told, breaker.admit(1000), breaker.stops(1000)) == (["open"], False, True)
    assert (breaker.why, breaker.retry_at) == ("3 failures in a row", 1030)


def test_opens_at_a_share_of_failures():
    """Of enough calls, within the time; a success between any two failures breaks every row."""
    breaker, told = a_breaker()
    for second in range(5):
        breaker.record(True, 1000 + second, 1000 + second)
        if second == 4:
            assert told == []  # of nine calls
        fail(breaker, 1, 1000 + second)
    assert (told, breaker.why) == (["open"], "5 of 10 calls failed within 10 s")


def test_forgets_what_is_older_than_its_time():
    """Failures of long ago weigh nothing."""
    breaker, told = a_breaker()
    for second in range(5):
        breaker.record(True, 1000 + second, 1000 + second)
        fail(breaker, 1, 1000 + second if second < 4 else 1000 + 10.9)
    assert told == []


def test_lets_one_probe_through():
    """When the pause is over: the first call finds out, the others wait for what it says."""
    breaker, told = a_breaker()
    fail(breaker, 3)
    assert [breaker.admit(at) for at in (1000, 1029.9, 1030, 1030, 1031)] == [False, False, True, False, False]
    assert (breaker.stops(1031), breaker.state) == (True, BreakerState.HALF_OPEN)
    breaker.record(True, 1031, 1030)
    assert (breaker.admit(1031), breaker.admit(1031), breaker.why) == (True, True, "")
    assert told == ["open", "half_open", "closed"]


@pytest.mark.parametrize("is_ok", [False, True])
def test_call_of_before_the_pause_is_no_probe(is_ok):
    """Who waits for longer than the pause hears of the outage when it may be over: the probe tells whether it is."""
    breaker, told = a_breaker()
    fail(breaker, 3)
    assert breaker.admit(1030)
    breaker.record(is_ok, 1031, 999)
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.record(True, 1032, 1030)
    for _ in range(3):
        breaker.record(False, 1033, 999)
    assert told == ["open", "half_open", "closed"]


def test_probe_that_tells_nothing_is_forgotten():
    """Its caller may have hung up: after half a minute another call may find out."""
    breaker, _ = a_breaker()
    fail(breaker, 3)
    assert [breaker.admit(at) for at in (1030, 1059.9, 1060, 1061)] == [True, False, True, False]


def test_rests_longer_each_time():
    """30 s, 60 s, and never more than the longest; failures of calls under way count for nothing meanwhile."""
    breaker, _ = a_breaker()
    fail(breaker, 5)
    pauses, now = [], 1000.0
    for _ in range(4):
        pauses.append(breaker.retry_at - now)
        now = breaker.retry_at
        assert breaker.admit(now)
        breaker.record(False, now, now)
    assert pauses == [30, 60, 70, 70]
    assert breaker.why == "the probe failed"


def test_long_health_is_remembered():
    """Who opens again soon rests longer; who was well for longer than the longest rest begins anew."""
    breaker, _ = a_breaker()
    fail(breaker, 3)
    for closed_s, pause_s in ((10, 60), (71, 30)):
        now = breaker.retry_at
        assert breaker.admit(now)
        breaker.record(True, now, now)
        fail(breaker, 3, now + closed_s)
        assert breaker.retry_at - (now + closed_s) == pause_s


def test_shadow_only_tells():
    """It goes through the same states and stops nobody."""
    breaker, told = a_breaker(replace(RULE, mode=BreakerMode.SHADOW))
    fail(breaker, 3)
    assert (breaker.admit(1000), breaker.stops(1000), told) == (True, False, ["open"])
    fail(breaker, 9)
    assert breaker.admit(1030)
    fail(breaker, 1, 1031)
    assert told == ["open", "half_open", "open"]


def test_disabled_sees_nothing():
    breaker, told = a_breaker(replace(RULE, mode=BreakerMode.DISABLED))
    fail(breaker, 99)
    assert (breaker.admit(1000), told) == (True, [])


def test_reset_closes_it():
    """And forgets how often it has opened."""
    breaker, told = a_breaker()
    fail(breaker, 3)
    breaker.reset(1001)
    assert (breaker.admit(1001), told) == (True, ["open", "closed"])
    for _ in range(3):
        breaker.record(False, 1002, 1000)
    assert told == ["open", "closed"]
    fail(breaker, 3, 1002)
    assert breaker.retry_at == 1032


CALLS = st.lists(st.tuples(st.sampled_from(["admit", "ok", "fail"]), st.floats(0, 40)), max_size=80)


@given(calls=CALLS)
def test_never_refuses_for_longer_than_its_longest_pause(calls):
    """Whatever happened, a call is let through at the latest after the pause and a probe's time."""
    breaker, told = a_breaker()
    now = 1000.0
    for what, after_s in calls:
        now += after_s
        if what == "admit":
            breaker.admit(now)
        else:
            breaker.record(what == "ok", now, now)
    assert breaker.admit(now + RULE.max_pause_s + 31)
    assert all(one != other for one, other in pairwise(told))


@pytest.mark.parametrize(
    ("stage", "why"), [("ping", "his pings: 3 failures in a row"), ("post", "his posts: 3 failures in a row")]
)
def test_gate_is_shut_when_either_breaker_is_open(stage, why):
    """Each buyer has his own; a new configuration keeps what was learned and changes the rule."""
    told: list[tuple[str, str]] = []
    gates = Gates(lambda owner, stage, _: told.append((owner, stage.value)))
    gate = gates.gate("acme", RULE)
    fail(getattr(gate, stage), 3)
    assert (gate.why_shut(1000), told) == (why, [("acme", stage)])
    assert gates.gate("bright", RULE).why_shut(1000) == ""
    shadow = replace(RULE, mode=BreakerMode.SHADOW)
    assert gates.gate("acme", shadow) is gate
    assert gate.why_shut(1000) == ""
    gates.gate("acme", RULE)
    getattr(gate, stage).reset(1001)
    assert gate.why_shut(1001) == ""
