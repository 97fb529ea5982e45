"""Which statements each transition is made of, and what each contends for. Pure: nothing here runs anything.

What a single guarded statement decides by the row that it changes needs no lock to be right: its lock only puts those
who come for the same rows in one order. Three pairs do need theirs: an equal fingerprint that is looked for and added,
a lead that is found untouched and moved, a hold that is given back and dropped; and a call that is begun and read.
"""

from collections.abc import Collection, Iterable, Sequence

from lexchange.blocks import Draw
from lexchange.campaign import RoutingMode
from lexchange.lead import (
    IN_FLIGHT,
    LEAD_TRANSITIONS,
    Attempt,
    BuyerPing,
    CapTake,
    Fingerprint,
    Lead,
    LeadState,
    Ping,
)
from lexchange.storage import statements
from lexchange.storage.cap_units import give_back, give_cap_back, hold_caps, release_holds, take_caps
from lexchange.storage.connector import Statement, Unit, Value
from lexchange.storage.rows import breaker_row, late_answer_row, lead_record, lead_row, ping_row
from lexchange.storage.values import BreakerRow, CallMark

STATE = "state"
"""The guard of a row that is not, or no more, in a state that allows the transition."""

UNSOLD = (LeadState.REJECTED, LeadState.FAILED)

CALLS = "calls"
"""Shared by all who touch a remembered call, locked by who sweeps them."""


def record_ping(ping: Ping, holds: Sequence[Draw]) -> Unit:
    """The ping, and the slots it holds until it expires."""
    insert = Statement(sql=statements.INSERT_PING, params=ping_row(ping), is_bulk=True)
    if not holds:
        return (insert,)
    return (*take_caps(holds), *hold_caps(ping, holds), insert)


def record_late_answers(campaign: str, owner_id: str, answers: Iterable[BuyerPing]) -> Unit:
    """Answers that replace their buyers' entries when they are read."""
    return tuple(
        Statement(
            sql=statements.INSERT_LATE_ANSWER, params=(campaign, *late_answer_row(owner_id, answer)), is_bulk=True
        )
        for answer in answers
    )


def claim_lead(
    lead: Lead,
    draws: Sequence[Draw],
    fingerprints: Sequence[Fingerprint],
    now_ms: int,
    mark: CallMark | None,
    *,
    may_hold: bool,
) -> Unit:
    """Consume the ping, check for duplicates, take the slots, store the lead: in the order of precedence."""
    return (
        *_claim_call(lead, mark),
        *_claim_ping(lead, now_ms),
        *_add_fingerprints(lead, fingerprints),
        *(release_holds(lead.campaign, lead.ping_id) if draws and lead.ping_id and may_hold else ()),
        *take_caps(draws),
        Statement(sql=statements.INSERT_LEAD, params=lead_row(lead), is_bulk=True, locks=lead.lead_id),
    )


def outlast_claim(lead_id: str) -> Unit:
    """Nothing; but it begins when a claim of this lead is over."""
    return (Statement(sql=statements.NOTHING, locks=lead_id),)


def start_attempt(
    lead: Lead,
    draws: Sequence[Draw],
    releases: Iterable[CapTake],
    adjustments: Iterable[tuple[str, int]],
    fingerprints: Sequence[Fingerprint],
) -> Unit:
    """Move the lead to its next buyer, with its slots and its fingerprints."""
    past = lead.attempts[-2:-1]
    return (
        _move_lead(lead, IN_FLIGHT),
        *_keep_deliveries(lead, past),
        *((_drop_fingerprints(lead),) if fingerprints else ()),
        *_add_fingerprints(lead, fingerprints),
        *give_back(releases),
        *_settle(adjustments),
        *take_caps(draws),
    )


def end_lead(
    lead: Lead,
    *,
    before: Sequence[LeadState],
    releases: Iterable[CapTake],
    adjustments: Iterable[tuple[str, int]] = (),
    found: Lead | None = None,
) -> Unit:
    """Bring a lead from one of the states in `before` to its end: slots, fingerprints and turns follow.

    Where it was `found` before, unless somebody has touched it since.
    """
    is_sold = lead.state is LeadState.DELIVERED and not lead.is_test
    has_turn = is_sold and lead.routing_mode == RoutingMode.ROUND_ROBIN  # else all sales to a buyer would wait in turn
    buyers = (lead.takers or list(filter(None, [lead.buyer]))) if has_turn else []
    last = [each for each in lead.attempts[-1:] if each.delivery_id != lead.delivery_id]
    return (
        *((_untouched(found),) if found else ()),
        _move_lead(lead, before),
        *_keep_deliveries(lead, last),
        *give_back(releases),
        *_settle(adjustments),
        *((_drop_fingerprints(lead),) if lead.state in UNSOLD else ()),
        *(_record_turn(lead, buyer) for buyer in buyers),
    )


def sweep_lead(swept: Lead, found: Lead) -> Unit:
    """End a lead that nobody works on, unless somebody has touched it since it was found."""
    releases = found.takes if swept.state in UNSOLD else ()
    return end_lead(swept, before=IN_FLIGHT, releases=releases, found=found)


def start_resend(asked: Lead, found: Lead) -> Unit:
    """Note that an unknown lead is sent again, unless somebody has touched it since it was found."""
    return (_untouched(found), _move_lead(asked, (LeadState.UNKNOWN,)))


def begin_call(begin: tuple[Value, ...], src: str, idempotency_key: str) -> Unit:
    """Mark a call as running if its key is free, and read what is there then."""
    return (
        _of_call(src, idempotency_key, statements.BEGIN_CALL, begin),
        _of_call(src, idempotency_key, statements.FIND_CALL, (src, idempotency_key)),
    )


