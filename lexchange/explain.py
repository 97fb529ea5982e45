"""Explain: what a stored ping or lead tells its operator. Pure; the same facts as text and as JSON.

Values of the lead are masked unless asked for: an explanation is read over shoulders and pasted into tickets.
"""

from datetime import UTC, datetime
from typing import Any

from lexchange.campaign import RoutingMode
from lexchange.lead import Attempt, AttemptOutcome, BuyerPing, Lead, LeadState, Ping, PingOutcome, PingState
from lexchange.money import format_micros

Facts = dict[str, Any]
Heard = PingOutcome


def explain_ping(ping: Ping, lead: Lead | None, *, shows_data: bool = False) -> Facts:
    """Everything about an auction; each buyer with his verdict in one sentence."""
    return {
        "ping_id": ping.ping_id,
        "answer": _ping_answer(ping),
        **_heading(ping),
        "expires": time_text(ping.expires_ms),
        "state": ping.state,
        "payout": _payout(ping.bid_micros, ping.payout_micros, ping.payout_rule),
        "routing": _routing(ping.routing_mode, ping.seed),
        "buyers": [_buyer(part, ping) for part in ping.buyers],
        "problems": ping.problems,
        "data": _shown(ping.data, shows_data),
        "dropped_fields": ping.dropped,
        "lead": explain_lead(lead, shows_data=shows_data) if lead else None,
    }


def explain_lead(lead: Lead, *, shows_data: bool = False) -> Facts:
    """Everything about a lead; each attempt with what came of it."""
    return {
        "lead_id": lead.lead_id,
        "delivery_id": lead.delivery_id,
        "ping_id": lead.ping_id,
        "answer": _lead_answer(lead),
        **_heading(lead),
        "updated": time_text(lead.updated_ms),
        "state": lead.state,
        "detail": lead.detail,
        "payout": _payout(lead.price_micros, lead.payout_micros, lead.payout_rule) if lead.buyer else None,
        "attempts": [_attempt(attempt) for attempt in lead.attempts],
        "buyers": [_buyer(part, lead) for part in lead.buyers],
        "data": _shown(lead.data, shows_data),
        "data_purged": time_text(lead.data_purged_ms) if lead.data_purged_ms is not None else None,
        "dropped_fields": lead.dropped,
    }


def line_of_ping(ping: Ping) -> Facts:
    """One line of a list."""
    text = f"{time_text(ping.created_ms)}  {ping.ping_id}  {ping.campaign}/{ping.src}  {_ping_answer(ping)}"
    return {"ping_id": ping.ping_id, **_heading(ping), "answer": _ping_answer(ping), "text": text}


def line_of_lead(lead: Lead) -> Facts:
    """One line of a list."""
    text = f"{time_text(lead.created_ms)}  {lead.lead_id}  {lead.campaign}/{lead.src}  {_lead_answer(lead)}"
    return {"lead_id": lead.lead_id, **_heading(lead), "answer": _lead_answer(lead), "text": text}


def _heading(record: Ping | Lead) -> Facts:
    return {
        "campaign": record.campaign,
        "source": record.src,
        "is_test": record.is_test,
        "created": time_text(record.created_ms),
        "config_version": record.config_version,
    }


def _ping_answer(ping: Ping) -> str:
    if ping.state is PingState.NO_SALE:
        return f"rejected: {ping.reason}"
    payout = format_micros(ping.payout_micros or 0, 2)
    won = f"won by {', '.join(_winners(ping))}" if ping.winner else "a test, no buyer was asked"
    return f"accepted at a payout of {payout}, {won}"


