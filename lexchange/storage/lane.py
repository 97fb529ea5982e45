"""A thread that works for the event loop in batches: one hop there and one back for all jobs that wait.

Knows no database. There is no timer: a batch is whatever has gathered while the last one was worked on.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from lexchange.errors import StorageError

BATCH_JOBS = 500  # at most: bounds how long one batch keeps the next, and other processes, waiting

Job = TypeVar("Job")
Answer = TypeVar("Answer")


class Lane(Generic[Job, Answer]):
    """Jobs in, answers out, in order. `work` runs in the thread, answers every job and never raises."""

    def __init__(self, name: str, work: Callable[[list[Job]], Sequence[Answer | StorageError]], limit: int):
        self._loop = asyncio.get_running_loop()
        self._work = work
        self._limit = limit
        self._is_open = True
        self._waiting: SimpleQueue[tuple[Job, asyncio.Future[Answer]] | None] = SimpleQueue()
        # A daemon, so that a process that dies without closing is not kept alive; what waits was never acknowledged.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ask(self, job: Job) -> "asyncio.Future[Answer]":
        """Queue a job; raises StorageError at once when more than the limit wait."""
        if not self._is_open:
            raise StorageError("the store is closed")
        if self._waiting.qsize() >= self._limit:
            raise StorageError(f"{self._limit} calls wait for the store already")
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.put((job, future))
        return future

    async def aclose(self) -> None:
        """Work off what waits, then end the thread."""
        if self._is_open:
            self._is_open = False
            self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while batch := self._next_batch():
            answers = self._work([job for job, _ in batch])
            self._loop.call_soon_threadsafe(_resolve, [future for _, future in batch], answers)

    def _next_batch(self) -> list[tuple[Job, "asyncio.Future[Answer]"]]:
        """Everything that waits now; empty when the lane is closed."""
        batch: list[tuple[Job, asyncio.Future[Answer]]] = []
        entry = self._waiting.get()
        with suppress(Empty):
            while entry:
                batch.append(entry)
                if len(batch) == BATCH_JOBS:
                    return batch
                entry = self._waiting.get_nowait()
            if batch:
                self._waiting.put(None)  # the end is met again once this last batch is done
        return batch


def _resolve(futures: Sequence["asyncio.Future[Answer]"], answers: Sequence[Answer | StorageError]) -> None:
    for future, answer in zip(futures, answers, strict=True):
        if future.done():  # its caller was cancelled; the job was done all the same
            continue
        if isinstance(answer, StorageError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
