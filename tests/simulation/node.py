"""Node: one process of the exchange, all its real parts but the listeners, that can be killed between two steps.

What a dead node would still do goes nowhere: its store and its lines are cut, and its tasks end.
"""

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Any

from lexchange.background import Background
from lexchange.blocks import BlockRule
from lexchange.buyers.addresses import AddressRule
from lexchange.buyers.client import BuyerClient
from lexchange.buyers.http_answer import ClientLimits
from lexchange.call import Call, PingAnswer, PostAnswer
from lexchange.cap_leases import return_on
from lexchange.clock import SystemClock
from lexchange.config import Limits
from lexchange.errors import StorageError
from lexchange.exchange import Exchange, Identity
from lexchange.leases import Lease
from lexchange.resends import ask_on
from lexchange.servicer import refusal_of
from lexchange.storage import Store
from lexchange.storage.connector import Room, Row, Unit, UnitResult, Value
from lexchange.storage.sqlite import Reader, Writer

if TYPE_CHECKING:
    from tests.simulation.world import World

LIMITS = Limits()
# The caps here are small, and none is hot.
LEASED_ALWAYS = BlockRule(hot_per_s=1, share=1, fewest=1, idle_s=15)
EPOCH_NS = 1_764_000_000_000_000_000
BUSY_MS = 0

life_of_now: contextvars.ContextVar["Life | None"] = contextvars.ContextVar("life_of_now", default=None)


class Killed(BaseException):
    """The process ends here."""


class LineBroken(Exception):
    """The source never hears an answer."""


class DiskFate(StrEnum):
    """What becomes of a commit."""

    DONE = "done"
    LOST = "lost"
    UNSURE = "unsure"  # done, and reported as lost


class SimulatedConnector:
    """A Connector over the product's own writer and reader, in virtual time and without a thread."""

    def __init__(self, life: "Life", file: str, random: Random) -> None:
        self._life = life
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(file, BUSY_MS)
        self._reader = Reader(file)
        self._waiting: list[tuple[Unit, asyncio.Future[UnitResult]]] = []
        self._is_working = False

    async def read(self, sql: str, params: Sequence[Value] = ()) -> Sequence[Row]:
        """Rows, unless the disk fails now."""
        self._life.must_go_on()
        if self._life.world.disk.fate is DiskFate.LOST:
            raise StorageError("the disk cannot be read")
        return self._reader.rows(sql, params)

    async def scan(self, sql: str, params: Sequence[Value] = ()) -> Sequence[Row]:
        """Rows, a moment later."""
        await asyncio.sleep(self._random.uniform(0, 0.003))
        return await self.read(sql, params)

    async def write(self, unit: Unit) -> UnitResult:
        """Wait for the commit that the unit gets into."""
        self._life.must_go_on()
        future: asyncio.Future[UnitResult] = self._loop.create_future()
        self._waiting.append((unit, future))
        if not self._is_working:
            self._is_working = True
            self._loop.call_later(self._random.uniform(0.0001, 0.004), self._commit)
        return await future

    async def make_room(self, now_ms: int) -> None:
        """Nothing, as with a file."""

    async def rooms(self, table: str) -> Sequence[Room]:
        """None, as with a file."""
        return ()

    async def drop_room(self, room: Room) -> bool:
        """There is none."""
        return False

    async def aclose(self) -> None:
        """Commit what waits."""
        last = [future for _, future in self._waiting]
        if last:
            await asyncio.wait(last)
        self.cut()

    def cut(self) -> None:
        """Close the files; what was not committed is not."""
        self._writer.close()
        self._reader.close()

    def _commit(self) -> None:
        if self._life.is_dead:
            return
        disk = self._life.world.disk
        if disk.stalled_until > self._loop.time():
            self._loop.call_at(disk.stalled_until, self._commit)
            return
        batch, self._waiting = self._waiting, []
        answers: list[UnitResult | StorageError] = [StorageError("the disk fails") for _ in batch]
        if disk.fate is not DiskFate.LOST:
            try:
                done = self._writer.commit([unit for unit, _ in batch])
            except Killed:
                return
            self._life.world.inspect()
            if disk.fate is DiskFate.DONE:
                answers = list(done)
        self._loop.call_later(self._random.uniform(0.0001, 0.004), self._answer, batch, answers)

    def _answer(
        self, batch: list[tuple[Unit, asyncio.Future[UnitResult]]], answers: list[UnitResult | StorageError]
    ) -> None:
        if self._life.is_dead:
            return
        self._is_working = bool(self._waiting)
        if self._waiting:
            self._loop.call_soon(self._commit)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, StorageError):
                future.set_exception(answer)
            else:
                future.set_result(answer)


