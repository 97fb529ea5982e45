"""Stage: the real exchange over a real SQLite file, in virtual time, one process at a time, with scripted buyers."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping
from contextlib import ExitStack
from random import Random
from typing import Any, TypeVar
from unittest.mock import patch

from lexchange import leases
from lexchange.call import Call, PingAnswer, PostAnswer
from lexchange.errors import RequestRefused
from lexchange.lead import Lead, LeadState
from lexchange.storage.sqlite import prepare
from tests.simulation.history import Heard
from tests.simulation.network import TAKEN, Buyers, Line
from tests.simulation.node import EPOCH_NS, Life, LineBroken, Node, life_of_now
from tests.simulation.plan import BUYERS, Plan, Rules
from tests.simulation.virtual_loop import VirtualLoop
from tests.simulation.world import World, belonging_to_its_life, catalog_of, memory_folder, pretended

Result = TypeVar("Result")
PLAN = Plan(seed=0, variant=0, acts=(), faults=())
HUNG_UP_S = 0.00101  # after an answer's first half: when the second has come, and before the next call
ARRIVED_S = 0.2  # by then every byte that has left is there
PATIENCE_S = 30.0
LEASE_OVER_S = 15.0


class ScriptedBuyers(Buyers):
    """Buyers who do what the next call's script says. A line carries one request."""

    pings: Mapping[str, int | str]
    posts: Mapping[str, str]

    def script(self, pings: Mapping[str, int | str], posts: Mapping[str, str]) -> None:
        """What each makes of the next call: a bid in micros or a fate, then a fate."""
        self.pings, self.posts = pings, posts
        self._asked: set[str] = set()

    async def connect(self, sock: Any, address: tuple[str, int]) -> None:
        """Connect, or be refused."""
        buyer = BUYERS[address[1] - 1]
        self._sockets.append(sock)
        await asyncio.sleep(0.002)
        is_ping = bool(self.pings) and buyer not in self._asked
        if (self.pings if is_ping else self.posts)[buyer] == "down":
            raise ConnectionRefusedError(111, "refused")
        self._reached[sock] = buyer

    def receive(self, buyer: str, line: Line, path: str, body: dict[str, Any]) -> None:
        """A request has arrived whole: note it, answer."""
        endpoint = path.removeprefix("/")
        self._asked.add(buyer)
        answer = self.pings[buyer] if endpoint == "ping" else self.posts[buyer]
        bid_micros, fate = (answer, "bid") if isinstance(answer, int) else (0, answer)
        self._history.hear(
            Heard(
                at_s=self._loop.time(),
                buyer=buyer,
                endpoint=endpoint,
                email=body["email"],
                delivery_id=str(body.get("delivery", "")),
                fate=fate,
                has_taken=endpoint == "post" and fate in TAKEN,
                has_refused=endpoint == "post" and fate == "reject",
                bid_micros=bid_micros,
                is_repeat=False,
            )
        )
        self._loop.call_later(0.01, self._act, line, fate, bid_micros, buyer)
        if fate not in ("hang", "accept_hang"):
            self._loop.call_later(0.01 + HUNG_UP_S, line.reset)


class Stage(World):
    """One process, an operator beside it, and what the buyers have heard."""

    buyers: ScriptedBuyers

    def __init__(self, rules: Rules, file: str) -> None:
        super().__init__(PLAN, file)
        self.buyers.close()
        self.buyers = ScriptedBuyers(PLAN, self.history)
        self.catalog = catalog_of(rules)
        self.operator = Life(self, "operator", self._wall_ns, lambda: 0)

    @property
    def node(self) -> Node:
        """The one process."""
        return self._nodes[0]

    @property
    def life(self) -> Life:
        """What runs on it."""
        assert self.node.life is not None
        return self.node.life

    def inspect(self) -> None:
        """What is stored is compared after each call, not after each commit."""

    def reload(self, rules: Rules) -> None:
        """As SIGHUP does."""
        self.catalog = self.life.exchange.catalog = catalog_of(rules)

    def _wall_ns(self) -> int:
        return EPOCH_NS + round(self.now_s * 1e9)


