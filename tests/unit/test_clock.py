"""The clock never goes back, and agrees with the machine's again after a while."""

from hypothesis import given
from hypothesis import strategies as st

from lexchange.clock import SystemClock

SECOND_NS = 1_000_000_000


class Machine:
    """A wall clock that can be set, and one that nobody can."""

    def __init__(self) -> None:
        self.wall_ns = 1_764_000_000 * SECOND_NS
        self.monotonic_ns = 0

    def pass_by(self, seconds: int) -> None:
        self.wall_ns += seconds * SECOND_NS
        self.monotonic_ns += seconds * SECOND_NS

    def clock(self) -> SystemClock:
        return SystemClock(lambda: self.wall_ns, lambda: self.monotonic_ns)


def test_clock_follows_the_machine_forward() -> None:
    """A jump is taken at once: what expires too early is offered again, what expires too late is sold twice."""
    machine = Machine()
    clock = machine.clock()
    first = clock.now_ms()
    machine.wall_ns += 3_600 * SECOND_NS
    assert clock.now_ms() == first + 3_600_000


def test_clock_that_is_set_back_goes_on_at_half_its_pace() -> None:
    """Until both agree again."""
    machine = Machine()
    clock = machine.clock()
    first = clock.now_ms()
    machine.wall_ns -= 60 * SECOND_NS
    machine.pass_by(20)
    assert clock.now_ms() == first + 10_000
    machine.pass_by(100)
    assert clock.now_ms() == machine.wall_ns // 1_000_000 == first + 60_000
    machine.pass_by(7)
    assert clock.now_ms() == first + 67_000


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(-5_000, 5_000)), max_size=30))
def test_clock_never_goes_back(steps: list[tuple[int, int]]) -> None:
    """Whatever is done to the machine's."""
    machine = Machine()
    clock = machine.clock()
    told = [clock.now_ms()]
    for seconds, jump in steps:
        machine.pass_by(seconds)
        machine.wall_ns += jump * SECOND_NS
        told.append(clock.now_ms())
    assert told == sorted(told)
