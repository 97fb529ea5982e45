"""Garbage: when Python looks for it. Ours is nearly all freed without: reading, compiling and calls make no cycles.

Each look walks through what is there: modules, the catalog, all that is in flight. So it looks seldom, and what stays
for good is set apart, where it is never looked at.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

COLLECTED_OBJECTS = 50_000  # more of them than before, and the young ones are looked through


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


def set_apart() -> None:
    """Never look at what is there now: with 1,000 campaigns that took a sixth of the pings a second."""
    gc.freeze()


def set_apart_anew() -> None:
    """The same after a change: what was set apart and is garbage now goes first."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
