"""The thread that works in batches."""

import asyncio
import threading

import pytest

from lexchange.errors import StorageError
from lexchange.storage.lane import BATCH_JOBS, Lane


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
