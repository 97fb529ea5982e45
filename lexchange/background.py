"""Work that outlives the request it began in: deliveries whose caller hung up, answers that come late.

And work that goes on beside all requests, as long as the exchange serves: what breaks one turn of it costs that turn.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from lexchange.errors import LexchangeError, RequestRefused, raised_at
from lexchange.telemetry import log_event

Result = TypeVar("Result")

QUIET_S = 60.0  # in which what goes wrong the same way again is not told again


class Background:
    """Owns such tasks until they end; `drain()` waits for them at shutdown."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, story: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Start it. Whoever awaits the task gets its exception; an exception nobody awaits is logged."""
        task = asyncio.get_running_loop().create_task(story)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, RequestRefused):  # which is an answer, and nothing that broke
            log_event("background_error", error=type(error).__name__)

    async def drain(self, grace_s: float) -> int:
        """Wait for what runs, at most the grace; returns how many tasks had to be cut off."""
        return await drained(self._tasks, grace_s)


async def drained(tasks: set[asyncio.Task[Any]], grace_s: float) -> int:
    """Wait until a set of tasks, from which each goes when it ends, is empty; then cut off who is left: how many."""
    deadline = asyncio.get_running_loop().time() + grace_s
    while tasks:
        left_s = deadline - asyncio.get_running_loop().time()
        if left_s <= 0:
            break
        await asyncio.wait(tasks, timeout=left_s)
    cut_off = list(tasks)
    for task in cut_off:
        task.cancel()
    if cut_off:
        await asyncio.wait(cut_off, timeout=1)
    return len(cut_off)


@asynccontextmanager
async def beside(story: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run it until the block ends; if it breaks, the block is ended. One error alone comes out as it is, ungrouped."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(story)
            try:
                yield
            finally:
                task.cancel()
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) == 1:
            raise errors.exceptions[0] from errors.exceptions[0].__cause__
        raise


async def keep_on(pause_s: float, turn: Callable[[], Awaitable[None]], failed: str) -> None:
    """Take a turn after each pause until cancelled. One that breaks is told as the event `failed`; the next one comes.

    Whatever it broke of: a row that nobody can read must end neither the other turns nor the server.
    """
    loop = asyncio.get_running_loop()
    told, quiet_until = "", 0.0
    while True:
        await asyncio.sleep(pause_s)
        try:
            await turn()
        except Exception as error:  # noqa: BLE001 - see above
            text = describe(error)
            if text != told or loop.time() >= quiet_until:
                log_event(failed, error=text)
                told, quiet_until = text, loop.time() + QUIET_S
        else:
            told = ""


def describe(error: Exception) -> str:
    """What the log may say of an error: our own text; of others, whose text may hold a lead, their kind and place."""
    if isinstance(error, LexchangeError):
        return str(error)
    return " at ".join(filter(None, [type(error).__name__, raised_at(error)]))
