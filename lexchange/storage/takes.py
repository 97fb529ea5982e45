"""Takes: units that take cap slots, each take met in the next way where one misses; and leases, given back once."""

import asyncio
import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import groupby

from lexchange.blocks import BlockRule, Blocks, Draw, Way, first_way, next_way
from lexchange.caps import campaign_of
from lexchange.lead import CapTake
from lexchange.storage import statements
from lexchange.storage.cap_units import release_expired_holds, return_lease
from lexchange.storage.connector import Connector, Unit, UnitResult

UnitOf = Callable[[Sequence[Draw]], Unit]


class Takes:
    """Of one process. It leases nothing until it is told to."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._blocks: Blocks | None = None

    def lease(self, worker: str, rule: BlockRule) -> None:
        """From now on take blocks of hot counters, for this worker."""
        self._blocks = Blocks(worker, rule)

    async def write(
        self,
        takes: Sequence[CapTake],
        unit_of: UnitOf,
        *,
        freed: Iterable[CapTake] = (),
        may_lease: bool = True,
        now_ms: int | None = None,
    ) -> UnitResult:
        """Write a unit that takes these slots; the guard that fails is the first full cap's take, or one of its own.

        A cap is full when it is so with every lease given back: what others hold and do not need refuses nobody. With
        `now_ms` it must also be so without what expired pings hold. What is `freed` the unit gives back before it
        takes: the counters of that are not leased.
        """
        kept = {take.counter for take in freed}
        blocks = self._blocks if may_lease else None
        draws = blocks.draws(takes, kept, _now()) if blocks else [Draw(take=take) for take in takes]
        while True:
            unit = unit_of(draws)
            result = await self._connector.write(unit)
            missed = result.failed_guard
            if not isinstance(missed, Draw):
                self._learn(unit, result, draws)
                return result
            if not await self._is_full(missed, kept):
                if self._blocks:
                    self._blocks.missed(missed)
                draws = next_way(draws, missed)
            elif now_ms is not None and await self.release_expired(campaign_of(missed.take.counter), now_ms):
                now_ms, draws = None, first_way(draws, missed)
            else:
                self._undone(draws)
                return UnitResult(failed_guard=missed.take)

    async def used(self, counters: Iterable[str]) -> dict[str, int]:
        """What is used of each counter, in flight included, and not only leased; 0 for one that nobody has touched."""
        names = tuple(counters)
        used = dict.fromkeys(names, 0)
        for sql, params in _queries(names):
            used.update(await self._connector.read(sql, params))
        return used

    async def release_expired(self, campaign: str, now_ms: int) -> int:
        """Give back what a campaign's pings held that expired unclaimed; how many slots.

        Mostly there are none, and a look is cheaper than a unit that all takers wait for.
        """
        if not await self._connector.read(statements.EXPIRED_HOLDS, (campaign, now_ms)):
            return 0
        return len((await self._connector.write(release_expired_holds(campaign, now_ms))).rows[-1])

    async def release_all_expired(self, now_ms: int) -> None:
        """Likewise of all campaigns."""
        for (campaign,) in await self._connector.scan(statements.EXPIRED_HOLDERS, (now_ms,)):
            await self.release_expired(campaign, now_ms)

    async def return_idle(self) -> None:
        """Give back this process's leases of counters that it has stopped taking from."""
        if self._blocks is not None:
            worker, busy = self._blocks.worker, self._blocks.busy(_now())
            await self._return(lambda counter, holder: holder == worker and counter not in busy)

    async def stop_leasing(self) -> None:
        """Give back all leases of this process, and take none any more."""
        blocks, self._blocks = self._blocks, None
        if blocks is not None:
            await self._return(lambda counter, holder: holder == blocks.worker)

    async def return_orphans(self, alive: Collection[str]) -> int:
        """Give back the leases of processes other than these; how many. One that is not dead takes the shared way."""
        return await self._return(lambda counter, holder: holder not in alive)

    async def _return(self, is_over: Callable[[str, str], bool]) -> int:
        rows = await self._connector.read(statements.CAP_LEASES)
        over = [(counter, holder) for counter, holder in rows if is_over(counter, holder)]
        for counter, holder in over:
            await self._connector.write(return_lease(counter, holder))
        return len(over)

    async def _is_full(self, missed: Draw, kept: Collection[str]) -> bool:
        """Whether there is no other way: the take would not fit even if every lease came back."""
        take = missed.take
        if missed.way is Way.SHARED and take.counter not in kept:
            return (await self.used([take.counter]))[take.counter] + take.amount > take.limit
        return missed.way is Way.RECALL

    def _learn(self, unit: Unit, result: UnitResult, draws: Sequence[Draw]) -> None:
        """What the counters say now; or that nothing was taken, where another guard has failed."""
        if self._blocks is None:
            return
        if result.failed_guard is not None:
            self._blocks.undone(draws)
            return
        for statement, rows in zip(unit, result.rows, strict=True):
            if statement.sql is statements.TAKE_CAP_AND_TELL and isinstance(statement.guard, Draw):
                self._blocks.stands(statement.guard.take, used=rows[0][0])

    def _undone(self, draws: Sequence[Draw]) -> None:
        if self._blocks is not None:
            self._blocks.undone(draws)


@functools.lru_cache(4_096)
def _queries(counters: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    """What asks for these counters: one query for each campaign, and mostly there is but one."""
    names = [(campaign, tuple(of_one)) for campaign, of_one in groupby(sorted(set(counters)), key=campaign_of)]
    return [(statements.read_counters(len(of_one)), (campaign, campaign, *of_one)) for campaign, of_one in names]


def _now() -> float:
    return asyncio.get_running_loop().time()