class Life:
    """From a start to its end."""

    def __init__(self, world: "World", worker: str, wall_ns: Callable[[], int], monotonic_ns: Callable[[], int]):
        self.world = world
        self.worker = worker
        self.is_dead = False
        self.died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.kill_at: tuple[str, int] = ("", 0)
        self.context = contextvars.copy_context()
        self.context.run(life_of_now.set, self)
        self._connector = SimulatedConnector(self, world.file, Random(f"disk:{world.plan.seed}:{worker}"))
        self._background = Background()
        self._client = BuyerClient(limits=ClientLimits(), address_rule=AddressRule(allow_loopback_and_private=True))
        clock = self._clock = SystemClock(wall_ns, monotonic_ns)
        self.store = Store(self._connector)
        self._lease = Lease(self.store, clock, LIMITS.lease_s, worker)
        self.exchange = Exchange(
            catalog=world.catalog,
            store=self.store,
            client=self._client,
            background=self._background,
            clock=clock,
            limits=LIMITS,
            identity=Identity(worker=worker, pepper=b""),
        )
        self._beating: asyncio.Task[None] | None = None

    def run(self, story: Any) -> "asyncio.Task[Any]":
        """A task of this life."""
        return asyncio.get_running_loop().create_task(story, context=self.context)

    def must_go_on(self) -> None:
        """Raise when this life is over."""
        if self.is_dead:
            raise Killed

    def reach(self, point: str) -> None:
        """The hook of every fail point."""
        self.must_go_on()
        wanted, left = self.kill_at
        if point == wanted:
            self.kill_at = (wanted, left - 1)
            if left == 1:
                self.kill(f"at {point}")
                raise Killed

    async def begin(self) -> None:
        """Sweep what others have left, then be open for calls."""
        await self._lease.beat()
        self.store.lease_caps(self.worker, LEASED_ALWAYS)
        self._beating = self.run(self._go_on())

    async def _go_on(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lease.beat_on())
            group.create_task(ask_on(self.store, self.exchange, self._clock))
            group.create_task(return_on(self.store))

    def kill(self, why: str) -> None:
        """End at once."""
        if self.is_dead:
            return
        self.is_dead = True
        self.world.history.note(self.world.now_s, f"{self.worker} is killed {why}")
        self.world.history.suspects.add(self.worker)
        self.died.set_result(None)
        self._connector.cut()
        for task in self.tasks:
            task.cancel()

    async def end(self) -> None:
        """As on SIGTERM, after the listeners: deliveries end first, then the store closes."""
        await self._background.drain(LIMITS.drain_s)
        if self._beating:
            self._beating.cancel()
            with suppress(asyncio.CancelledError):
                await self._beating
        with suppress(StorageError):  # then the others sweep
            await self.store.stop_leasing_caps()
        await self._client.aclose()
        await self._lease.end()
        await self._connector.aclose()


class Node:
    """A place where lives follow each other. A source's call goes to the one that is under way."""

    def __init__(self, world: "World", number: int) -> None:
        self._world = world
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self.number = number
        self.jump_s = 0
        self._is_starting = False
        self.life: Life | None = None

    async def start(self) -> None:
        """Start, again and again while the store fails; nothing where a life is under way, or about to be."""
        if self._is_starting or (self.life and not self.life.is_dead):
            return
        self._is_starting = True
        try:
            self.life = await self._begin()
        finally:
            self._is_starting = False

    async def _begin(self) -> Life:
        while True:
            self._count += 1
            worker = f"node{self.number}.{self._count}"
            life = Life(self._world, worker, self._wall_ns, self._monotonic_ns)
            try:
                await life.run(life.begin())
            except StorageError:
                life.kill("at its start: the store fails")
                await asyncio.sleep(1)
                continue
            self._world.history.note(self._world.now_s, f"{worker} has started")
            return life

    async def stop(self) -> None:
        """Stop in order."""
        life, self.life = self.life, None
        if life and not life.is_dead:
            self._world.history.note(self._world.now_s, f"{life.worker} stops")
            await asyncio.wait({life.run(life.end()), life.died}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(1)
            self._world.history.leaked += [f"{life.worker}: {task}" for task in life.tasks if not task.done()]

    async def ask(self, name: str, call: Call, patience_s: float) -> PingAnswer | PostAnswer:
        """Call; raises LineBroken when no answer comes, RequestRefused."""
        life = self.life
        if life is None or life.is_dead:
            raise LineBroken
        task = life.run(getattr(life.exchange, name)(call))
        await asyncio.wait({task, life.died}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        if life.died.done() or not task.done():
            task.cancel()
            raise LineBroken
        try:
            answer: PingAnswer | PostAnswer = task.result()
        except Killed:
            raise LineBroken from None
        except Exception as error:
            raise refusal_of(error) from error
        return answer

    def _wall_ns(self) -> int:
        return EPOCH_NS + round((self._loop.time() + self.jump_s) * 1e9)

    def _monotonic_ns(self) -> int:
        return round(self._loop.time() * 1e9)
