"""What the store's verbs take and answer besides pings and leads."""

from enum import StrEnum

from lexchange.frozen import frozen


class ClaimOutcome(StrEnum):
    """How `claim_lead` ended. Everything but `claimed` has changed nothing."""

    CLAIMED = "claimed"
    ALREADY_CLAIMED = "already_claimed"
    NOT_OFFERED = "not_offered"  # unknown, expired, foreign, no sale, or of the other kind (test, live)
    CAP_FULL = "cap_full"
    DUPLICATE = "duplicate"
    CALL_TAKEN_OVER = "call_taken_over"  # by a repeat under the same idempotency key


@frozen
class ClaimResult:
    """`lead_id` is the other lead: the first one of the ping, or the one that this would duplicate.

    A duplicate may have ended unsold by the time it is looked up; its `lead_id` is then None.
    """

    outcome: ClaimOutcome
    counter: str = ""  # the full cap's
    scope_key: str = ""  # the duplicate's
    lead_id: str | None = None


class StartOutcome(StrEnum):
    """How `start_attempt` ended. Everything but `started` has changed nothing: no byte may leave."""

    STARTED = "started"
    ENDED = "ended"  # somebody else has brought the lead to its end
    CAP_FULL = "cap_full"
    DUPLICATE = "duplicate"


@frozen
class StartResult:
    """`counter` names the full cap, `scope_key` the scope of the duplicate."""

    outcome: StartOutcome
    counter: str = ""
    scope_key: str = ""


class CallOutcome(StrEnum):
    """What `begin_call` found under an idempotency key."""

    NEW = "new"
    REPLAY = "replay"  # answered before, with the same body
    REUSED = "reused"  # taken by another body
    IN_FLIGHT = "in_flight"


@frozen
class CallStart:
    """`answer` is a replay's, byte for byte; `lead_id` the lead of a call in flight that has claimed one."""

    outcome: CallOutcome
    answer: bytes = b""
    lead_id: str | None = None


@frozen
class CallMark:
    """A running call under its idempotency key, as `begin_call` has marked it."""

    idempotency_key: str
    begun_ms: int


@frozen
class BreakerRow:
    """The latest word on one of a buyer's breakers. Stage and state are those of `breaker.py`."""

    campaign: str
    buyer: str
    stage: str
    state: str
    is_enforced: bool
    why: str
    changed_ms: int
    retry_ms: int | None = None  # while open: when a call may find out whether he is back


ANY_GENERATION = 1 << 62  # no configuration ever gets so far


@frozen
class CurrentConfig:
    """The configuration in force. `generation` counts up with each change, `node` is who made it."""

    generation: int
    version: str
    published_ms: int
    node: str


@frozen
class ConfigVersion:
    """A configuration that was in force once. Of one from before documents were kept there are none."""

    version: str
    loaded_ms: int
    summary: str
    has_documents: bool
