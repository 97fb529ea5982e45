"""The only source of wall-clock time: Unix epoch milliseconds, UTC. Deadlines use the event loop's clock instead."""

import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Tells the time; tests hand in one they can move."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's clock, but for one thing: it never goes back, so that what has expired stays so.

    When the machine's clock is set back, this one goes on at half its pace until the two agree again.
    """

    def __init__(
        self, wall_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._told_ns = 0
        self._told_at_ns = monotonic_ns()

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        at_ns = self._monotonic_ns()
        self._told_ns = max(self._wall_ns(), self._told_ns + (at_ns - self._told_at_ns) // 2)
        self._told_at_ns = at_ns
        return self._told_ns // 1_000_000
