"""World: plays a plan. Two nodes of the exchange on one store, its sources, its buyers, and what goes wrong."""

import asyncio
import functools
import io
import secrets
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from lexchange import failpoints, telemetry
from lexchange.call import Call, PingAnswer
from lexchange.campaign_file import load_campaigns
from lexchange.catalog import Catalog
from lexchange.errors import RequestRefused, StorageError
from lexchange.lead import Lead, LeadState, Ping
from lexchange.resolution import DEFINITE
from lexchange.storage import Store
from lexchange.storage.sqlite import prepare
from tests.simulation.history import History, Told
from tests.simulation.network import Buyers
from tests.simulation.node import EPOCH_NS, LIMITS, DiskFate, Life, LineBroken, Node, life_of_now
from tests.simulation.plan import NODES, Act, Fault, FaultKind, Plan, Rules
from tests.simulation.virtual_loop import VirtualLoop

RETRIES, RETRY_S = 6, 3.0
SETTLED_S = 40.0  # after the last fault: longer than a lease, a delivery, and asking two buyers again one by one
TRANSIENT = frozenset({"request_in_flight", "overloaded", "server_error"})


@dataclass
class Disk:
    """The one disk under all nodes."""

    fate: DiskFate = DiskFate.DONE
    stalled_until: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What the store holds."""

    pings: dict[str, Ping]
    leads: list[Lead]
    in_flight: list[Lead]
    unresolved: set[str]
    used: dict[str, int]  # of each cap counter


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A played plan: its history, what is stored in the end, and once more when an operator has settled the unknown."""

    plan: Plan
    history: History
    left: Ledger
    settled: Ledger


