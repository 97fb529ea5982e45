"""Which of the waiting units make the next batch. Pure: waits for nothing, knows no database.

Several batches of a process are under way at once. A unit that contends with one of them stays behind, because its
batch would only wait for the other's locks, with everybody else in it; meanwhile more like it gather. Nobody overtakes
a unit that contends with his own.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

from lexchange.errors import StorageError
from lexchange.storage.connector import Unit, UnitResult

BATCH_UNITS = 500  # at most: bounds how long one batch keeps the next waiting
# At most, if several units ask for them: the server's table holds 6,400 locks of all processes unless it is configured
# otherwise (max_locks_per_transaction), and each unit with locks may be a subtransaction, which it likes below 64.
BATCH_LOCKS = 128

Locks = Mapping[int, bool]
"""Keys of advisory locks; whether each is locked against everybody, not only against who locks it so."""


@lru_cache(maxsize=8_192)
def key_of(name: str) -> int:
    """The 64 bits that stand for a lock's name; two names that share them wait for each other in vain, no worse."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)


def locks_of(unit: Unit) -> Locks:
    """What a unit contends for."""
    locks = {key_of(statement.shares): False for statement in unit if statement.shares}
    return locks | {key_of(statement.locks): True for statement in unit if statement.locks}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """A unit that waits, since when, and who for."""

    unit: Unit
    locks: Locks
    since: float
    answer: "asyncio.Future[UnitResult]"


@dataclass(slots=True, kw_only=True, eq=False)
class Batch:
    """Units that become durable together, and their locks."""

    jobs: list[Job] = field(default_factory=list)
    locks: dict[int, bool] = field(default_factory=dict)

    def add(self, job: Job) -> None:
        """Take one more unit; a lock that both share and lock is locked."""
        self.jobs.append(job)
        self.hold(job.locks)

    def hold(self, locks: Locks) -> None:
        """Take the locks alone."""
        for key, is_alone in locks.items():
            self.locks[key] = is_alone or self.locks.get(key, False)

    def contends(self, locks: Locks) -> bool:
        """Whether somebody with these locks would have to wait for this batch."""
        if self.locks.keys().isdisjoint(locks):
            return False
        return any(self.locks[key] or locks[key] for key in self.locks.keys() & locks.keys())

    def has_room(self, locks: Locks) -> bool:
        """Whether the locks fit in as well."""
        return not self.locks or not locks or len(self.locks.keys() | locks) <= BATCH_LOCKS


class Queue:
    """Units in, batches out."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: list[Job] = []
        self._under_way: list[Batch] = []

    @property
    def batches_under_way(self) -> int:
        """Batches that were taken and not ended."""
        return len(self._under_way)

    def add(self, job: Job) -> None:
        """Let a unit wait; StorageError when more than the limit do."""
        if len(self._waiting) >= self._limit:
            raise StorageError(f"{self._limit} calls wait for the store already")
        self._waiting.append(job)

    def take(self) -> Batch | None:
        """The next batch, of all that contends with none under way; None when there is none."""
        batch, passed = Batch(), Batch()
        left: list[Job] = []
        for number, job in enumerate(self._waiting):
            if len(batch.jobs) == BATCH_UNITS:
                left += self._waiting[number:]
                break
            if job.locks and self._stays(job.locks, batch, passed):
                passed.hold(job.locks)
                left.append(job)
            else:
                batch.add(job)
        self._waiting = left
        if not batch.jobs:
            return None
        self._under_way.append(batch)
        return batch

    def end(self, batch: Batch) -> None:
        """Let those come who have waited for this batch."""
        self._under_way.remove(batch)

    def give_up(self) -> list[Job]:
        """Whoever still waits; nobody does afterwards."""
        left, self._waiting = self._waiting, []
        return left

    def _stays(self, locks: Locks, batch: Batch, passed: Batch) -> bool:
        return not batch.has_room(locks) or passed.contends(locks) or _contend(self._under_way, locks)


def _contend(batches: Iterable[Batch], locks: Locks) -> bool:
    return any(batch.contends(locks) for batch in batches)
