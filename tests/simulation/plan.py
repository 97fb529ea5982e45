"""Plan: everything a simulation does, drawn from its seed before it begins, so that parts of it can be left out.

To add a fault, name it in FaultKind, let `_fault` draw it, and let `world.py` bring it about.
"""

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any

import orjson

from lexchange.failpoints import POINTS

BUYERS = ("acme", "bright", "cobalt")
NODES = 2
VARIANTS = 48  # different campaigns
LASTS_S = 40.0  # when the last act begins
PING_TIMEOUT_S = 1.5
DUPLICATES_OF = "phone"
# Nodes of one store that are killed there leave something behind; a point that is never passed does nothing.
FAIL_POINTS = tuple(POINTS)


class FaultKind(StrEnum):
    """What goes wrong."""

    KILL = "kill"  # as by kill -9
    KILL_AT = "kill_at"  # the nth time that the node gets to a fail point
    STOP = "stop"  # as by SIGTERM
    STORE_FAILS = "store_fails"  # nothing is written or read
    STORE_UNSURE = "store_unsure"  # commits happen, and are reported as failed
    STORE_STALLS = "store_stalls"  # commits wait; longer than a lease at times
    CLOCK_JUMPS = "clock_jumps"
    BUYER_DOWN = "buyer_down"  # refuses connections


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The campaign's, as far as the checker needs them."""

    sell_to: int
    moves_on: bool
    cap: int | None  # leads in all, of each buyer
    source_cap: int | None
    budget: int | None  # whole currency units in all, of each buyer
    reserve: str
    mode: str
    duplicates: bool
    idempotent: tuple[str, ...]
    ping_ttl_s: int

    @classmethod
    def draw(cls, variant: int) -> "Rules":
        """The rules of a variant."""
        random = Random(f"rules:{variant}")
        return cls(
            sell_to=random.choice((1, 1, 1, 2)),
            moves_on=random.random() < 0.6,
            cap=random.choice((None, 2, 4, 8)),
            source_cap=random.choice((None, None, 6, 12)),
            budget=random.choice((None, None, 25)),
            reserve=random.choice(("post", "ping")),
            mode=random.choice(("highest_bid", "priority", "weighted", "round_robin")),
            duplicates=random.random() < 0.3,
            idempotent=tuple(buyer for buyer in BUYERS if random.random() < 0.3),
            ping_ttl_s=random.choice((5, 20, 60)),
        )

    def campaign_file(self) -> bytes:
        """Two campaigns, `auto` for pings and `direct` for direct posts, with a source each and a foreign one."""
        names = {"auto": ("ping_post", ("SRC_A", "SRC_FOREIGN")), "direct": ("direct_post", ("SRC_D",))}
        documents = [self._campaign(name, kind, sources) for name, (kind, sources) in names.items()]
        return b"\n---\n".join(orjson.dumps(document) for document in documents)

    def _campaign(self, name: str, traffic_type: str, sources: tuple[str, ...]) -> dict[str, Any]:
        caps: list[dict[str, Any]] = []
        if self.cap:
            caps.append({"window": "total", "limit": self.cap, "reserve": self.reserve})
        if self.budget:
            caps.append({"window": "total", "budget": self.budget})
        source_caps = [{"window": "total", "limit": self.source_cap}] if self.source_cap else []
        campaign: dict[str, Any] = {
            "campaign": name,
            "status": "active",
            "traffic_type": traffic_type,
            "routing": {
                "mode": self.mode,
                "ping_timeout_ms": round(PING_TIMEOUT_S * 1000),
                "post_timeout_ms": 5_000,
                "ping_ttl_s": self.ping_ttl_s,
                "sell_to": self.sell_to,
                "on_post_reject": "next_bidder" if self.moves_on else "stop",
            },
            "payout": {"mode": "revenue_share", "share": 0.5},
            "fields": [{"name": name, "required_on_ping": False} for name in ("city", "unique_identifier")],
            "sources": [
                {"src": src, "keys": [{"key": f"key of {src}"}], **({"caps": source_caps} if source_caps else {})}
                for src in sources
            ],
            "buyers": [self._buyer(buyer, port, caps) for port, buyer in enumerate(BUYERS, 1)],
        }
        if self.duplicates:
            campaign["duplicates"] = {"fields": [DUPLICATES_OF], "window_h": 24}
        return campaign

    def _buyer(self, name: str, port: int, caps: list[dict[str, Any]]) -> dict[str, Any]:
        fields = {"email": {"from": "lead.email"}}
        return {
            "buyer": name,
            "priority": port,
            **({"caps": caps} if caps else {}),
            "ping": {
                "url": f"http://127.0.0.1:{port}/ping",
                "timeout_ms": 800,
                "fields": fields,
                "ping_response_settings": {"accepted": {"path": "status", "equals": "ok"}, "bid_path": "bid"},
            },
            "post": {
                "url": f"http://127.0.0.1:{port}/post",
                "timeout_ms": 2_000,
                "idempotent": name in self.idempotent,
                "fields": fields | {"delivery": {"from": "delivery_id"}, "token": {"from": "ping_response.token"}},
                "post_response_settings": {
                    "accepted": {"path": "result", "equals": "sold"},
                    "rejected": {"path": "result", "equals": "rejected"},
                },
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One source with one lead: a ping and a post, or a direct post."""

    number: int
    at_s: float
    node: int
    person: int  # equal ones are duplicates
    is_direct: bool
    is_test: bool
    is_keyed: bool  # posts under an idempotency key
    is_foreign: bool  # another source posts it
    copies: int  # posts of it at once
    pause_s: float  # between ping and post
    deadline_s: float | None  # on the wire
    patience_s: float  # then it hangs up

    @property
    def email(self) -> str:
        """What the lead is known by, everywhere."""
        return f"lead.{self.number}@example.com"

    def __str__(self) -> str:
        kind = "direct post" if self.is_direct else f"ping, {self.copies} posts after {self.pause_s:.1f} s"
        marks = [name for name in ("test", "keyed", "foreign") if getattr(self, f"is_{name}")]
        return f"{self.at_s:7.3f} source {self.number}: {kind} {' '.join(marks)}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong, and for how long."""

    kind: FaultKind
    at_s: float
    lasts_s: float
    node: int
    point: str = ""
    nth: int = 0
    jump_s: int = 0
    buyer: str = ""

    def __str__(self) -> str:
        facts = {"node": self.node, "point": self.point, "nth": self.nth, "jump_s": self.jump_s, "buyer": self.buyer}
        told = " ".join(f"{name}={value}" for name, value in facts.items() if value)
        return f"{self.at_s:7.3f} fault: {self.kind} for {self.lasts_s:.1f} s {told}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole simulation."""

    seed: int
    variant: int
    acts: tuple[Act, ...]
    faults: tuple[Fault, ...]

    @property
    def rules(self) -> Rules:
        """Its campaign's."""
        return Rules.draw(self.variant)

    @classmethod
    def draw(cls, seed: int) -> "Plan":
        """The plan of a seed."""
        random = Random(f"plan:{seed}")
        acts = tuple(_act(random, number) for number in range(random.randint(10, 24)))
        faults = tuple(_fault(random) for _ in range(random.choice((0, 1, 2, 3, 5))))
        return cls(seed=seed, variant=random.randrange(VARIANTS), acts=acts, faults=faults)


def _act(random: Random, number: int) -> Act:
    return Act(
        number=number,
        at_s=random.uniform(0, LASTS_S),
        node=random.randrange(NODES),
        person=random.randrange(12),
        is_direct=random.random() < 0.3,
        is_test=random.random() < 0.08,
        is_keyed=random.random() < 0.5,
        is_foreign=random.random() < 0.06,
        copies=random.choice((1, 1, 1, 2, 3)),
        pause_s=random.choice((0.0, 0.2, 1.0, 4.9, 6.0)),
        deadline_s=random.choice((None, None, None, 0.4, 1.0, 3.0)),
        patience_s=random.choice((30.0, 30.0, 30.0, 0.1, 1.0)),
    )


def _fault(random: Random) -> Fault:
    kind = random.choice(list(FaultKind))
    return Fault(
        kind=kind,
        at_s=random.uniform(0, LASTS_S),
        lasts_s=random.choice((0.2, 2.0, 6.0, 14.0)),
        node=random.randrange(NODES),
        point=random.choice(FAIL_POINTS) if kind is FaultKind.KILL_AT else "",
        nth=random.randint(1, 6) if kind is FaultKind.KILL_AT else 0,
        jump_s=random.choice((-3600, -30, 30, 3600)) if kind is FaultKind.CLOCK_JUMPS else 0,
        buyer=random.choice(BUYERS) if kind is FaultKind.BUYER_DOWN else "",
    )
