"""A thread that works for the event loop in batches: one hop there and one back for all jobs that wait.

Knows no database. While the thread works, jobs gather. Where jobs come in company a batch also waits for more of them,
because a commit costs as much as all else a ping does: with 50 in flight over gRPC, batches of 1 took 830 µs of CPU a
ping, batches of 14 took 560. It learns how many to wait for, so that callers who all wait for it are not kept waiting,
and a caller who comes alone never is.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Generic, TypeAlias, TypeVar

from lexchange.errors import StorageError

BATCH_JOBS = 500  # at most: bounds how long one batch keeps the next, and other processes, waiting
COMPANY_JOBS = 64  # a batch that has gathered so many waits no longer
WINDOW_S = 0.004  # nor one that has waited so long,
BUSY_WINDOW_S = 0.008  # or so long where it has only a few while the process takes a whole core: then time is dear
FEW_JOBS = 16
BUSY_CORES = 0.9
LOOK_S = 0.1  # over which that is measured
GAP_S = 0.002  # nor one that nobody has joined for so long, and then the next ones wait for fewer,
PROBES = 8  # until so many batches in a row had enough

Job = TypeVar("Job")
Answer = TypeVar("Answer")
Batch: TypeAlias = "tuple[list[Job], list[asyncio.Future[Answer]]]"  # jobs, and who waits for each


class Lane(Generic[Job, Answer]):
    """Jobs in, answers out, in order. `work` runs in the thread, answers every job and never raises."""

    def __init__(self, name: str, work: Callable[[list[Job]], Sequence[Answer | StorageError]], limit: int):
        self._loop = asyncio.get_running_loop()
        self._work = work
        self._limit = limit
        self._is_open = True
        self._is_working = False
        self._enough = 1  # jobs that a batch waits for
        self._reached = 0  # batches in a row that had enough
        self._jobs: list[Job] = []
        self._waiting: list[asyncio.Future[Answer]] = []  # for the answers to them
        self._window: asyncio.TimerHandle | None = None
        self._is_busy = False
        self._looked_at = (self._loop.time(), time.process_time())
        self._batches: SimpleQueue[Batch[Job, Answer] | None] = SimpleQueue()
        # A daemon, so that a process that dies without closing is not kept alive; what waits was never acknowledged.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ask(self, job: Job) -> "asyncio.Future[Answer]":
        """Queue a job; raises StorageError at once when more than the limit wait."""
        if not self._is_open:
            raise StorageError("the store is closed")
        waiting = self._waiting
        if len(waiting) >= self._limit:
            raise StorageError(f"{self._limit} calls wait for the store already")
        future: asyncio.Future[Answer] = self._loop.create_future()
        waiting.append(future)
        self._jobs.append(job)
        if self._window is not None:
            if len(waiting) >= self._enough:
                self._stop_waiting()
        elif not self._is_working:
            self._begin()
        return future

    async def aclose(self) -> None:
        """Work off what waits, then end the thread."""
        self._is_open = False
        last = self._waiting.copy()
        if last and not self._is_working:
            self._hand_over()
        if last:
            await asyncio.wait(last)
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join)

    # ---- the loop's side ----

    def _begin(self) -> None:
        if len(self._waiting) < self._enough:
            self._look()
            self._wait(since=self._loop.time())
        else:
            self._hand_over()

    def _look(self) -> None:
        """Now and then see how busy the process is."""
        since_s, cpu_s = self._looked_at
        now = self._loop.time()
        if now < since_s + LOOK_S:
            return
        self._looked_at = now, time.process_time()
        self._is_busy = self._looked_at[1] - cpu_s > BUSY_CORES * (now - since_s)

    def _wait(self, since: float) -> None:
        self._window = self._loop.call_later(GAP_S, self._wait_on, len(self._waiting), since)

    def _wait_on(self, seen: int, since: float) -> None:
        """The gap is over: wait for more company, or learn how much there is and start with it."""
        count = len(self._waiting)
        window_s = BUSY_WINDOW_S if self._is_busy and count < FEW_JOBS else WINDOW_S
        if count == seen:
            self._learn(enough=max(seen, self._enough * 3 // 4))
        elif self._loop.time() < since + window_s:
            self._wait(since)
            return
        else:
            self._learn(enough=COMPANY_JOBS)
        self._hand_over()

    def _stop_waiting(self) -> None:
        """Enough have come. Now and then more are asked for."""
        self._reached += 1
        if self._reached == PROBES:
            self._learn(enough=min(self._enough + 1 + self._enough // 8, COMPANY_JOBS))
        self._hand_over()

    def _learn(self, enough: int) -> None:
        self._enough, self._reached = enough, 0

    def _hand_over(self) -> None:
        if self._window is not None:
            self._window.cancel()
            self._window = None
        jobs, self._jobs = self._jobs[:BATCH_JOBS], self._jobs[BATCH_JOBS:]
        waiting, self._waiting = self._waiting[:BATCH_JOBS], self._waiting[BATCH_JOBS:]
        self._is_working = True
        self._batches.put((jobs, waiting))

    def _answered(self, waiting: "list[asyncio.Future[Answer]]", answers: Sequence[Answer | StorageError]) -> None:
        self._is_working = False
        if self._waiting:
            if self._enough == 1:  # somebody came while another was served: there is company
                self._learn(enough=COMPANY_JOBS)
            self._begin() if self._is_open else self._hand_over()
        for future, answer in zip(waiting, answers, strict=True):
            if future.done():  # its caller was cancelled; the job was done all the same
                continue
            if isinstance(answer, StorageError):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    # ---- the thread's side ----

    def _run(self) -> None:
        while batch := self._batches.get():
            jobs, waiting = batch
            self._loop.call_soon_threadsafe(self._answered, waiting, self._work(jobs))
