"""What the exchange remembers of a ping and a lead, and the states they pass through.

These values are stored as they are; their field names are the stored names.
"""

from dataclasses import field
from enum import StrEnum

from lexchange.frozen import frozen, maker


class PingState(StrEnum):
    """Where a ping stands. Only `offered` can be posted, and only once."""

    OFFERED = "offered"
    NO_SALE = "no_sale"
    CLAIMED = "claimed"


class LeadState(StrEnum):
    """Where a lead stands.

    `claimed` and `sending` are passing states. `failed` is definite: no byte can have left.
    `unknown` means the buyer may have the lead; only an operator or an idempotent re-send resolves it.
    """

    CLAIMED = "claimed"
    SENDING = "sending"
    DELIVERED = "delivered"
    REJECTED = "rejected"
    FAILED = "failed"
    UNKNOWN = "unknown"


IN_FLIGHT = (LeadState.CLAIMED, LeadState.SENDING)

LEAD_TRANSITIONS: dict[LeadState, frozenset[LeadState]] = {
    LeadState.CLAIMED: frozenset({LeadState.SENDING, LeadState.REJECTED, LeadState.FAILED}),
    LeadState.SENDING: frozenset(
        # sending -> sending is the next attempt, at the next bidder
        {LeadState.SENDING, LeadState.DELIVERED, LeadState.REJECTED, LeadState.FAILED, LeadState.UNKNOWN}
    ),
    # unknown -> unknown is a re-send; only a buyer's own answer to one makes it rejected
    LeadState.UNKNOWN: frozenset({LeadState.UNKNOWN, LeadState.DELIVERED, LeadState.REJECTED, LeadState.FAILED}),
    LeadState.DELIVERED: frozenset(),
    LeadState.REJECTED: frozenset(),
    LeadState.FAILED: frozenset(),
}


class PingOutcome(StrEnum):
    """What a buyer did in an auction."""

    NOT_ASKED = "not_asked"
    BID = "bid"
    NO_BID = "no_bid"  # refused, or accepted without a bid that can be used: there is none, or no budget left for it
    BELOW_FLOOR = "below_floor"  # under min_bid, or not enough for the source's payout
    INVALID_ANSWER = "invalid_answer"
    UNREACHABLE = "unreachable"  # address, DNS, connect, TLS, reset
    TIMED_OUT = "timed_out"
    OPEN = "open"  # still asked when the answer left; becomes late or timed_out
    LATE = "late"


class SkipReason(StrEnum):
    """Why a buyer was not asked. The first that applies is kept."""

    PAUSED = "paused"
    SOURCE_EXCLUDED = "source_excluded"
    CLOSED = "closed"  # outside his schedule
    FILTERED = "filtered"
    CAP_REACHED = "cap_reached"
    DUPLICATE = "duplicate"
    PING_LIMIT = "ping_limit"
    NO_TIME = "no_time"  # the caller's deadline leaves less than the smallest ping time-out
    UNMAPPABLE = "unmappable"  # the lead's values cannot be written into his format
    BREAKER_OPEN = "breaker_open"  # his endpoint fails, so it is left alone for a while


@frozen
class BuyerPing:
    """One buyer's part in an auction: asked or not, what he answered, how long it took."""

    buyer: str
    outcome: PingOutcome
    skip: SkipReason | None = None
    detail: str = ""  # the failed rule, the error, the buyer's own reason
    bid_micros: int | None = None
    worth_micros: int | None = None  # what his bid counted for, where it is adjusted
    payout_micros: int | None = None  # what the source was promised for him, where several share the lead
    asked_ms: int | None = None  # epoch ms
    latency_us: int | None = None
    http_status: int | None = None
    answer: str | None = None  # raw text; whole for a bidder, else cut to the audit limit
    content_type: str = ""


make_buyer_ping = maker(BuyerPing)


@frozen
class Ping:
    """A stored ping with its whole auction."""

    ping_id: str
    campaign: str
    src: str
    is_test: bool
    created_ms: int
    expires_ms: int
    state: PingState
    config_version: str
    reason: str = ""  # why there was no sale
    detail: str = ""
    winner: str | None = None  # the best one, where several share the lead
    winners: list[str] = field(default_factory=list)  # all of them, where several may
    bid_micros: int | None = None
    payout_micros: int | None = None
    payout_rule: str = ""  # what made the payout of the bid, e.g. revenue_share 0.85
    routing_mode: str = ""
    seed: int = 0  # what the weighted draw used
    turns: dict[str, int] = field(default_factory=dict)  # round_robin: last sale of each buyer, epoch ms
    repeat_key: str | None = None
    lead_id: str | None = None
    data: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)  # names of fields the schema does not know
    problems: list[dict[str, str]] = field(default_factory=list)
    buyers: list[BuyerPing] = field(default_factory=list)


class AttemptOutcome(StrEnum):
    """What became of one attempt to hand a lead to a buyer."""

    SENDING = "sending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"  # no byte can have left
    TIMED_OUT = "timed_out"  # unknown
    BROKEN = "broken"  # bytes left, then the connection broke: unknown
    INVALID_ANSWER = "invalid_answer"  # unknown


@frozen
class Attempt:
    """One attempt to hand a lead to a buyer."""

    delivery_id: str
    buyer: str
    bid_micros: int
    payout_micros: int = 0  # what the source earns if he takes it
    outcome: AttemptOutcome = AttemptOutcome.SENDING
    started_ms: int
    latency_us: int | None = None
    is_sent: bool | None = None  # whether a byte may have left; None while sending
    detail: str = ""
    http_status: int | None = None
    answer: str | None = None
    price_micros: int | None = None  # the buyer's final price, where his post answer names one
    resends: int = 0  # how often it was sent again to learn its outcome


@frozen
class CapTake:
    """One slot (or sum of micros) of a cap: granted only while the counter stays at or below `limit`."""

    counter: str
    amount: int
    limit: int


@frozen
class Fingerprint:
    """What makes a lead a duplicate of another: the same digest in the same scope, created at or after `since_ms`.

    `scope_key` is empty for a whole campaign, else it names the source or buyer among whose leads one is looked for.
    """

    campaign: str
    scope_key: str
    digest: str
    since_ms: int


@frozen
class Lead:
    """A stored lead with every attempt to deliver it."""

    lead_id: str
    ping_id: str | None  # None: direct post
    campaign: str
    src: str
    is_test: bool
    created_ms: int
    updated_ms: int
    state: LeadState
    config_version: str
    reason: str = ""
    detail: str = ""
    delivery_id: str | None = None  # of the attempt that decided it, and until then the last
    buyer: str | None = None
    price_micros: int | None = None  # what the buyer owes, once delivered; the buyers, where several share the lead
    payout_micros: int | None = None  # what the source earns, once delivered; promised before
    payout_rule: str = ""
    routing_mode: str = ""
    seed: int = 0
    turns: dict[str, int] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    problems: list[dict[str, str]] = field(default_factory=list)
    buyers: list[BuyerPing] = field(default_factory=list)  # the auction, on a direct post
    attempts: list[Attempt] = field(default_factory=list)
    takes: list[CapTake] = field(default_factory=list)  # cap slots the lead holds now
    worker: str = ""  # the process that sends it
    data_purged_ms: int | None = None  # when its values and the buyers' own words went, in epoch ms

    @property
    def takers(self) -> list[str]:
        """The buyers who are known to have taken it. A shared lead has some while another's outcome is unknown."""
        return [attempt.buyer for attempt in self.attempts if attempt.outcome is AttemptOutcome.ACCEPTED]