def _lead_answer(lead: Lead) -> str:
    if lead.state is LeadState.DELIVERED:
        return f"delivered to {', '.join(_winners(lead))}" if lead.buyer else "delivered: a test, no buyer was called"
    if lead.state in (LeadState.CLAIMED, LeadState.SENDING):
        return f"in progress at {lead.buyer}"
    if lead.state is LeadState.UNKNOWN and lead.takers:
        return f"delivered to {', '.join(lead.takers)}; whether another has it is not known, see lexchange reconcile"
    kept = "; whether the buyer has it is not known, see lexchange reconcile" if lead.state is LeadState.UNKNOWN else ""
    return f"{'rejected' if lead.state is LeadState.REJECTED else 'failed'}: {lead.reason}{kept}"


def _winners(record: Ping | Lead) -> list[str]:
    """Who was to have the lead; of a lead, who has it, or may have it."""
    if isinstance(record, Ping):
        return record.winners or [record.winner or ""]
    return record.takers or [record.buyer or ""]


def _payout(bid_micros: int | None, payout_micros: int | None, rule: str) -> Facts | None:
    if bid_micros is None or payout_micros is None:
        return None
    amounts = [_signed(each) for each in (bid_micros, payout_micros, bid_micros - payout_micros)]
    return {
        "price": amounts[0],
        "payout": amounts[1],
        "margin": amounts[2],
        "rule": rule,
        "text": f"{amounts[0]} by {rule or 'promise'} = {amounts[1]} to the source, margin {amounts[2]}",
    }


def _routing(mode: str, seed: int) -> str:
    return f"{mode}, drawn with seed {seed}" if seed else mode


def _buyer(part: BuyerPing, record: Ping | Lead) -> Facts:
    return {
        "buyer": part.buyer,
        "verdict": _verdict(part, record),
        "outcome": part.outcome,
        "reason": part.skip or part.detail,
        "bid": format_micros(part.bid_micros, 2) if part.bid_micros is not None else None,
        "asked": time_text(part.asked_ms) if part.asked_ms is not None else None,
        "latency_ms": round(part.latency_us / 1000, 1) if part.latency_us is not None else None,
        "http_status": part.http_status,
        "answer": part.answer,
    }


def _verdict(part: BuyerPing, record: Ping | Lead) -> str:
    """Why the buyer won, lost, failed or was not asked."""
    if part.outcome is Heard.BID:
        return _bidder_verdict(part, record)
    bid = format_micros(part.bid_micros, 2) if part.bid_micros is not None else ""
    detail = part.detail or "no reason given"
    return {
        Heard.NOT_ASKED: f"not asked: {part.skip}" + (f", {part.detail}" if part.detail else ""),
        Heard.NO_BID: f"did not bid: {detail}",
        Heard.BELOW_FLOOR: f"bid {bid}, {detail}",
        Heard.INVALID_ANSWER: f"answer not understood: {detail}",
        Heard.UNREACHABLE: f"not reached: {detail}",
        Heard.TIMED_OUT: "timed out",
        Heard.OPEN: "asked, but the auction was decided before he answered",
        Heard.LATE: f"answered too late{', bidding ' + bid if bid else ''}",
    }[part.outcome]


def _bidder_verdict(part: BuyerPing, record: Ping | Lead) -> str:
    assert part.bid_micros is not None
    bid = format_micros(part.bid_micros, 2)
    if part.worth_micros is not None:
        bid += f" (counted as {_signed(part.worth_micros)})"
    winners = _winners(record)
    if part.buyer in winners:
        share = (
            f", {format_micros(part.payout_micros, 2)} of it to the source" if part.payout_micros is not None else ""
        )
        return f"won with {bid}{share}"
    if part.skip:
        return f"lost with {bid}: {part.detail}"
    if winners == [""]:
        return f"bid {bid}"
    names = ", ".join(winners)
    if len(winners) > 1 or record.routing_mode != RoutingMode.HIGHEST_BID:
        return f"lost with {bid}: {names} stood before him by {record.routing_mode}"
    best = next((each for each in record.buyers if each.buyer in winners), part)
    if _worth(part) == _worth(best):
        return f"lost with {bid} to the same bid of {names}: lower priority number first, then the id"
    return f"lost with {bid} to {_signed(_worth(best))} of {names}"


