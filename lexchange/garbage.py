"""Garbage: when Python looks for it. Ours is nearly all freed without: reading, compiling and calls make no cycles.

Each look walks through what is there: modules, the catalog, all that is in flight. So it looks seldom, and what stays
for good is set apart, where it is never looked at.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

COLLECTED_OBJECTS = 50_000  # more of them than before, and the young ones are looked through
LOOKS_EVERY = 20


def collect_seldom() -> None:
    """At Python's own pace it took a sixth of a start, a tenth of a ping to 5 buyers, a third of one to 50."""
    gc.set_threshold(COLLECTED_OBJECTS)


@contextmanager
def none_collected() -> Iterator[None]:
    """For what makes many objects that stay, such as a configuration: 600,000 for a thousand campaigns.

    They are set apart before the first look, which took as long as to compile them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()


class Apart:
    """What is there for good, and never looked at: with 1,000 campaigns that took a sixth of the pings a second."""

    def __init__(self) -> None:
        self._times = 0
        self.add()

    def add(self) -> None:
        """Set apart what has come since, a new catalog for instance; what nobody needs any more is freed all the same.

        But for cycles among what was in flight, such as a connection that has ended since: they are looked for at every
        twentieth time. With 1,000 campaigns that holds up all calls for half a second.
        """
        self._times += 1
        if self._times % LOOKS_EVERY == 0:
            gc.unfreeze()
            gc.collect()
        gc.freeze()
