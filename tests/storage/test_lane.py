"""The thread that works in batches."""

import asyncio
import threading
import time

import pytest

from lexchange.errors import StorageError
from lexchange.storage.lane import BATCH_JOBS, BUSY_WINDOW_S, FEW_JOBS, GAP_S, WINDOW_S, Lane


async def test_batch_is_what_has_gathered():
    """Jobs that come while the thread works are its next batch, in their order, up to the bound."""
    batches: list[list[int]] = []
    gate = threading.Event()

    def work(jobs: list[int]) -> list[int]:
        gate.wait(5)
        batches.append(jobs)
        return [job * 2 for job in jobs]

    lane = Lane("test", work, limit=10_000)
    answers = [lane.ask(0)]
    await asyncio.sleep(0.05)
    answers += [lane.ask(number) for number in range(1, BATCH_JOBS + 3)]
    gate.set()
    assert [await answer for answer in answers] == [number * 2 for number in range(BATCH_JOBS + 3)]
    assert [len(batch) for batch in batches] == [1, BATCH_JOBS, 2]
    await lane.aclose()


@pytest.mark.parametrize(("waiting", "is_refused"), [(2, False), (3, True)])
async def test_limit_of_waiting_jobs(waiting: int, is_refused: bool):
    """As many jobs as the limit may wait; the next is refused at once."""
    gate = threading.Event()

    def work(jobs: list[int]) -> list[int]:
        gate.wait(5)
        return jobs

    lane = Lane("test", work, limit=3)
    answers = [lane.ask(0)]
    await asyncio.sleep(0.05)  # the thread has taken the first
    answers += [lane.ask(number) for number in range(waiting)]
    if is_refused:
        with pytest.raises(StorageError, match="3 calls wait"):
            lane.ask(9)
    else:
        answers.append(lane.ask(9))
    gate.set()
    assert len([await answer for answer in answers]) == len(answers)
    await lane.aclose()


async def test_closed_lane_refuses():
    """A lane ends once, after its last job, and takes none afterwards."""
    lane: Lane[int, int] = Lane("test", lambda jobs: jobs, limit=3)
    last = lane.ask(1)
    await lane.aclose()
    await lane.aclose()
    assert await last == 1
    with pytest.raises(StorageError, match="closed"):
        lane.ask(2)


async def test_error_is_its_jobs_alone():
    """In one batch each job gets its own answer or its own error."""

    def work(jobs: list[int]) -> list[int | StorageError]:
        return [StorageError("odd") if job % 2 else job for job in jobs]

    lane = Lane("test", work, limit=10)
    even, odd = lane.ask(2), lane.ask(3)
    assert await even == 2
    with pytest.raises(StorageError, match="odd"):
        await odd
    await lane.aclose()


def echo(jobs: list[int]) -> list[int]:
    return jobs


async def test_caller_who_comes_alone_is_served_at_once():
    """Without company nobody waits for it."""
    lane = Lane("test", echo, limit=10)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(20):
        assert await lane.ask(number) == number
    assert loop.time() - began < 20 * GAP_S  # a gap for each would be more than twice this
    await lane.aclose()


@pytest.mark.parametrize("callers", [2, 4, 50])
async def test_callers_in_step_are_one_batch(callers: int):
    """Callers who all wait are not kept waiting for others: soon their batch is as large as they are many."""
    batches: list[int] = []

    def work(jobs: list[int]) -> list[int]:
        batches.append(len(jobs))
        return jobs

    async def call() -> None:
        for number in range(60):
            await lane.ask(number)

    lane = Lane("test", work, limit=100)
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call())
    assert batches.count(callers) > 30
    await lane.aclose()


async def test_company_gathers():
    """Callers who come one after the other, soon enough, share batches; none waits longer than the window."""
    batches: list[int] = []
    slowest_s = 0.0

    def work(jobs: list[int]) -> list[int]:
        batches.append(len(jobs))
        return jobs

    async def call() -> None:
        nonlocal slowest_s
        began = asyncio.get_running_loop().time()
        await lane.ask(0)
        slowest_s = max(slowest_s, asyncio.get_running_loop().time() - began)

    lane = Lane("test", work, limit=1_000)
    async with asyncio.TaskGroup() as group:
        for _ in range(300):
            group.create_task(call())
            group.create_task(call())
            await asyncio.sleep(0.001)
    assert sum(batches) == 600
    assert len(batches) < 300
    assert slowest_s < 1  # the window is 4 ms; the rest is a machine that is busy elsewhere
    await lane.aclose()


async def test_close_does_not_wait_for_company():
    """What waits for company at the end is worked off at once."""
    lane = Lane("test", echo, limit=10)
    first = [lane.ask(number) for number in range(4)]
    await asyncio.wait(first)
    last = lane.ask(9)
    await lane.aclose()
    assert await last == 9


@pytest.mark.parametrize(
    ("cpu_s", "jobs", "waited_s", "is_waiting"),
    [
        (0.5, 2, WINDOW_S / 2, True),
        (0.5, 2, WINDOW_S, False),
        (0.95, FEW_JOBS - 1, WINDOW_S, True),
        (0.95, FEW_JOBS, WINDOW_S, False),
        (0.95, FEW_JOBS - 1, BUSY_WINDOW_S, False),
    ],
)
async def test_few_wait_longer_in_a_busy_process(cpu_s: float, jobs: int, waited_s: float, is_waiting: bool):
    """While a core is taken whole, here for the last second, a batch of a few waits twice as long for more."""
    lane = Lane("test", echo, limit=100)
    now = asyncio.get_running_loop().time()
    lane._looked_at = now - 1, time.process_time() - cpu_s
    lane._enough = jobs + 1
    answers = [lane.ask(number) for number in range(jobs)]
    assert lane._window is not None
    lane._window.cancel()
    lane._wait_on(jobs - 1, now - waited_s)
    assert (lane._window is not None) is is_waiting
    assert [await answer for answer in answers] == list(range(jobs))
    await lane.aclose()
