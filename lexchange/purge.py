"""Purge: brings to its end what a campaign's retention says is due, a page at a time, and rests after each.

It walks through a table in the order of its ids, which is that of time, from where it was to what is too young. A table
of any size is walked beside the traffic; the writers meet pages of what goes, for a fifth of the time at most.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

from lexchange.background import beside, keep_on
from lexchange.clock import Clock
from lexchange.config import Limits
from lexchange.lead import Lead, Ping
from lexchange.leases import alive
from lexchange.retention import DAY_MS, HOUR_MS, Due, Part, Retention, due
from lexchange.storage import Room, Step, Store
from lexchange.telemetry import log_event

RESTS = 4  # so many times as long as a page took
LONGEST_REST_S = 5.0
DROP_TRIES = 20
CALLS, COUNTERS = "remembered_calls", "cap_counters"

Retentions = Mapping[str, Retention]
Tell = Callable[[str, int, str], None]
"""Told after every page: what goes, how many are gone by now, and the id that the walk has come to."""
Keep = Callable[[Sequence[Ping | Lead]], None]
"""Puts rows away for good before they go."""


def _say_nothing(part: str, count: int, reached: str) -> None:
    pass


class Purge:
    """Walks that know where they were. What was due and could not go yet is met again a day later."""

    def __init__(
        self, store: Store, clock: Clock, limits: Limits, *, rests: int = RESTS, tell: Tell = _say_nothing
    ) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._rests = rests
        self._tell = tell
        self._marks: dict[tuple[Part, tuple[str, ...]], str] = {}
        self._kept_rooms: set[str] = set()
        self._new_day_ms = 0

    async def run(self, retentions: Retentions, keep: Keep | None = None) -> Counter[str]:
        """Purge what is due now; how much of what is gone. With `keep` each row is put away before it goes.

        Raises StorageError; what is gone by then is gone, and the next run goes on.
        """
        now_ms = self._clock.now_ms()
        gone: Counter[str] = Counter()
        is_new_day = now_ms >= self._new_day_ms
        if is_new_day:
            self._marks.clear()
            self._kept_rooms.clear()
        parts = due(retentions, now_ms, self._limits.idempotency_h)
        if keep is None:  # a row that is put away is looked at anyway
            await self._drop_rooms(parts, now_ms, gone)
        for each in parts:
            await self._walk(each, retentions, now_ms, gone, keep)
        if is_new_day:
            await self._drop_counters(retentions, now_ms, gone)
            await self._drop_calls(now_ms, gone)
            self._new_day_ms = now_ms + DAY_MS
        return gone

    # ------------------------------------------------------------------------------------------------- the walk

    async def _walk(
        self, part: Due, retentions: Retentions, now_ms: int, gone: Counter[str], keep: Keep | None
    ) -> None:
        purges, key = self._store.purges, (part.part, part.campaigns)
        kept_fields = {name: retention.kept_fields for name, retention in retentions.items()}
        while True:
            began = _now()
            page = await purges.page(part, self._marks.get(key, ""), now_ms)
            if page is None:
                return
            if page.due:
                rows = await purges.read(part.part, page) if keep or part.part is Part.LEAD_DATA else []
                if keep:
                    await asyncio.to_thread(keep, rows)
                    page = page.only(rows)  # what cannot be read has not been put away, and stays
                if part.part is Part.LEAD_DATA:
                    leads = [row for row in rows if isinstance(row, Lead)]
                    gone[part.part] += await purges.blank(leads, kept_fields, now_ms)
                else:
                    gone[part.part] += await purges.drop(part.part, page, now_ms)
            self._marks[key] = page.to
            self._tell(part.part, gone[part.part], page.to)
            await self._rest(began)

    async def _drop_counters(self, retentions: Retentions, now_ms: int, gone: Counter[str]) -> None:
        """Counters go with the leads that they count."""
        for campaign, retention in retentions.items():
            if retention.lead_days is not None:
                before_ms = now_ms - retention.lead_days * DAY_MS
                before = datetime.fromtimestamp(before_ms / 1000, UTC).date()
                gone[COUNTERS] += await self._to_the_end(partial(self._store.purges.drop_counters, campaign, before))

    async def _drop_calls(self, now_ms: int, gone: Counter[str]) -> None:
        """Calls whose keys are forgotten go without a word of the campaigns."""
        before_ms = now_ms - self._limits.idempotency_h * HOUR_MS
        gone[CALLS] += await self._to_the_end(partial(self._store.purges.drop_calls, before_ms))

    async def _to_the_end(self, drop: Callable[[tuple[str, ...]], Awaitable[Step]]) -> int:
        after: tuple[str, ...] = ()
        count = 0
        while True:
            began = _now()
            step = await drop(after)
            count, after = count + step.count, step.after
            if not after:
                return count
            await self._rest(began)

    # ---------------------------------------------------------------------------------------------------- months

    async def _drop_rooms(self, parts: Sequence[Due], now_ms: int, gone: Counter[str]) -> None:
        """Whole months that every campaign is done with, where the store keeps months."""
        for part in (Part.PINGS, Part.LEADS):
            of_part = [each for each in parts if each.part is part]
            if not of_part:
                continue
            before_ms = min(each.before_ms for each in of_part)
            campaigns = tuple(sorted(name for each in of_part for name in each.campaigns))
            everybody = Due(part=part, campaigns=campaigns, before_ms=before_ms)
            for room in await self._store.rooms.old(part, before_ms):
                if room.name not in self._kept_rooms:
                    await self._drop_room(everybody, room, now_ms, gone)

    async def _drop_room(self, everybody: Due, room: Room, now_ms: int, gone: Counter[str]) -> None:
        rooms, after, row_count = self._store.rooms, "", 0
        while True:
            began = _now()
            survey = await rooms.survey(everybody, room, after, now_ms)
            if not survey.is_due:
                self._kept_rooms.add(room.name)  # somebody's rows stay: the others are deleted one by one
                return
            row_count, after = row_count + survey.row_count, survey.after
            await self._rest(began)
            if not after:
                break
        for campaign in everybody.campaigns:
            is_left = True
            while is_left:
                began = _now()
                is_left = await rooms.empty(everybody.part, campaign, room)
                await self._rest(began)
        for _ in range(DROP_TRIES):
            if await rooms.drop(room):
                gone[everybody.part] += row_count
                self._tell(everybody.part, gone[everybody.part], room.name)
                return
            await asyncio.sleep(1)
        log_event("month_not_dropped", table=room.name)  # its rows are deleted one by one

    async def _rest(self, began: float) -> None:
        if self._rests:
            await asyncio.sleep(min(self._rests * (_now() - began), LONGEST_REST_S))


# ---------------------------------------------------------------------------------------------------- in the background


@asynccontextmanager
async def purging(
    store: Store, clock: Clock, limits: Limits, *, worker: str, retentions: Callable[[], Retentions]
) -> AsyncIterator[None]:
    """Purge now and then until the block ends, in one process of all that serve: the first by its name."""
    purge = Purge(store, clock, limits)

    async def take_turn() -> None:
        living = alive(await store.leases(), clock.now_ms(), limits.lease_s * 1000)
        if min(living, default=worker) != worker:
            return
        gone = await purge.run(retentions())
        if found := {str(name): count for name, count in gone.items() if count}:
            log_event("purged", **found)

    async with beside(keep_on(limits.purge_pause_s, take_turn, "purge_failed")):
        yield


def _now() -> float:
    return asyncio.get_running_loop().time()
