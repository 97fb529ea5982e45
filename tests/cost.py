"""What something costs, for tests that tell cheap from quadratic: CPU time, the best of three on a shared machine."""

import time
from collections.abc import Callable

CHEAP_S = 0.5  # a quadratic walk over an input of 256 KiB takes many times as long, on any machine


def cpu_s(action: Callable[[], object]) -> float:
    """The CPU time of the action, in seconds."""

    def once() -> float:
        started = time.process_time()
        action()
        return time.process_time() - started

    return min(once() for _ in range(3))