class Theatre:
    """A stage with its loop and its folder, for one example; nothing of it is left after `close`."""

    def __init__(self, rules: Rules) -> None:
        self._stack = ExitStack()
        self._random = Random(0)
        file = f"{self._stack.enter_context(memory_folder())}/store.db"
        prepare(file, 1_000)
        self._loop = VirtualLoop()
        self._stack.callback(self._loop.close)
        self._loop.set_task_factory(belonging_to_its_life)
        self._loop.set_exception_handler(lambda *_: None)  # killed tasks have nobody to tell
        self._is_elsewhere = False
        self.stage = self._run(self._open(rules, file))
        self.restart(is_elsewhere=False)

    async def _open(self, rules: Rules, file: str) -> Stage:
        stage = Stage(rules, file)
        self._loop.network = stage.buyers
        self._stack.callback(stage.close)
        return stage

    def close(self) -> None:
        """Kill what runs, and give everything back."""
        self._run(self._end())
        self._stack.close()

    async def _end(self) -> None:
        for life in filter(None, (self.stage.node.life, self.stage.operator)):
            life.kill("at the end")
        await asyncio.sleep(ARRIVED_S)

    @property
    def now_ms(self) -> int:
        """The wall's clock."""
        return self.stage._wall_ns() // 1_000_000

    # ---- what happens ----

    def ask(self, name: str, call: Call, dies_at: tuple[str, int]) -> PingAnswer | PostAnswer | RequestRefused | None:
        """The answer to a call; None when the process has died at its fail point, and is to be restarted."""
        life = self.stage.life
        life.kill_at = dies_at
        try:
            return self._run(self.stage.node.ask(name, call, PATIENCE_S))
        except RequestRefused as refused:
            return refused
        except LineBroken:
            assert life.is_dead, "no answer, though the process lives"
            return None
        finally:
            life.kill_at = ("", 0)
            self.wait(ARRIVED_S)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._run(asyncio.sleep(seconds))

    def kill(self) -> None:
        """As kill -9 does."""
        self.stage.life.kill("by the machine")
        self.wait(ARRIVED_S)

    def stop(self) -> None:
        """As SIGTERM does."""
        self._run(self.stage.node.stop())

    def restart(self, *, is_elsewhere: bool) -> None:
        """A new process, on the machine of the last one, which it can tell from a dead one, or on another."""
        self._is_elsewhere = is_elsewhere
        self._run(self.stage.node.start())

    def reconcile(self, lead_id: str, state: str) -> bool:
        """As `lexchange reconcile` does."""
        audit = self.stage.operator.store.audit
        return self._run(audit.resolve_lead(lead_id, LeadState(state), note="asked", now_ms=self.now_ms))

    # ---- what there is ----

    def leads(self) -> list[Lead]:
        """Every stored lead, the oldest first."""
        return self._run(self.stage.operator.store.audit.recent_leads(1_000))[::-1]

    def facts(self) -> dict[str, list[Any]]:
        """Everything that the model knows too."""
        audit = self.stage.operator.store.audit
        pings = self._run(audit.recent_pings(1_000))
        unknown = self._run(audit.unresolved_leads())
        return {
            "pings": sorted(
                (ping.data["email"], ping.state, ping.reason, ping.winner, ping.payout_micros) for ping in pings
            ),
            "leads": sorted(map(_lead_facts, self.leads())),
            "unresolved": sorted(lead.data["email"] for lead in unknown),
            "used": sorted(self._used().items()),
            "got": sorted((heard.buyer, heard.email) for heard in self.stage.history.heard if heard.endpoint == "post"),
        }

    def asked(self, email: str) -> list[str]:
        """Who heard of a ping."""
        heard = self.stage.history.heard
        return sorted(each.buyer for each in heard if each.endpoint == "ping" and each.email == email)

    def _used(self) -> Counter[str]:
        """What is used of each cap, and not only leased. A hold that has expired is given back as soon as one looks."""
        used = Counter(self.stage.counters())
        used.subtract(
            dict(self.stage._inspector.execute("SELECT counter, SUM(amount_left) FROM cap_leases GROUP BY 1"))
        )
        expired = "SELECT counter, amount FROM cap_holds WHERE expires_ms <= ?"
        for counter, amount in self.stage._inspector.execute(expired, (self.now_ms,)):
            used[counter] -= amount
        return +used

    def _run(self, story: Coroutine[Any, Any, Result]) -> Result:
        """Run it on the loop; outside of it chance and clocks are Hypothesis's own."""
        with pretended(self._random), patch.object(leases, "runs", self._runs):
            return self._loop.run_until_complete(story)

    def _runs(self, worker: str) -> bool | None:
        """What a process finds out about another: on its own machine all others are dead."""
        me = life_of_now.get()
        is_me = me is not None and me.worker == worker
        return True if is_me else None if self._is_elsewhere else False


def _lead_facts(lead: Lead) -> tuple[Any, ...]:
    return (
        lead.data["email"],
        lead.state.value,
        str(lead.reason),
        lead.buyer or "",
        lead.price_micros or 0,
        lead.payout_micros or 0,
        [(attempt.buyer, attempt.outcome.value) for attempt in lead.attempts],
    )