def _worth(part: BuyerPing) -> int:
    return (part.bid_micros or 0) if part.worth_micros is None else part.worth_micros


def _signed(micros: int) -> str:
    return f"{'-' if micros < 0 else ''}{format_micros(abs(micros), 2)}"


def _attempt(attempt: Attempt) -> Facts:
    return {
        "delivery_id": attempt.delivery_id,
        "buyer": attempt.buyer,
        "outcome": attempt.outcome,
        "detail": attempt.detail,
        "bid": format_micros(attempt.bid_micros, 2),
        "payout": format_micros(attempt.payout_micros, 2),
        "price": format_micros(attempt.price_micros, 2) if attempt.price_micros is not None else None,
        "started": time_text(attempt.started_ms),
        "latency_ms": round(attempt.latency_us / 1000, 1) if attempt.latency_us is not None else None,
        "bytes_sent": attempt.is_sent,
        "resends": attempt.resends,
        "http_status": attempt.http_status,
        "answer": attempt.answer,
    }


def _shown(data: dict[str, str], shows_data: bool) -> dict[str, str]:
    return data if shows_data else {name: _masked(value) for name, value in data.items()}


def _masked(value: str) -> str:
    return f"{value[0]}…({len(value)})" if len(value) > 3 else "…"


def time_text(epoch_ms: int) -> str:
    """`2026-11-24 09:30:00.000 UTC`."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"


def as_text(facts: Facts) -> str:
    """The facts for a terminal: headings first, then one line a buyer and an attempt."""
    lines: list[str] = []
    title = facts.get("ping_id") if "expires" in facts else facts["lead_id"]
    lines.append(f"{title}  {facts['answer']}")
    test = ", test" if facts["is_test"] else ""
    lines.append(f"  campaign   {facts['campaign']}, source {facts['source']}{test}")
    lines.append(f"  time       {facts['created']}, configuration {facts['config_version']}")
    if facts.get("routing"):
        lines.append(f"  routing    {facts['routing']}")
    if facts["payout"]:
        lines.append(f"  payout     {facts['payout']['text']}")
    lines += [f"  problem    {each['field']}: {each['message']}" for each in facts.get("problems", ())]
    lines += _table("buyers", [_buyer_line(each) for each in facts["buyers"]])
    attempts = facts.get("attempts", ())
    lines += _table("attempts", [_attempt_line(each) for each in attempts])
    if facts.get("detail") and facts["detail"] not in {each["detail"] for each in attempts}:
        lines.append(f"  detail     {facts['detail']}")  # an operator's note, above all
    lines += _table("data", [[name, value] for name, value in facts["data"].items()])
    if facts.get("data_purged"):
        lines.append(f"  purged     {facts['data_purged']}: the lead's values and the buyers' own words are gone")
    if facts["dropped_fields"]:
        lines.append(f"  dropped    {', '.join(facts['dropped_fields'])}: not in the schema, not forwarded")
    if facts.get("lead"):
        lines += ["", as_text(facts["lead"])]
    return "\n".join(lines)


def _buyer_line(buyer: Facts) -> list[str]:
    latency = f"{buyer['latency_ms']} ms" if buyer["latency_ms"] is not None else ""
    return [buyer["buyer"], latency, buyer["verdict"]]


def _attempt_line(attempt: Facts) -> list[str]:
    latency = f"{attempt['latency_ms']} ms" if attempt["latency_ms"] is not None else ""
    paid = f" at {attempt['price'] or attempt['bid']}" if attempt["outcome"] == AttemptOutcome.ACCEPTED else ""
    return [attempt["buyer"], latency, attempt["outcome"] + paid, attempt["delivery_id"], attempt["detail"]]


def _table(title: str, rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return [f"  {title}", *(f"    {row}" for row in padded)]
