"""History: what happened, as those saw it to whom it happened. The checker reads nothing else but the store."""

from dataclasses import dataclass, field

from lexchange.call import PingAnswer, PostAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a source heard: an answer, a refusal's reason, or nothing because the line broke."""

    act: int
    name: str  # ping, post or direct_post
    asked_s: float
    at_s: float
    answer: PingAnswer | PostAnswer | None = None
    refused: str = ""
    ping_id: str = ""  # of a post

    def __str__(self) -> str:
        if self.answer is None:
            said = self.refused or "nothing, the line broke"
        else:
            said = f"{self.answer.status} {self.answer.reason or ''} {self.ping_id or self._id()}".rstrip()
        return f"source {self.act} hears of its {self.name}: {said}"

    def _id(self) -> str:
        return getattr(self.answer, "ping_id", "") or getattr(self.answer, "lead_id", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a buyer got, from his own log."""

    at_s: float
    buyer: str
    endpoint: str
    email: str
    delivery_id: str
    fate: str
    has_taken: bool  # he keeps the lead, whatever he answers
    has_refused: bool  # he said so clearly, and in time
    bid_micros: int
    is_repeat: bool  # of a delivery that he knows; only one who declares it may be sent one

    def __str__(self) -> str:
        return f"{self.buyer} gets a {self.endpoint} of {self.email}: {self.fate} {self.delivery_id}".rstrip()


@dataclass
class History:
    """Of one run. `trace` is for people: (seconds, who, what), with the number of the lead or None."""

    told: list[Told] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    suspects: set[str] = field(default_factory=set)  # workers whose leads others may sweep
    is_anyone_suspect: bool = False
    overdrawn: list[str] = field(default_factory=list)  # counters seen above their limit or below 0
    leaked: list[str] = field(default_factory=list)  # tasks that outlived their node
    broken: list[str] = field(default_factory=list)  # lines of the log about what broke in the background
    trace: list[tuple[float, str]] = field(default_factory=list)

    def tell(self, told: Told) -> None:
        """A source heard something."""
        self.told.append(told)
        self.note(told.at_s, str(told))

    def hear(self, heard: Heard) -> None:
        """A buyer heard something."""
        self.heard.append(heard)
        self.note(heard.at_s, str(heard))

    def note(self, at_s: float, what: str) -> None:
        """Something worth a line in the trace."""
        self.trace.append((at_s, what))
