"""Delivery: one attempt to hand a claimed lead to one buyer, and what its outcome means for the lead.

It never retries and never decides who is next. A lead counts as failed only if no byte can have left or the buyer
answered definitely; anything else is unknown, because the buyer may have it.
"""

import asyncio
import time

from lexchange import failpoints
from lexchange.breaker import Breaker
from lexchange.buyers.answers import Verdict
from lexchange.buyers.call import BuyerCall
from lexchange.buyers.client import BuyerAnswer, BuyerClient, BuyerFailure, FailureKind
from lexchange.buyers.connection import CLOCK_TICK_S
from lexchange.buyers.documents import answer_text
from lexchange.buyers.mapping import MappingValues, UnmappableLead
from lexchange.frozen import frozen, replace
from lexchange.lead import Attempt, AttemptOutcome, LeadState
from lexchange.reasons import Reason
from lexchange.telemetry import log_event


@frozen
class Meaning:
    """What an attempt's outcome makes of the lead, and what the source is told."""

    state: LeadState
    reason: Reason | None


MEANINGS: dict[AttemptOutcome, Meaning] = {
    AttemptOutcome.ACCEPTED: Meaning(state=LeadState.DELIVERED, reason=None),
    AttemptOutcome.REJECTED: Meaning(state=LeadState.REJECTED, reason=Reason.BUYER_REJECTED),
    AttemptOutcome.NOT_SENT: Meaning(state=LeadState.FAILED, reason=Reason.BUYER_DELIVERY_FAILED),
    AttemptOutcome.TIMED_OUT: Meaning(state=LeadState.UNKNOWN, reason=Reason.DOWNSTREAM_TIMEOUT),
    AttemptOutcome.BROKEN: Meaning(state=LeadState.UNKNOWN, reason=Reason.DOWNSTREAM_TIMEOUT),
    AttemptOutcome.INVALID_ANSWER: Meaning(state=LeadState.UNKNOWN, reason=Reason.DOWNSTREAM_INVALID_RESPONSE),
}

DEFINITE_ANSWERS = frozenset({AttemptOutcome.ACCEPTED, AttemptOutcome.REJECTED})

OUTCOMES = {
    Verdict.ACCEPTED: AttemptOutcome.ACCEPTED,
    Verdict.REJECTED: AttemptOutcome.REJECTED,
    Verdict.UNREADABLE: AttemptOutcome.INVALID_ANSWER,
}


async def deliver(
    attempt: Attempt, post: BuyerCall, values: MappingValues, *, client: BuyerClient, breaker: Breaker, deadline: float
) -> Attempt:
    """Post the lead to the buyer once; returns the attempt with its outcome. `deadline` is on the loop's clock."""
    loop = asyncio.get_running_loop()
    started_s = time.perf_counter()  # for the latency: the loop's clock may tick in milliseconds
    try:
        request = post.build(values)
    except UnmappableLead as error:
        return replace(attempt, outcome=AttemptOutcome.NOT_SENT, is_sent=False, latency_us=0, detail=str(error))
    admitted_at = loop.time()
    if not breaker.admit(admitted_at):
        why = f"breaker open: {breaker.told}"
        return replace(attempt, outcome=AttemptOutcome.NOT_SENT, is_sent=False, latency_us=0, detail=why)
    failpoints.reach("post_before_send")
    own_deadline = loop.time() + post.delivery.timeout_ms / 1000
    is_cut_short = False  # by the end of the whole delivery, which says nothing of the buyer
    try:
        answer = await client.send(request, deadline=min(deadline, own_deadline))
        latency_us = _since_us(started_s)
        is_timeout = isinstance(answer, BuyerFailure) and answer.kind is FailureKind.TIMEOUT
        is_cut_short = is_timeout and loop.time() < own_deadline - CLOCK_TICK_S
        if isinstance(answer, BuyerFailure):
            ended = _missed(attempt, answer, latency_us)
        else:
            ended = _heard(attempt, post, answer, latency_us)
    except Exception as error:  # noqa: BLE001 - bytes may have left: whatever breaks now, the buyer may have the lead
        log_event("post_answer_error", delivery_id=attempt.delivery_id, error=type(error).__name__)
        ended = replace(
            attempt,
            outcome=AttemptOutcome.INVALID_ANSWER,
            is_sent=True,
            latency_us=_since_us(started_s),
            detail="its answer could not be handled",
        )
    if not is_cut_short:
        breaker.record(ended.outcome in DEFINITE_ANSWERS, loop.time(), admitted_at)
    return ended


def _since_us(started_s: float) -> int:
    return round((time.perf_counter() - started_s) * 1_000_000)


def _missed(attempt: Attempt, failure: BuyerFailure, latency_us: int) -> Attempt:
    if not failure.is_sent:
        outcome = AttemptOutcome.NOT_SENT
    elif failure.kind is FailureKind.TIMEOUT:
        outcome = AttemptOutcome.TIMED_OUT
    elif failure.kind in (FailureKind.MALFORMED, FailureKind.TOO_LARGE):
        outcome = AttemptOutcome.INVALID_ANSWER
    else:
        outcome = AttemptOutcome.BROKEN
    detail = f"{failure.kind}: {failure.detail}"
    return replace(attempt, outcome=outcome, is_sent=failure.is_sent, latency_us=latency_us, detail=detail)


def _heard(attempt: Attempt, post: BuyerCall, answer: BuyerAnswer, latency_us: int) -> Attempt:
    reading = post.read(answer)
    return replace(
        attempt,
        outcome=OUTCOMES[reading.verdict],
        is_sent=True,
        latency_us=latency_us,
        detail=reading.reason,
        http_status=answer.status,
        answer=answer_text(answer.body, answer.content_type),
        price_micros=reading.price_micros,
    )