@functools.cache
def catalog_of(rules: Rules) -> Catalog:
    """The campaigns of these rules, read as an operator's file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "campaigns.yaml"
        file.write_bytes(rules.campaign_file())
        loaded = load_campaigns(file, is_dev=True, pepper=b"", environment={})
    return Catalog(loaded.campaigns, version=loaded.version, limits=LIMITS)


class World:
    """What a plan is played in."""

    def __init__(self, plan: Plan, file: str) -> None:
        self.plan = plan
        self.file = file
        self.history = History()
        self.disk = Disk()
        self.catalog = catalog_of(plan.rules)
        self._loop = asyncio.get_running_loop()
        self._inspector = sqlite3.connect(file)
        self._nodes = [Node(self, number) for number in range(NODES)]
        self.buyers = Buyers(plan, self.history)

    @property
    def now_s(self) -> float:
        """Virtual time."""
        return self._loop.time()

    async def play(self) -> None:
        """From the first start to the last stop."""
        for node in self._nodes:
            await node.start()
        async with asyncio.TaskGroup() as group:
            for act in self.plan.acts:
                group.create_task(self._play(act))
            for fault in self.plan.faults:
                group.create_task(self._bring_about(fault))
        for node in self._nodes:
            await node.start()
        await asyncio.sleep(SETTLED_S)
        for node in self._nodes:
            await node.stop()

    def close(self) -> None:
        """Give back what is open."""
        self.buyers.close()
        self._inspector.close()

    def inspect(self) -> None:
        """After each commit: no counter is below what is leased of it or above its limit."""
        rules = self.plan.rules
        leased = dict(self._inspector.execute("SELECT counter, SUM(amount_left) FROM cap_leases GROUP BY counter"))
        for counter, used in self.counters().items():
            is_money, is_buyers = ":money:" in counter, ":buyer:" in counter
            count = (rules.cap if is_buyers else rules.source_cap) or 0
            limit = (rules.budget or 0) * 1_000_000 if is_money else count
            if not leased.get(counter, 0) <= used <= limit:
                self.history.overdrawn.append(f"{counter}: {used} of {limit}, {leased.get(counter, 0)} leased")

    def counters(self) -> dict[str, int]:
        """What is used of each cap."""
        return dict(self._inspector.execute("SELECT counter, used FROM cap_counters"))

    # ---- what goes wrong ----

    async def _bring_about(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at_s)
        self.history.note(self.now_s, str(fault)[8:])
        node = self._nodes[fault.node]
        match fault.kind:
            case FaultKind.KILL:
                if node.life:
                    node.life.kill("by a fault")
                await self._restart(node, fault.lasts_s)
            case FaultKind.KILL_AT:
                if node.life:
                    node.life.kill_at = (fault.point, fault.nth)
                await asyncio.sleep(12)
                if node.life and node.life.is_dead:
                    await self._restart(node, fault.lasts_s)
            case FaultKind.STOP:
                await node.stop()
                await self._restart(node, fault.lasts_s)
            case FaultKind.STORE_FAILS | FaultKind.STORE_UNSURE:
                self._suspect_all()
                self.disk.fate = DiskFate.LOST if fault.kind is FaultKind.STORE_FAILS else DiskFate.UNSURE
                await asyncio.sleep(fault.lasts_s)
                self.disk.fate = DiskFate.DONE
            case FaultKind.STORE_STALLS:
                if fault.lasts_s > LIMITS.lease_s / 2:
                    self._suspect_all()
                self.disk.stalled_until = max(self.disk.stalled_until, self.now_s + fault.lasts_s)
            case FaultKind.CLOCK_JUMPS:
                self.history.is_anyone_suspect = True  # until the clocks agree again, long after the end
                node.jump_s = fault.jump_s
                await asyncio.sleep(fault.lasts_s)
                node.jump_s = 0
            case FaultKind.BUYER_DOWN:
                self.buyers.down_until[fault.buyer] = self.now_s + fault.lasts_s

    async def _restart(self, node: Node, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await node.start()

    def _suspect_all(self) -> None:
        """Leases may run out in what follows: whoever lives now may be taken for dead."""
        self.history.suspects.update(node.life.worker for node in self._nodes if node.life)

    # ---- what sources do ----

    async def _play(self, act: Act) -> None:
        await asyncio.sleep(act.at_s)
        if act.is_direct:
            key = f"direct {act.number}" if act.is_keyed else ""
            await self._ask(act, "direct_post", key=key, tries=RETRIES if act.is_keyed else 1)
            return
        answer = await self._ask(act, "ping", tries=RETRIES)
        if not isinstance(answer, PingAnswer) or not answer.ping_id:
            return
        await asyncio.sleep(act.pause_s)
        async with asyncio.TaskGroup() as group:
            for copy in range(act.copies):
                key = f"post {act.number}" if act.is_keyed else ""
                story = self._ask(act, "post", key=key, ping_id=answer.ping_id, tries=RETRIES, node=act.node + copy)
                group.create_task(story)

    async def _ask(
        self, act: Act, name: str, *, key: str = "", ping_id: str = "", tries: int, node: int | None = None
    ) -> Any:
        """Call until there is an answer; the next try is another node's."""
        first = act.node if node is None else node
        for attempt in range(tries):
            asked_s = self.now_s
            patience_s = act.patience_s if attempt == 0 else 30.0
            call = self._call(act, name, key, ping_id)
            told = functools.partial(Told, act=act.number, name=name, asked_s=asked_s, ping_id=ping_id)
            try:
                answer = await self._nodes[(first + attempt) % NODES].ask(name, call, patience_s)
            except LineBroken:
                self.history.tell(told(at_s=self.now_s))
            except RequestRefused as error:
                self.history.tell(told(at_s=self.now_s, refused=error.reason))
                if error.reason not in TRANSIENT:
                    return None
            else:
                self.history.tell(told(at_s=self.now_s, answer=answer))
                return answer
            await asyncio.sleep(RETRY_S)
        return None

    def _call(self, act: Act, name: str, key: str, ping_id: str) -> Call:
        src = "SRC_D" if act.is_direct else "SRC_FOREIGN" if act.is_foreign and name == "post" else "SRC_A"
        return Call(
            src=src,
            key=f"key of {src}",
            data=lead_fields(act.email, f"31055501{act.person:02d}", is_test=act.is_test),
            ping_id=ping_id,
            idempotency_key=key,
            deadline=None if act.deadline_s is None else self.now_s + act.deadline_s,
        )


def lead_fields(email: str, phone: str, *, is_test: bool) -> dict[str, str]:
    """What a source sends of a lead."""
    return {
        "sub_id": "publisher",
        "pub_id": "publisher",
        "first_name": "Sam",
        "last_name": "Carter",
        "email": email,
        "phone": phone,
        "zipcode": "90210",
        "state": "CA",
        "city": "Los Angeles",
        "street_address": "123 Main St",
        "ip_address": "192.0.2.10",
        "user_agent": "Mozilla/5.0",
        "trusted_form_url": "https://cert.trustedform.com/abc123",
        "jornaya_lead_id": "JRN-2D8BC3A4E5F6",
        "consent_text": "I agree to be contacted.",
        "landing_page_url": "https://example.com/quote",
        **({"Test_Mode": "1"} if is_test else {}),
    }


