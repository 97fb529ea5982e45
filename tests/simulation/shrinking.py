"""Shrinking: the shortest plan that still breaks a promise, and its story for people."""

from collections.abc import Iterator
from dataclasses import replace

from tests.simulation.checker import check
from tests.simulation.plan import Plan
from tests.simulation.world import Outcome, play


def shrink(plan: Plan, promise: str) -> Plan:
    """Leave out faults and sources, one after the other, as long as the same promise is broken."""
    is_shorter = True
    while is_shorter:
        is_shorter = False
        for shorter in _shorter(plan):
            if any(violation.promise == promise for violation in check(play(shorter))):
                plan, is_shorter = shorter, True
                break
    return plan


def _shorter(plan: Plan) -> Iterator[Plan]:
    for half in (plan.acts[: len(plan.acts) // 2], plan.acts[len(plan.acts) // 2 :]):
        if 0 < len(half) < len(plan.acts):
            yield replace(plan, acts=half)
    for place in range(len(plan.faults)):
        yield replace(plan, faults=plan.faults[:place] + plan.faults[place + 1 :])
    for place in range(len(plan.acts)):
        if len(plan.acts) > 1:
            yield replace(plan, acts=plan.acts[:place] + plan.acts[place + 1 :])


def story(outcome: Outcome) -> list[str]:
    """What was planned, then what happened, with virtual seconds."""
    plan = outcome.plan
    return [
        f"seed {plan.seed}, variant {plan.variant}: {plan.rules}",
        *sorted(map(str, (*plan.acts, *plan.faults))),
        "",
        *(f"{at_s:8.3f} {what}" for at_s, what in outcome.history.trace),
    ]
