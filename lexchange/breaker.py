"""Circuit breaker: leaves a failing buyer alone for a while, then lets one call find out whether he is back.

Pure: time is handed in, in seconds of a clock that never jumps. Closed → open → half-open → closed, or open for longer.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import inf


class BreakerMode(StrEnum):
    """Whether a breaker acts on what it sees."""

    ENFORCE = "enforce"
    SHADOW = "shadow"  # it is only told when it would have opened
    DISABLED = "disabled"


class BreakerState(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"  # one call is let through


# Python 3.11 looks members up in an enum's namespace in four times the time of a name of the module's.
CLOSED, OPEN, HALF_OPEN = BreakerState
DISABLED = BreakerMode.DISABLED


class BreakerStage(StrEnum):
    """Pings and posts of a buyer have a breaker each."""

    PING = "ping"
    POST = "post"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRule:
    """Opens after `failures` in a row, or when `percent` of at least `of` calls within `within_s` failed.

    It stays open for `pause_s`, and for so much longer each time that it opens again soon, up to `max_pause_s`.
    """

    mode: BreakerMode = BreakerMode.SHADOW
    failures: int = 5
    percent: int = 85
    of: int = 50
    within_s: int = 10
    pause_s: int = 30
    max_pause_s: int = 300


DEFAULT_BREAKER = BreakerRule()
PROBE_S = 30.0  # a probe that has told nothing by then is forgotten

OnChange = Callable[["Breaker"], None]


class Breaker:
    """One buyer's pings, or his posts. Every change of state is told to `on_change`."""

    def __init__(self, rule: BreakerRule, on_change: OnChange) -> None:
        self.rule = rule
        self.state = CLOSED
        self.why = ""
        self.retry_at = 0.0  # while open: when a call may find out
        self._on_change = on_change
        self._failures_in_a_row = 0
        self._seconds: deque[list[int]] = deque()  # [second, calls, failures], the newest last
        self._openings = 0  # in a row, each soon after the last
        self._closed_at = 0.0
        self._probe_until = 0.0
        self._counts_from = 0.0  # calls made before tell of an outage that is known; while open, none counts

    def stops(self, now: float) -> bool:
        """Whether a call would be refused now. Asks for nothing."""
        if self.state is CLOSED or self.rule.mode is not BreakerMode.ENFORCE:
            return False
        return now < (self.retry_at if self.state is OPEN else self._probe_until)

    @property
    def told(self) -> str:
        """Why it stops a call, for people."""
        return self.why or "a probe is under way"

    def admit(self, now: float) -> bool:
        """Whether a call may be made now; once the pause is over the first one is the probe."""
        if self.state is CLOSED:
            return True
        if self.stops(now):
            return False
        if self.state is OPEN and now >= self.retry_at:
            self._counts_from = now
            self._change(HALF_OPEN)
        if self.state is HALF_OPEN:
            self._probe_until = now + PROBE_S
        return True

    def record(self, is_ok: bool, now: float, admitted_at: float) -> None:
        """What came of a call that was admitted then."""
        if admitted_at < self._counts_from or self.rule.mode is DISABLED:
            return
        if self.state is HALF_OPEN:
            self._probed(is_ok, now)
            return
        second = int(now)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
            while self._seconds[0][0] <= second - self.rule.within_s:
                self._seconds.popleft()
        current = self._seconds[-1]
        current[1] += 1
        if is_ok:
            self._failures_in_a_row = 0
            return
        current[2] += 1
        self._failures_in_a_row += 1
        if why := self._verdict():
            self._open(why, now)

    def reset(self, now: float) -> None:
        """Close it, as if nothing had happened."""
        self._openings = 0
        self._counts_from = now
        self._close(now)

    def _verdict(self) -> str:
        """Why it opens; empty while it does not."""
        if self._failures_in_a_row >= self.rule.failures:
            return f"{self._failures_in_a_row} failure{'s' if self._failures_in_a_row > 1 else ''} in a row"
        calls = sum(each[1] for each in self._seconds)
        failures = sum(each[2] for each in self._seconds)
        if calls >= self.rule.of and failures * 100 >= calls * self.rule.percent:
            return f"{failures} of {calls} calls failed within {self.rule.within_s} s"
        return ""

    def _probed(self, is_ok: bool, now: float) -> None:
        if is_ok:
            self._close(now)
        else:
            self._open("the probe failed", now)

    def _open(self, why: str, now: float) -> None:
        was_closed_for_long = self.state is CLOSED and now - self._closed_at > self.rule.max_pause_s
        self._openings = 1 if was_closed_for_long else self._openings + 1
        self.why = why
        self.retry_at = now + min(self.rule.pause_s * self._openings, self.rule.max_pause_s)
        self._counts_from = inf
        self._change(OPEN)

    def _close(self, now: float) -> None:
        self._failures_in_a_row = 0
        self._seconds.clear()
        self._closed_at = now
        self.why = ""
        self._change(CLOSED)

    def _change(self, state: BreakerState) -> None:
        if state is not self.state:
            self.state = state
            self._on_change(self)
