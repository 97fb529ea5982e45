"""Gates: the breakers of all buyers of this process, kept over reloads of the configuration. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from lexchange.breaker import CLOSED, Breaker, BreakerRule, BreakerStage

OnGateChange = Callable[[str, BreakerStage, Breaker], None]  # whose: the owner that the gate was asked for by


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What one buyer may be sent just now."""

    ping: Breaker
    post: Breaker

    def why_shut(self, now: float) -> str:
        """Why he should not be asked for a bid; empty when he may be. A bid is of no use when posts fail."""
        if self.ping.state is CLOSED and self.post.state is CLOSED:
            return ""
        if self.ping.stops(now):
            return f"his pings: {self.ping.told}"
        if self.post.stops(now):
            return f"his posts: {self.post.told}"
        return ""


class Gates:
    """Every buyer's gate, by the owner of his cap counters. `on_change` hears of every change of state."""

    def __init__(self, on_change: OnGateChange) -> None:
        self._on_change = on_change
        self._gates: dict[str, Gate] = {}

    def gate(self, owner: str, rule: BreakerRule) -> Gate:
        """His gate, under the rule of the configuration in force."""
        gate = self._gates.get(owner)
        if gate is None:
            gate = self._gates[owner] = Gate(
                ping=self._breaker(owner, BreakerStage.PING, rule), post=self._breaker(owner, BreakerStage.POST, rule)
            )
        elif gate.ping.rule is not rule:
            gate.ping.rule = gate.post.rule = rule
        return gate

    def _breaker(self, owner: str, stage: BreakerStage, rule: BreakerRule) -> Breaker:
        return Breaker(rule, lambda breaker: self._on_change(owner, stage, breaker))
