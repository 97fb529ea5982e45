"""Who runs, who waits, who is refused. A slow loop is made by holding it up, as too much work would."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import pytest

from lexchange.config import Limits
from lexchange.errors import RequestRefused
from lexchange.places import BEGUN_A_TICK, FEW, TICK_S, Places
from lexchange.reasons import Reason

LIMIT = 100
SLOW_S = 5 * TICK_S


class Calls:
    """Calls that begin by number, hold their place until they are told to end, and are remembered."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.begun: list[int] = []
        self.refused: list[tuple[int, Reason]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._end = [asyncio.Event() for _ in range(LIMIT * 2)]

    async def make(self, count: int) -> None:
        """Let more calls come, all in one turn of the loop, and let that turn pass."""
        first = len(self.tasks)
        self.tasks += [asyncio.create_task(self._call(first + offset)) for offset in range(count)]
        await turns()

    async def end(self, *numbers: int) -> None:
        for number in numbers:
            self._end[number].set()
        await turns()

    async def _call(self, number: int) -> None:
        try:
            async with self.places:
                self.begun.append(number)
                await self._end[number].wait()
        except RequestRefused as error:
            self.refused.append((number, error.reason))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def hold_up(calls: Calls) -> None:
    """A loop that has just been found slow; remembered for the next ticks."""
    time.sleep(SLOW_S)  # noqa: ASYNC251 - blocking the loop is what is tested
    await asyncio.sleep(0)
    await turns()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(TICK_S)


@pytest.fixture
async def calls():
    made = Calls(Places(Limits(in_flight=LIMIT, queue_ms=200)))
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_few_begin_at_once_however_slow_the_loop(calls: Calls) -> None:
    """A process that is slow for other reasons still sells."""
    await calls.make(1)
    await hold_up(calls)
    await calls.make(FEW - 1)
    assert calls.begun == list(range(FEW))
    await calls.make(1)
    assert len(calls.begun) == FEW
    assert calls.refused == []


async def test_brisk_loop_starts_what_comes(calls: Calls) -> None:
    """Slow buyers are no load: as long as the loop turns, everything runs up to the limit."""
    await calls.make(LIMIT)
    await until(lambda: len(calls.begun) == LIMIT)
    await calls.make(2)
    assert calls.refused == [(LIMIT, Reason.OVERLOADED), (LIMIT + 1, Reason.OVERLOADED)]


async def test_a_burst_begins_in_portions(calls: Calls) -> None:
    """To begin is most of the work: after some beginnings the loop is looked at again."""
    await calls.make(LIMIT)
    assert FEW <= len(calls.begun) <= FEW + BEGUN_A_TICK
    assert calls.refused == []
    await until(lambda: len(calls.begun) == LIMIT)
    assert calls.begun == list(range(LIMIT))


async def test_slow_loop_lets_calls_wait_in_their_order(calls: Calls) -> None:
    """Who came first is first; nobody passes a line."""
    await calls.make(FEW)
    await hold_up(calls)
    await calls.make(3)
    assert calls.begun == list(range(FEW))
    await calls.end(0)
    assert calls.begun[FEW:] == [FEW]
    await calls.end(1, 2)
    assert calls.begun[FEW:] == [FEW, FEW + 1, FEW + 2]


async def test_slow_loop_that_recovers_takes_up_the_line(calls: Calls) -> None:
    """Nobody has to end for a line to move once the loop turns again."""
    await calls.make(FEW)
    await hold_up(calls)
    await calls.make(3)
    await until(lambda: len(calls.begun) == FEW + 3)


async def test_old_line_refuses_newcomers_only(calls: Calls) -> None:
    """What waits is not thrown out: it was told nothing, and its turn is next."""
    places = calls.places
    await calls.make(FEW)
    await hold_up(calls)
    await calls.make(2)
    seen = [places.is_full]
    time.sleep(0.21)  # noqa: ASYNC251 - the loop stands still, and so does the line
    await asyncio.sleep(0)
    seen.append(places.is_full)
    assert seen == [False, True]
    await calls.make(1)
    assert calls.refused == [(FEW + 2, Reason.OVERLOADED)]
    await until(lambda: len(calls.begun) == FEW + 2)
    assert not places.is_full


async def test_the_line_counts_towards_the_limit(calls: Calls) -> None:
    """Memory is bounded whatever the loop does."""
    await calls.make(FEW)
    await hold_up(calls)
    await calls.make(LIMIT - FEW)
    assert calls.places.is_full
    await calls.make(1)
    assert calls.refused == [(LIMIT, Reason.OVERLOADED)]


async def test_post_does_not_wait(calls: Calls) -> None:
    """A post keeps a promise: it passes the line, and no flood of pings takes its place; posts have their own limit."""
    await calls.make(FEW)
    await hold_up(calls)
    await calls.make(LIMIT - FEW + 1)
    assert calls.refused == [(LIMIT, Reason.OVERLOADED)]
    with ExitStack() as stack:
        for _ in range(LIMIT):
            stack.enter_context(calls.places)
        with pytest.raises(RequestRefused) as refusal, calls.places:
            pass
        assert refusal.value.reason is Reason.OVERLOADED
    with calls.places:
        pass


async def test_who_leaves_the_line_is_forgotten(calls: Calls) -> None:
    """A caller that hangs up leaves no place taken, and does not age the line behind him."""
    await calls.make(FEW)
    await hold_up(calls)
    await calls.make(2)
    calls.tasks[FEW].cancel()
    await turns()
    await calls.end(0)
    assert calls.begun[FEW:] == [FEW + 1]
    await calls.end(*range(FEW + 2))
    await calls.make(FEW)
    assert len(calls.begun) == FEW + 1 + FEW


@pytest.mark.parametrize("is_leaving_first", [True, False])
async def test_who_leaves_as_his_turn_comes(calls: Calls, is_leaving_first: bool) -> None:
    """Both in one turn of the loop: the place goes to the next in line."""
    await calls.make(FEW)
    await hold_up(calls)
    await calls.make(2)
    leaving = calls.tasks[FEW]
    actions: list[Callable[[], object]] = [leaving.cancel, calls.tasks[0].cancel]
    for act in actions if is_leaving_first else reversed(actions):
        act()
    await turns()
    assert leaving.cancelled()
    assert calls.begun[FEW:] == [FEW + 1]


async def test_nothing_ticks_while_nothing_runs() -> None:
    """An idle process sleeps."""
    places = Places(Limits())
    async with places:
        pass
    looks = 0
    loop = asyncio.get_running_loop()
    original: Callable[..., object] = loop.call_at

    def counting(*arguments: object, **named: object) -> object:
        nonlocal looks
        looks += 1
        return original(*arguments, **named)

    await asyncio.sleep(3 * TICK_S)
    loop.call_at = counting  # type: ignore[method-assign, assignment] # to see who sets timers
    waiting: Awaitable[None] = asyncio.get_running_loop().run_in_executor(None, time.sleep, 5 * TICK_S)
    await waiting
    assert looks == 0
