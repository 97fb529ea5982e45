"""The queue of the PostgreSQL engine: what goes into one batch, and who stays behind."""

import asyncio

import pytest

from lexchange.errors import StorageError
from lexchange.storage.connector import Statement
from lexchange.storage.postgres.queue import BATCH_LOCKS, BATCH_UNITS, Batch, Job, Queue, locks_of
from lexchange.storage.postgres.sql import numbered, unnested


def a_job(name: str, locks: str = "", shares: str = "") -> Job:
    """A unit that contends for these, each a letter."""
    lone = tuple(Statement(sql=name, locks=each) for each in locks)
    unit = (Statement(sql=name), *lone, *(Statement(sql=name, shares=each) for each in shares))
    future: asyncio.Future[object] = asyncio.Future()
    return Job(unit=unit, locks=locks_of(unit), since=0, answer=future)  # type: ignore[arg-type]  # nobody waits here


def names(batch: Batch | None) -> str:
    return "".join(job.unit[0].sql for job in batch.jobs) if batch else ""


@pytest.mark.parametrize(
    ("units", "first", "second"),
    [
        ([("p", "", ""), ("q", "", "")], "pq", ""),
        ([("p", "a", ""), ("q", "a", "")], "pq", ""),
        ([("p", "", "a"), ("q", "a", "")], "pq", ""),
    ],
)
async def test_units_that_wait_share_a_batch(units: list[tuple[str, str, str]], first: str, second: str):
    """In one transaction nobody contends with anybody."""
    queue = Queue(10)
    for unit in units:
        queue.add(a_job(*unit))
    assert (names(queue.take()), names(queue.take())) == (first, second)


@pytest.mark.parametrize(
    ("under_way", "waiting", "second", "after"),
    [
        (("x", "a", ""), [("p", "a", ""), ("q", "", "")], "q", "p"),
        (("x", "a", ""), [("p", "b", "")], "p", ""),
        (("x", "", "a"), [("p", "", "a")], "p", ""),
        (("x", "", "a"), [("p", "a", ""), ("q", "", "a"), ("r", "", "b")], "r", "pq"),
        (("x", "a", ""), [("p", "ab", ""), ("q", "b", ""), ("r", "c", "")], "r", "pq"),
    ],
    ids=["locked", "another lock", "shared by both", "shared, locked next", "nobody overtakes"],
)
async def test_unit_that_contends_stays_behind(
    under_way: tuple[str, str, str], waiting: list[tuple[str, str, str]], second: str, after: str
):
    """A unit waits for the batch that it contends with, and for whoever waits before it."""
    queue = Queue(10)
    queue.add(a_job(*under_way))
    first = queue.take()
    assert first is not None
    for unit in waiting:
        queue.add(a_job(*unit))
    assert names(queue.take()) == second
    queue.end(first)
    assert names(queue.take()) == after


async def test_batch_is_bounded():
    """In units, and in locks; one unit with more locks than that goes alone."""
    queue = Queue(10_000)
    for _ in range(BATCH_UNITS + 1):
        queue.add(a_job("p"))
    assert [len(names(queue.take())) for _ in range(2)] == [BATCH_UNITS, 1]
    many = "".join(chr(1_000 + number) for number in range(BATCH_LOCKS + 1))
    for locks in ("z", many, "y"):
        queue.add(a_job("p", locks))
    assert [len(names(queue.take())) for _ in range(2)] == [2, 1]


async def test_queue_is_bounded():
    """Above the limit nobody may wait."""
    queue = Queue(1)
    queue.add(a_job("p"))
    with pytest.raises(StorageError, match="1 calls wait"):
        queue.add(a_job("q"))


def test_sql_is_translated():
    """Numbers for question marks; arrays for the values of a bulk insert, with what follows them."""
    assert numbered("SELECT ? WHERE a = ?") == "SELECT $1 WHERE a = $2"
    bulk = "INSERT INTO t (a, b)\nVALUES (?, ?)\nON CONFLICT DO NOTHING"
    expected = "INSERT INTO t (a, b)\nSELECT * FROM UNNEST($1::text[], $2::int8[])\nON CONFLICT DO NOTHING"
    assert unnested(bulk, ["text", "int8"]) == expected