# ---- a run ----


def play(plan: Plan) -> Outcome:
    """Play a plan in virtual time."""
    with memory_folder() as folder, pretended(Random(f"secrets:{plan.seed}")):
        file = f"{folder}/store.db"
        prepare(file, 1_000)
        loop = VirtualLoop()
        loop.set_task_factory(belonging_to_its_life)
        loop.set_exception_handler(lambda *_: None)  # killed tasks have nobody to tell
        try:
            return loop.run_until_complete(_run(plan, file, loop))
        finally:
            loop.close()


async def _run(plan: Plan, file: str, loop: VirtualLoop) -> Outcome:
    world = World(plan, file)
    loop.network = world.buyers
    operator = Life(world, "operator", lambda: EPOCH_NS, lambda: 0)
    try:
        await world.play()
        left = await operator.run(_read(operator.store, world))
        await operator.run(_reconcile(operator.store, world))
        settled = await operator.run(_read(operator.store, world))
        return Outcome(plan=plan, history=world.history, left=left, settled=settled)
    finally:
        await operator.run(operator.end())
        world.close()


async def _read(store: Store, world: World) -> Ledger:
    """Everything, once the pings that nobody posted have given their slots back."""
    for campaign in ("auto", "direct"):
        await store.release_expired_holds(campaign, 1 << 60)
    pings = await store.audit.recent_pings(1_000)
    leads = await store.audit.recent_leads(1_000)
    return Ledger(
        pings={ping.ping_id: ping for ping in pings},
        leads=leads,
        in_flight=await store.audit.in_flight_leads(except_of=()),
        unresolved={lead.lead_id for lead in await store.audit.unresolved_leads()},
        used=world.counters(),
    )


async def _reconcile(store: Store, world: World) -> None:
    """Ask the buyers what became of the leads that nobody knows the end of, and say so."""
    takers = {(heard.buyer, heard.email) for heard in world.history.heard if heard.has_taken}
    for lead in await store.audit.unresolved_leads():
        open_at = {attempt.buyer for attempt in lead.attempts if attempt.outcome not in DEFINITE}
        has_it = any((buyer, lead.data["email"]) in takers for buyer in open_at)
        state = LeadState.DELIVERED if has_it else LeadState.FAILED
        try:
            await store.audit.resolve_lead(lead.lead_id, state, note="asked", now_ms=lead.updated_ms + 1)
        except StorageError as error:  # no counter goes below 0
            world.history.overdrawn.append(f"slots of {lead.lead_id} cannot be given back: {error}")


def belonging_to_its_life(loop: asyncio.AbstractEventLoop, story: Any, **given: Any) -> "asyncio.Task[Any]":
    """A task factory: who kills a life ends its tasks."""
    task: asyncio.Task[Any] = asyncio.Task(story, loop=loop, **given)
    context = given.get("context")
    life = context.get(life_of_now) if context else life_of_now.get()
    if life is not None:
        life.tasks.add(task)
        task.add_done_callback(life.tasks.discard)
    return task


@contextmanager
def memory_folder() -> Iterator[str]:
    """In memory where there is such a place: each commit is synced."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="simulation-", dir=memory if memory.is_dir() else None) as folder:
        yield folder


@contextmanager
def pretended(random: Random) -> Iterator[None]:
    """What would differ from run to run comes from here: chance, latencies, what is logged."""

    def reach(point: str) -> None:
        if life := life_of_now.get():
            life.reach(point)

    def token_hex(count: int | None = None) -> str:
        return random.randbytes(count or 16).hex()

    instead: tuple[tuple[Any, str, Any], ...] = (
        (secrets, "token_hex", token_hex),
        (secrets, "randbits", random.getrandbits),
        (time, "perf_counter", lambda: 0.0),
        (failpoints, "reach", reach),
        (telemetry, "_stream", io.StringIO()),
    )
    with ExitStack() as stack:
        for place, name, pretended in instead:
            stack.enter_context(patch.object(place, name, pretended))
        yield