def finish_call(src: str, mark: CallMark, answer: bytes) -> Unit:
    """Remember the answer of a call that is still running."""
    params = (answer, src, mark.idempotency_key, mark.begun_ms)
    return (_of_call(src, mark.idempotency_key, statements.FINISH_CALL, params),)


def abandon_call(src: str, mark: CallMark) -> Unit:
    """Forget a running call that has claimed nothing."""
    params = (src, mark.idempotency_key, mark.begun_ms)
    return (_of_call(src, mark.idempotency_key, statements.ABANDON_CALL, params),)


def sweep_workers(alive: Collection[str], now_ms: int) -> Unit:
    """Forget the leases of others than these that are over, and the calls that others were running."""
    forget, sweep = statements.forget_workers(len(alive)), statements.sweep_calls(len(alive))
    return (
        Statement(sql=forget, params=(now_ms, *alive), locks=CALLS),
        Statement(sql=sweep, params=tuple(alive), locks=CALLS),
    )


def record_breaker(row: BreakerRow) -> Unit:
    """The latest word on a breaker."""
    locks = _breakers(row.campaign, row.buyer)
    return (Statement(sql=statements.RECORD_BREAKER, params=breaker_row(row), locks=locks),)


def reset_breakers(campaign: str, buyer: str, now_ms: int) -> Unit:
    """Close all breakers of a buyer."""
    params = (now_ms, now_ms, campaign, buyer)
    return (Statement(sql=statements.RESET_BREAKERS, params=params, locks=_breakers(campaign, buyer)),)


def publish_config(version: str, documents: bytes, summary: str, *, node: str, now_ms: int, over: int) -> Unit:
    """Put a configuration in force, and keep what it says."""
    in_force = (version, now_ms, node, over)
    return (
        Statement(sql=statements.PUBLISH_CONFIG, params=in_force, guard=STATE, locks="configuration"),
        Statement(sql=statements.RECORD_CONFIG, params=(version, now_ms, summary, documents)),
    )


def _claim_call(lead: Lead, mark: CallMark | None) -> Unit:
    if mark is None:
        return ()
    params = (lead.lead_id, lead.src, mark.idempotency_key, mark.begun_ms)
    return (_of_call(lead.src, mark.idempotency_key, statements.CLAIM_CALL, params, guard=mark),)


def _claim_ping(lead: Lead, now_ms: int) -> Unit:
    if lead.ping_id is None:
        return ()
    params = (lead.lead_id, lead.campaign, lead.ping_id, lead.src, int(lead.is_test), now_ms)
    return (Statement(sql=statements.CLAIM_PING, params=params, guard=STATE, locks=lead.ping_id),)


def _add_fingerprints(lead: Lead, fingerprints: Iterable[Fingerprint]) -> Unit:
    return tuple(
        Statement(
            sql=statements.ADD_FINGERPRINT,
            params=(
                *(mark.campaign, mark.digest, mark.scope_key, lead.lead_id, lead.created_ms),
                *(mark.campaign, mark.digest, mark.scope_key, mark.since_ms, lead.lead_id),
            ),
            guard=mark,
            locks=f"fingerprint {mark.campaign} {mark.digest} {mark.scope_key}",
        )
        for mark in fingerprints
    )


def _keep_deliveries(lead: Lead, attempts: Iterable[Attempt]) -> Unit:
    return tuple(
        Statement(sql=statements.KEEP_DELIVERY, params=(lead.campaign, attempt.delivery_id, lead.lead_id))
        for attempt in attempts
    )


def _settle(adjustments: Iterable[tuple[str, int]]) -> Unit:
    return tuple(give_cap_back(counter, -delta) for counter, delta in adjustments if delta)


def _drop_fingerprints(lead: Lead) -> Statement:
    return Statement(sql=statements.DROP_FINGERPRINTS, params=(lead.campaign, lead.lead_id))


def _move_lead(lead: Lead, before: Sequence[LeadState]) -> Statement:
    states = [state.value for state in before if lead.state in LEAD_TRANSITIONS[state]]
    assert len(states) in (1, 2), f"no lead goes from {before} to {lead.state}"
    return Statement(
        sql=statements.MOVE_LEAD,
        params=(
            lead.updated_ms,
            lead.state.value,
            lead.reason,
            lead.delivery_id,
            lead.buyer,
            lead.price_micros,
            lead.payout_micros,
            lead_record(lead),
            lead.campaign,
            lead.lead_id,
            states[0],
            states[-1],
        ),
        guard=STATE,
        locks=lead.lead_id,
    )


def _untouched(found: Lead) -> Statement:
    params = (found.campaign, found.lead_id, found.updated_ms)
    return Statement(sql=statements.LEAD_UNTOUCHED, params=params, guard=STATE, locks=found.lead_id)


def _record_turn(lead: Lead, buyer: str) -> Statement:
    params = (lead.campaign, buyer, lead.updated_ms)
    return Statement(sql=statements.RECORD_TURN, params=params, locks=f"turn {lead.campaign} {buyer}")


def _of_call(
    src: str, idempotency_key: str, sql: str, params: tuple[Value, ...], guard: CallMark | None = None
) -> Statement:
    return Statement(sql=sql, params=params, guard=guard, locks=f"call {src} {idempotency_key}", shares=CALLS)


def _breakers(campaign: str, buyer: str) -> str:
    return f"breakers {campaign} {buyer}"
