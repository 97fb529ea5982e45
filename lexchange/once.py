"""Once: a post runs to its end whatever its caller does, and once for each idempotency key."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from lexchange import answers, failpoints
from lexchange.background import Background
from lexchange.call import Call, PostAnswer
from lexchange.clock import Clock
from lexchange.config import Limits
from lexchange.drafts import digest
from lexchange.errors import RequestRefused, StorageError
from lexchange.lead import IN_FLIGHT, Lead
from lexchange.reasons import Reason
from lexchange.storage import ABANDONED_MS, CallMark, CallOutcome, CallStart, Store
from lexchange.telemetry import log_event

FREE_S = 1.0  # between two tries
ABANDONED_S = ABANDONED_MS / 1000

Story = Callable[[], Coroutine[Any, Any, PostAnswer]]


class Progress:
    """How far a post has come: what is answered when its caller's deadline, or the store, ends first."""

    mark: CallMark | None = None  # of its idempotency key
    lead: Lead | None = None  # in its last attempt, once it is claimed


class Once:
    """Runs the stories of posts and direct posts."""

    def __init__(self, *, store: Store, background: Background, clock: Clock, limits: Limits, worker: str) -> None:
        self._store = store
        self._background = background
        self._clock = clock
        self._limits = limits
        self._worker = worker

    async def run(self, call: Call, progress: Progress, story: Story) -> PostAnswer:
        """Run a post so that a caller who hangs up cannot cut it; he is answered by his deadline all the same."""
        task = self._background.spawn(self._run_once(call, progress, story))
        if call.deadline is None:
            return await asyncio.shield(task)
        await _ended_by(task, call.deadline - self._limits.answer_reserve_ms / 1000)
        return task.result() if task.done() else answers.still_delivering(progress.lead)

    async def _run_once(self, call: Call, progress: Progress, story: Story) -> PostAnswer:
        """With an idempotency key: a repeat of the call gets the first answer instead of a second story."""
        if not call.idempotency_key:
            return await story()
        mark = CallMark(idempotency_key=call.idempotency_key, begun_ms=self._clock.now_ms())
        started = await self._begin(call, mark)
        if started.outcome is not CallOutcome.NEW:
            return await self._repeat(started)
        progress.mark = mark
        try:
            answer = await story()
        except BaseException:
            try:
                await self._store.abandon_call(call.src, mark)  # unless its lead is claimed
            except StorageError:  # the caller hears why his call broke
                self._background.spawn(self._free(call.src, mark))
            raise
        failpoints.reach("answer_before_remember")
        try:
            await self._store.finish_call(call.src, progress.mark, answers.dump_answer(answer))
        except StorageError as error:  # what has happened is told all the same; a repeat is answered from the lead
            log_event("answer_not_remembered", lead_id=answer.lead_id, error=str(error))
        failpoints.reach("answer_remembered")
        return answer

    async def _begin(self, call: Call, mark: CallMark) -> CallStart:
        try:
            return await self._store.begin_call(
                call.src,
                mark.idempotency_key,
                digest({**call.data, "ping_id": call.ping_id}),
                now_ms=mark.begun_ms,
                remember_ms=self._limits.idempotency_h * 3_600_000,
                worker=self._worker,
            )
        except StorageError:  # and may have begun it all the same
            self._background.spawn(self._free(call.src, mark))
            raise

    async def _free(self, src: str, mark: CallMark) -> None:
        """Free the key of a call that broke with the store, as soon as that is back: its caller comes again.

        After a minute it is free anyway.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(ABANDONED_S):
                while True:
                    try:
                        return await self._store.abandon_call(src, mark)
                    except StorageError:
                        await asyncio.sleep(FREE_S)

    async def _repeat(self, first: CallStart) -> PostAnswer:
        """The answer of the first call; where it never came to answer, what became of its lead."""
        if first.outcome is CallOutcome.REPLAY:
            return answers.load_answer(first.answer)
        if first.outcome is CallOutcome.REUSED:
            raise RequestRefused(Reason.IDEMPOTENCY_KEY_REUSED)
        lead = await self._store.audit.find_lead(first.lead_id) if first.lead_id else None
        if lead is None or lead.state in IN_FLIGHT:
            raise RequestRefused(Reason.REQUEST_IN_FLIGHT)
        return answers.settled(lead)


async def _ended_by(task: asyncio.Task[PostAnswer], deadline: float) -> None:
    """Wait for a task until then; as `asyncio.wait`, which is made for many, at a third of its cost."""
    loop = asyncio.get_running_loop()
    is_over = loop.create_future()

    def wake(_: object = None) -> None:
        if not is_over.done():
            is_over.set_result(None)

    task.add_done_callback(wake)
    timer = loop.call_at(deadline, wake)
    try:
        await is_over
    finally:
        timer.cancel()
