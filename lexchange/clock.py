"""The only source of wall-clock time: Unix epoch milliseconds, UTC. Deadlines use the event loop's clock instead."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time; tests hand in one they can move."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000
