"""What is set apart is freed when nobody needs it; cycles of it at every twentieth time."""

import gc
import weakref

from lexchange.garbage import LOOKS_EVERY, Apart


class Thing:
    """Something that was in flight."""

    def __init__(self) -> None:
        self.other: Thing | None = None


def test_what_is_set_apart_is_freed_when_nobody_needs_it() -> None:
    """Such as the catalog before."""
    apart, thing = Apart(), Thing()
    apart.add()
    gone = weakref.ref(thing)
    del thing
    assert gone() is None


def test_cycles_that_were_set_apart_go_in_the_end() -> None:
    """However many reloads there are, they do not pile up."""
    apart, thing = Apart(), Thing()
    thing.other = thing
    apart.add()
    gone = weakref.ref(thing)
    del thing
    gc.collect()
    assert gone() is not None
    for _ in range(LOOKS_EVERY - 2):
        apart.add()
    assert gone() is None
