"""Model: what the exchange must answer, store and send, in plain Python and without a line of the exchange.

It follows from the contract: `docs/api.md`, `docs/architecture.md` (states), `docs/guarantees.md`. Every call is a
story that yields the name of each fail point as it passes it, so that a process which dies there is a story that is
not told to its end. Cap counters are not kept but counted: a slot is taken by whoever has the lead, may have it, or is
promised it.
"""

from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.simulation.plan import BUYERS, Rules

MICROS = 1_000_000
TEST_PAYOUT = MICROS
HOLDING = ("sending", "delivered", "unknown")  # states in which the slots stay taken
SOURCES = {"auto": "SRC_A", "direct": "SRC_D"}

# What a buyer makes of a post: the attempt's outcome, the lead's state, and what the source is told.
ENDS = {
    "accept": ("accepted", "delivered", ""),
    "reject": ("rejected", "rejected", "buyer_rejected"),
    "down": ("not_sent", "failed", "buyer_delivery_failed"),
    "hang": ("timed_out", "unknown", "downstream_timeout"),
    "accept_hang": ("timed_out", "unknown", "downstream_timeout"),
    "accept_reset": ("broken", "unknown", "downstream_timeout"),
    "accept_garbage": ("invalid_answer", "unknown", "downstream_invalid_response"),
    "error": ("invalid_answer", "unknown", "downstream_invalid_response"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a source hears. `lead` is the e-mail of the lead whose id it is told."""

    status: str
    reason: str = ""
    payout: int = 0
    outcome: str = ""
    lead: str = ""


Story = Generator[str, None, Told]


@dataclass(kw_only=True)
class Lead:
    """A stored lead."""

    email: str
    phone: str
    campaign: str
    is_test: bool = False
    state: str = "rejected"
    reason: str = ""
    bid: int | None = None
    payout: int | None = None
    attempts: list[tuple[str, str]] = field(default_factory=list)  # buyer, outcome

    @property
    def buyer(self) -> str | None:
        """Who has it, may have it, or was asked last."""
        return self.attempts[-1][0] if self.attempts else None

    def start(self, buyer: str, bid: int, payout: int) -> None:
        """His turn, durable before he hears of it."""
        self.state, self.bid, self.payout = "sending", bid, payout
        self.attempts.append((buyer, "sending"))

    def end(self, outcome: str) -> None:
        """Write down what came of the last attempt."""
        self.attempts[-1] = (self.attempts[-1][0], outcome)


@dataclass(kw_only=True)
class Ping:
    """A stored ping. `bids` are in order, best first."""

    email: str
    phone: str
    expires_ms: int
    is_test: bool = False
    reason: str = ""
    bids: dict[str, int] = field(default_factory=dict)
    payout: int | None = None
    lead: Lead | None = None

    @property
    def winner(self) -> str | None:
        """Who has to keep his promise."""
        return next(iter(self.bids), None)

    @property
    def state(self) -> str:
        """Where it stands."""
        return "no_sale" if self.reason else "claimed" if self.lead else "offered"

    def is_offered(self, now_ms: int) -> bool:
        """Whether it may be posted now."""
        return self.state == "offered" and now_ms < self.expires_ms


@dataclass(kw_only=True)
class Key:
    """What is remembered of the first call under an idempotency key."""

    body: object
    answer: Told | None = None
    lead: Lead | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One post (of a ping's lead) or direct post, and what each buyer makes of it."""

    src: str
    email: str
    phone: str
    now_ms: int
    fates: Mapping[str, str]
    bids: Mapping[str, int | str] = field(default_factory=dict)  # of a direct post's own auction
    is_test: bool = False
    is_direct: bool = False
    key: str = ""
    note: str = ""  # any difference in the body

    @property
    def campaign(self) -> str:
        """Where it is sold."""
        return "direct" if self.is_direct else "auto"


class Model:
    """The whole state. `got` is the buyers' log of posts."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.pings: dict[str, Ping] = {}
        self.leads: list[Lead] = []
        self.keys: dict[tuple[str, str], Key] = {}
        self.got: list[tuple[str, str]] = []

    # ---- caps and duplicates ----

    def used(self, now_ms: int) -> Counter[str]:
        """What is taken of each counter."""
        used: Counter[str] = Counter()
        for lead in self.leads:
            if lead.state in HOLDING and not lead.is_test:
                used.update(self._source_takes(lead.campaign))
                used.update(self._buyer_takes(lead.campaign, lead.buyer or "", lead.bid or 0))
        for ping in self.pings.values():
            if ping.is_offered(now_ms) and not ping.is_test and self.rules.reserve == "ping" and self.rules.cap:
                used[f"auto:buyer:{ping.winner}:leads:total:all"] += 1
        return used

    def _source_takes(self, campaign: str) -> dict[str, int]:
        return {f"{campaign}:source:{SOURCES[campaign]}:leads:total:all": 1} if self.rules.source_cap else {}

    def _buyer_takes(self, campaign: str, buyer: str, bid: int) -> dict[str, int]:
        counts = {f"{campaign}:buyer:{buyer}:leads:total:all": 1} if self.rules.cap else {}
        return counts | ({f"{campaign}:buyer:{buyer}:money:total:all": bid} if self.rules.budget else {})

    def _fits(self, takes: Mapping[str, int], used: Mapping[str, int]) -> bool:
        limits = {"money": (self.rules.budget or 0) * MICROS, "buyer": self.rules.cap, "source": self.rules.source_cap}
        for counter, amount in takes.items():
            limit = limits["money" if ":money:" in counter else counter.split(":")[1]] or 0
            if used[counter] + amount > limit:
                return False
        return True

    def _refusal(self, campaign: str, phone: str, now_ms: int) -> str:
        """Why the lead may not be sold to anybody."""
        sold = [each for each in self.leads if each.state in HOLDING and each.campaign == campaign and not each.is_test]
        if self.rules.duplicates and any(each.phone == phone for each in sold):
            return "duplicate_lead"
        return "" if self._fits(self._source_takes(campaign), self.used(now_ms)) else "source_cap_reached"

    # ---- calls ----

    def ping(self, ping: Ping, answers: Mapping[str, int | str], now_ms: int) -> Story:
        """Offer it to every buyer who has room for one more lead."""
        if ping.is_test:
            ping.payout = TEST_PAYOUT
            self.pings[ping.email] = ping
            return Told(status="accepted", payout=ping.payout)
        ping.reason = self._refusal("auto", ping.phone, now_ms)
        if not ping.reason:
            ping.bids = yield from self._auction("auto", answers, now_ms)
            ping.reason = "" if ping.bids else "no_eligible_buyer"
        if ping.reason:
            self.pings[ping.email] = ping
            return Told(status="rejected", reason=ping.reason)
        ping.payout = _payout(ping.bids[ping.winner or ""])
        yield "ping_before_record"
        self.pings[ping.email] = ping
        yield "ping_recorded"
        return Told(status="accepted", payout=ping.payout)

    def _auction(
        self, campaign: str, answers: Mapping[str, int | str], now_ms: int
    ) -> Generator[str, None, dict[str, int]]:
        """The bids, best first; of equal ones that of the lower priority number."""
        used = self.used(now_ms)
        asked = [buyer for buyer in BUYERS if self._fits(self._buyer_takes(campaign, buyer, 1), used)]
        for buyer in asked:
            if answers[buyer] != "down":
                yield "request_sent"
        bids = {buyer: bid for buyer in asked if isinstance(bid := answers[buyer], int)}
        return dict(sorted(bids.items(), key=lambda each: -each[1]))

    def post(self, post: Post) -> Story:
        """Once for each idempotency key."""
        if not post.key:
            return (yield from self._story(post, None))
        body = (post.email, post.phone, post.is_test, post.note)
        known = self.keys.get((post.src, post.key))
        if known is None:
            known = self.keys[post.src, post.key] = Key(body=body)
            answer = yield from self._story(post, known)
            yield "answer_before_remember"
            known.answer = answer
            yield "answer_remembered"
            return answer
        if known.body != body:
            return Told(status="error", reason="idempotency_key_reused")
        if known.answer is None and (known.lead is None or known.lead.state == "sending"):
            return Told(status="error", reason="request_in_flight")
        return known.answer or _settled(known.lead)

    def _story(self, post: Post, key: Key | None) -> Story:
        lead = Lead(email=post.email, phone=post.phone, campaign=post.campaign, is_test=post.is_test)
        ping = None if post.is_direct else self.pings.get(post.email)
        if not post.is_direct:
            if ping is None or post.src != SOURCES["auto"] or ping.is_test != post.is_test or ping.reason:
                return Told(status="rejected", reason="invalid_ping_id")
            if ping.lead:
                return _already_posted(ping.lead)
            if not ping.is_offered(post.now_ms):
                return Told(status="rejected", reason="invalid_ping_id")
        if post.is_test:
            lead.state, lead.payout = "delivered", TEST_PAYOUT
            self._store(lead, ping, key)
            return _settled(lead)
        reason = self._refusal(post.campaign, post.phone, post.now_ms)
        if not reason:
            offers = yield from self._offers(post, ping)
            reason = yield from self._sell(lead, offers, post, ping, key)
        if reason and ping:
            return Told(status="rejected", reason=reason)
        if reason:
            lead.reason = reason
            self._store(lead, None, key)
        return _settled(lead)

    def _store(self, lead: Lead, ping: Ping | None, key: Key | None) -> None:
        """The claim."""
        self.leads.append(lead)
        if ping:
            ping.lead = lead
        if key:
            key.lead = lead

    def _offers(self, post: Post, ping: Ping | None) -> Generator[str, None, dict[str, tuple[int, int]]]:
        """Bid and payout of each who may have it, in order."""
        if ping is None:
            bids = yield from self._auction("direct", post.bids, post.now_ms)
            return {buyer: (bid, _payout(bid)) for buyer, bid in bids.items()}
        promised = ping.payout or 0
        followers = {buyer: bid for buyer, bid in ping.bids.items() if bid >= promised and self.rules.moves_on}
        winner = {ping.winner or "": ping.bids[ping.winner or ""]}
        return {buyer: (bid, promised) for buyer, bid in (winner | followers).items()}

    def _sell(
        self, lead: Lead, offers: dict[str, tuple[int, int]], post: Post, ping: Ping | None, key: Key | None
    ) -> Generator[str, None, str]:
        """Claim it for the first who has room, and go on as long as it may; returns why nobody could have it."""
        waiting = list(offers)
        while True:
            if not waiting:
                return "no_eligible_buyer"
            buyer = waiting.pop(0)
            yield "claim_before"
            if self._has_room(buyer, offers[buyer][0], post, ping):
                break
            if ping:
                return "no_eligible_buyer"
        lead.start(buyer, *offers[buyer])
        self._store(lead, ping, key)
        yield "claim_committed"
        moves_on = ("reject", "down") if post.is_direct else ("reject",) if self.rules.moves_on else ()
        while True:
            yield from self._deliver(lead, post.fates[buyer])
            outcome, state, reason = ENDS[post.fates[buyer]]
            following = ""
            while waiting and not following and post.fates[buyer] in moves_on:
                following = waiting.pop(0)
                yield "attempt_before"
                if not self._has_room(following, offers[following][0], post, None):
                    following = ""
            lead.end(outcome)
            if not following:
                lead.state, lead.reason = state, reason
                yield "finish_committed"
                return ""
            buyer = following
            lead.start(buyer, *offers[buyer])
            yield "attempt_committed"

    def _has_room(self, buyer: str, bid: int, post: Post, ping: Ping | None) -> bool:
        used = self.used(post.now_ms)
        if ping and self.rules.reserve == "ping":
            used[f"auto:buyer:{ping.winner}:leads:total:all"] -= 1  # kept for this one
        return self._fits(self._buyer_takes(post.campaign, buyer, bid), used)

    def _deliver(self, lead: Lead, fate: str) -> Generator[str, None, None]:
        yield "post_before_send"
        if fate != "down":
            self.got.append((lead.buyer or "", lead.email))
            yield "request_sent"
        yield "post_answered"

    # ---- what else happens ----

    def sweep(self) -> None:
        """A process has died: nobody knows what became of its leads, and what it had not begun may be begun again."""
        for lead in self.leads:
            if lead.state == "sending":
                lead.state, lead.reason = "unknown", "downstream_timeout"
                lead.end("broken")
        self.keys = {key: known for key, known in self.keys.items() if known.answer or known.lead}

    def reconcile(self, lead: Lead, state: str) -> bool:
        """An operator's word, where nobody knows better."""
        if lead.state != "unknown":
            return False
        lead.state, lead.reason = state, "" if state == "delivered" else lead.reason
        return True

    def edit_caps(self, cap: int, source_cap: int) -> None:
        """Another configuration; what is used stays used."""
        rules = self.rules
        self.rules = replace(rules, cap=rules.cap and cap, source_cap=rules.source_cap and source_cap)

    def facts(self, now_ms: int) -> dict[str, list[Any]]:
        """Everything that the store and the buyers must show."""
        return {
            "pings": sorted(
                (each.email, each.state, each.reason, each.winner, each.payout) for each in self.pings.values()
            ),
            "leads": sorted(
                (each.email, each.state, each.reason, each.buyer or "", each.bid or 0, each.payout or 0, each.attempts)
                for each in self.leads
            ),
            "unresolved": sorted(each.email for each in self.leads if each.state in ("sending", "unknown")),
            "used": sorted((+self.used(now_ms)).items()),
            "got": sorted(self.got),
        }


def follow(story: Story, dies_at: tuple[str, int]) -> Told | None:
    """Tell a story to its end, or until it gets to a point for the nth time: then nobody is told anything."""
    point, left = dies_at
    try:
        while True:
            left -= next(story) == point
            if point and left == 0:
                return None
    except StopIteration as end:
        told: Told = end.value
        return told


def _payout(bid: int) -> int:
    return bid // 2


def _settled(lead: Lead | None) -> Told:
    assert lead is not None
    if lead.state == "delivered":
        payout = (lead.payout or 0) if lead.campaign == "direct" else 0
        return Told(status="delivered", payout=payout, lead=lead.email)
    went_wrong = lead.reason == "buyer_delivery_failed" or lead.reason.startswith("downstream")
    return Told(status="failed" if went_wrong else "rejected", reason=lead.reason, lead=lead.email)


def _already_posted(lead: Lead) -> Told:
    outcome = {"sending": "in_progress", "unknown": "failed"}.get(lead.state, lead.state)
    return Told(status="rejected", reason="ping_id_already_consumed", outcome=outcome, lead=lead.email)
