"""Places: the calls that run at once, and those that wait for their turn.

As long as the event loop turns briskly every call starts when it comes. When it does not, calls wait in line, in
their order, instead of slowing down those that run, whose buyers' answers must be heard in time. Who would wait too
long is refused at once. A post never waits, and has places of its own: what was promised is kept first.
"""

import asyncio
from collections import deque

from lexchange.config import Limits
from lexchange.errors import RequestRefused
from lexchange.reasons import Reason

TICK_S = 0.010
BRISK_S = 0.010  # a turn of the loop that takes longer is slow
FEW = 64  # so many run however slow the loop is: more than the 50 that load generators begin with
FORGET = 0.8
BEGUN_A_TICK = 16  # before the next look at the loop: to begin a ping is most of its work

Waiting = tuple[float, asyncio.Future[None]]  # since when, on the loop's clock; done when its turn has come


class Places:
    """`with` takes a post's place at once, `async with` another call's in turn; RequestRefused when there is none."""

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.in_flight
        self._patience_s = limits.queue_ms / 1000
        self._taken = 0
        self._posts = 0
        self._begun = 0  # since the last tick
        self._lag_s = 0.0  # of the last ticks; a slow one is remembered for some
        self._line: deque[Waiting] = deque()
        self._tick: asyncio.TimerHandle | None = None

    @property
    def held(self) -> int:
        """Calls that run or wait."""
        return self._taken + self._posts + len(self._line)

    @property
    def is_full(self) -> bool:
        """Whether a call that waits its turn would be refused."""
        if self._taken + len(self._line) >= self._limit:
            return True
        return bool(self._line) and asyncio.get_running_loop().time() - self._line[0][0] > self._patience_s

    def __enter__(self) -> None:
        if self._posts >= self._limit:
            raise RequestRefused(Reason.OVERLOADED)
        self._posts += 1

    def __exit__(self, *error: object) -> None:
        self._posts -= 1

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        if self._tick is None:
            self._look_on(loop)
        if not self._line and self._may_begin():
            self._begin()
            return
        if self.is_full:
            raise RequestRefused(Reason.OVERLOADED)
        waiting = (loop.time(), loop.create_future())
        self._line.append(waiting)
        await self._turn_of(waiting)

    async def __aexit__(self, *error: object) -> None:
        self._leave()

    async def _turn_of(self, waiting: Waiting) -> None:
        turn = waiting[1]
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._leave()  # it was given its place in this very turn of the loop
            elif waiting in self._line:
                self._line.remove(waiting)
            raise

    def _leave(self) -> None:
        self._taken -= 1
        self._call_up()

    def _may_begin(self) -> bool:
        if self._taken >= self._limit:
            return False
        return self._taken < FEW or (self._begun < BEGUN_A_TICK and self._lag_s < BRISK_S)

    def _begin(self) -> None:
        self._taken += 1
        self._begun += 1

    def _call_up(self) -> None:
        while self._line and self._may_begin():
            _, turn = self._line.popleft()
            if not turn.cancelled():
                self._begin()
                turn.set_result(None)

    def _look_on(self, loop: asyncio.AbstractEventLoop) -> None:
        due_s = loop.time() + TICK_S
        self._tick = loop.call_at(due_s, self._look, loop, due_s)

    def _look(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        """How late this comes is how long a turn of the loop takes. Nobody looks while nothing runs."""
        self._lag_s = max(loop.time() - due_s, self._lag_s * FORGET)
        self._begun, self._tick = 0, None
        self._call_up()
        if self._taken or self._line:
            self._look_on(loop)
