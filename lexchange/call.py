"""One call of a source and its answer, whatever the protocol it came by."""

from collections.abc import Mapping
from enum import StrEnum

from lexchange.frozen import frozen
from lexchange.reasons import Reason


@frozen
class Call:
    """What a source sent. `deadline` is on the event loop's clock; None leaves the campaign's time-outs alone."""

    src: str
    key: str
    data: Mapping[str, str]
    ping_id: str = ""
    idempotency_key: str = ""
    deadline: float | None = None


class Status(StrEnum):
    """The business answer."""

    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    REJECTED = "rejected"
    FAILED = "failed"


class Outcome(StrEnum):
    """What became of the first post of a ping_id that is posted again."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"


@frozen
class FieldProblem:
    """One problem of one field: a stable code, and what was expected in a sentence."""

    field: str
    code: str
    message: str


@frozen
class PingAnswer:
    """The answer to a ping. `payout_micros` is what the source earns if the lead is delivered."""

    status: Status
    reason: Reason | None = None
    message: str = ""
    problems: tuple[FieldProblem, ...] = ()
    ping_id: str = ""
    payout_micros: int = 0


@frozen
class PostAnswer:
    """The answer to a post or a direct post. `payout_micros` is set on a delivered direct post only."""

    status: Status
    reason: Reason | None = None
    message: str = ""
    problems: tuple[FieldProblem, ...] = ()
    lead_id: str = ""
    delivery_id: str = ""
    outcome: Outcome | None = None
    payout_micros: int = 0
