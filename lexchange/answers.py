"""Answers to sources, built from what was decided. Buyer names, bids and raw answers never enter one."""

import orjson

from lexchange.call import FieldProblem, Outcome, PingAnswer, PostAnswer, Status
from lexchange.lead import Lead, LeadState, Ping
from lexchange.reasons import Kind, Reason

OUTCOMES = {
    LeadState.CLAIMED: Outcome.IN_PROGRESS,
    LeadState.SENDING: Outcome.IN_PROGRESS,
    LeadState.DELIVERED: Outcome.DELIVERED,
    LeadState.REJECTED: Outcome.REJECTED,
    LeadState.FAILED: Outcome.FAILED,
    LeadState.UNKNOWN: Outcome.FAILED,
}


def offered(ping: Ping) -> PingAnswer:
    """A buyer wants the lead."""
    return PingAnswer(status=Status.ACCEPTED, ping_id=ping.ping_id, payout_micros=ping.payout_micros or 0)


def no_sale(reason: Reason, problems: tuple[FieldProblem, ...] = ()) -> PingAnswer:
    """Nobody wants the lead, or nobody may. `problems` are told where they are the reason."""
    told = problems if reason is Reason.SCHEMA_VALIDATION_FAILED else ()
    return PingAnswer(status=Status.REJECTED, reason=reason, message=reason.message, problems=told)


def rejected_post(reason: Reason, problems: tuple[FieldProblem, ...] = ()) -> PostAnswer:
    """The lead was not accepted for sale; no row exists. `problems` are told where they are the reason."""
    told = problems if reason is Reason.SCHEMA_VALIDATION_FAILED else ()
    return PostAnswer(status=Status.REJECTED, reason=reason, message=reason.message, problems=told)


def already_posted(lead: Lead) -> PostAnswer:
    """The ping_id was posted before; tells what became of that post."""
    reason = Reason.PING_ID_ALREADY_CONSUMED
    return PostAnswer(
        status=Status.REJECTED,
        reason=reason,
        message=reason.message,
        lead_id=lead.lead_id,
        delivery_id=lead.delivery_id or "",
        outcome=Outcome.DELIVERED if _is_delivered(lead) else OUTCOMES[lead.state],
    )


def settled(lead: Lead) -> PostAnswer:
    """What became of a lead. A direct post also tells the payout, since no ping told it before."""
    lead_id, delivery_id = lead.lead_id, lead.delivery_id or ""
    if _is_delivered(lead):
        payout_micros = (lead.payout_micros or 0) if lead.ping_id is None else 0
        return PostAnswer(
            status=Status.DELIVERED, lead_id=lead_id, delivery_id=delivery_id, payout_micros=payout_micros
        )
    reason = Reason(lead.reason)
    return PostAnswer(
        status=Status.REJECTED if reason.kind is Kind.REJECTED else Status.FAILED,
        reason=reason,
        message=reason.message,
        lead_id=lead_id,
        delivery_id=delivery_id,
    )


def _is_delivered(lead: Lead) -> bool:
    """A shared lead is, as soon as one buyer has it and no other is being tried."""
    return lead.state is LeadState.DELIVERED or (lead.state is LeadState.UNKNOWN and bool(lead.takers))


def still_delivering(lead: Lead | None) -> PostAnswer:
    """The caller's deadline ended before the buyer answered; the delivery goes on."""
    reason = Reason.DOWNSTREAM_TIMEOUT
    message = "your deadline ended before the buyer answered; the delivery goes on, post again to learn its outcome"
    return _failed(lead, reason, message) if lead else PostAnswer(status=Status.FAILED, reason=reason, message=message)


def unrecorded(lead: Lead) -> PostAnswer:
    """The buyer was called, and then the store failed: the lead stays in flight until somebody finds out."""
    reason = Reason.DOWNSTREAM_TIMEOUT
    message = "the outcome of the delivery could not be recorded; it is kept for an operator to find out"
    return _failed(lead, reason, message)


def dump_answer(answer: PostAnswer) -> bytes:
    """The form an answer is remembered in for its idempotency key."""
    return orjson.dumps(answer)


def _failed(lead: Lead, reason: Reason, message: str) -> PostAnswer:
    return PostAnswer(
        status=Status.FAILED,
        reason=reason,
        message=message,
        lead_id=lead.lead_id,
        delivery_id=lead.delivery_id or "",
    )


def load_answer(text: bytes) -> PostAnswer:
    """The remembered answer, equal to the first to the last byte once encoded."""
    record = orjson.loads(text)
    return PostAnswer(
        status=Status(record["status"]),
        reason=Reason(record["reason"]) if record["reason"] else None,
        message=record["message"],
        problems=tuple(FieldProblem(**problem) for problem in record["problems"]),
        lead_id=record["lead_id"],
        delivery_id=record["delivery_id"],
        outcome=Outcome(record["outcome"]) if record["outcome"] else None,
        payout_micros=record["payout_micros"],
    )
