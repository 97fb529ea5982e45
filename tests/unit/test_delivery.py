import asyncio
from typing import Any, cast

import pytest

from lexchange.breaker import DEFAULT_BREAKER, Breaker, BreakerMode, BreakerRule, BreakerState
from lexchange.buyers.client import BuyerAnswer, BuyerClient, BuyerFailure, FailureKind
from lexchange.buyers.mapping import MappingValues
from lexchange.campaign import Cast, MappedField
from lexchange.delivery import deliver
from lexchange.lead import Attempt, AttemptOutcome
from tests.unit.examples import DATA, NOW_MS, a_buyer, a_route, an_endpoint

ATTEMPT = Attempt(delivery_id="DEL-1", buyer="acme", bid_micros=7_000_000, started_ms=NOW_MS)
VALUES = MappingValues(lead=DATA, ping_id="PING-1", campaign_id="home", campaign_name="Home", src="S", now_ms=NOW_MS)


class FakeClient:
    """Gives or raises what it was made with."""

    def __init__(self, reply: BuyerAnswer | BuyerFailure | Exception) -> None:
        self._reply = reply
        self.left_s: list[float] = []

    async def send(self, request: object, *, deadline: float) -> BuyerAnswer | BuyerFailure:
        self.left_s.append(deadline - asyncio.get_running_loop().time())
        if isinstance(self._reply, Exception):
            raise self._reply
        return self._reply


def answer(body: bytes) -> BuyerAnswer:
    return BuyerAnswer(status=200, content_type="application/json", body=body)


def failure(kind: FailureKind, *, is_sent: bool) -> BuyerFailure:
    return BuyerFailure(kind=kind, is_sent=is_sent, detail="why")


async def delivered(client: FakeClient, left_s: float = 10, **endpoint: Any) -> Attempt:
    route = a_route(a_buyer("acme", post=an_endpoint("acme", **endpoint)))
    deadline = asyncio.get_running_loop().time() + left_s
    post = route.live.buyers["acme"].post
    breaker = Breaker(DEFAULT_BREAKER, lambda _: None)
    return await deliver(ATTEMPT, post, VALUES, client=cast(BuyerClient, client), breaker=breaker, deadline=deadline)


@pytest.mark.parametrize(
    ("reply", "outcome", "is_sent"),
    [
        (answer(b'{"ok":"yes"}'), AttemptOutcome.ACCEPTED, True),
        (answer(b'{"ok":"no"}'), AttemptOutcome.REJECTED, True),
        (answer(b"<html>"), AttemptOutcome.INVALID_ANSWER, True),
        (failure(FailureKind.CONNECT, is_sent=False), AttemptOutcome.NOT_SENT, False),
        (failure(FailureKind.TIMEOUT, is_sent=False), AttemptOutcome.NOT_SENT, False),
        (failure(FailureKind.TIMEOUT, is_sent=True), AttemptOutcome.TIMED_OUT, True),
        (failure(FailureKind.RESET, is_sent=True), AttemptOutcome.BROKEN, True),
        (failure(FailureKind.MALFORMED, is_sent=True), AttemptOutcome.INVALID_ANSWER, True),
        (failure(FailureKind.TOO_LARGE, is_sent=True), AttemptOutcome.INVALID_ANSWER, True),
        (RuntimeError("sam.carter@example.com"), AttemptOutcome.INVALID_ANSWER, True),
    ],
)
async def test_attempt_has_the_outcome_of_what_came_back(reply, outcome, is_sent) -> None:
    """It failed for sure only if no byte can have left; whatever breaks afterwards leaves it unknown, never lost."""
    attempt = await delivered(FakeClient(reply))
    assert (attempt.outcome, attempt.is_sent) == (outcome, is_sent)
    assert (attempt.latency_us or 0) > 0
    assert "sam" not in attempt.detail


async def test_answer_is_kept_with_its_final_price() -> None:
    """The text, the status and what the buyer pays in the end."""
    attempt = await delivered(FakeClient(answer(b'{"ok":"yes","price":6.5}')))
    assert (attempt.http_status, attempt.answer, attempt.price_micros) == (200, '{"ok":"yes","price":6.5}', 6_500_000)


async def test_lead_that_cannot_be_written_is_not_sent() -> None:
    """Nothing leaves, and the buyer's field is named."""
    client = FakeClient(answer(b"{}"))
    fields = (MappedField(path="zip", sources=("lead.email",), cast=Cast.INTEGER),)
    attempt = await delivered(client, fields=fields)
    assert (attempt.outcome, attempt.is_sent, client.left_s) == (AttemptOutcome.NOT_SENT, False, [])
    assert attempt.detail == "zip: lead.email cannot be sent as integer"


@pytest.mark.parametrize(("left_s", "timeout_ms", "expected_s"), [(10, 2_000, 2), (1, 2_000, 1)])
async def test_shorter_time_counts(left_s: float, timeout_ms: int, expected_s: float) -> None:
    """The buyer's own time-out, within what is left of the whole delivery."""
    client = FakeClient(answer(b"{}"))
    await delivered(client, left_s, timeout_ms=timeout_ms)
    assert client.left_s == [pytest.approx(expected_s, abs=0.1)]


TIMED_OUT = failure(FailureKind.TIMEOUT, is_sent=True)


@pytest.mark.parametrize(
    ("reply", "timeout_ms", "state"),
    [
        (answer(b'{"ok":"yes"}'), 1_000, BreakerState.CLOSED),
        (answer(b'{"ok":"no"}'), 1_000, BreakerState.CLOSED),
        (answer(b"<html>"), 1_000, BreakerState.OPEN),
        (failure(FailureKind.CONNECT, is_sent=False), 1_000, BreakerState.OPEN),
        (TIMED_OUT, 0, BreakerState.OPEN),
        (TIMED_OUT, 1, BreakerState.OPEN),  # a timer of uvloop may ring one tick of its clock early
        (TIMED_OUT, 1_000, BreakerState.CLOSED),  # the whole delivery had no more time: not his fault
    ],
)
async def test_breaker_hears_what_the_buyer_did(reply: Any, timeout_ms: int, state: BreakerState) -> None:
    """A no is an answer; what was cut short by others tells nothing."""
    breaker = Breaker(BreakerRule(mode=BreakerMode.ENFORCE, failures=1), lambda _: None)
    post = a_route(a_buyer("acme", post=an_endpoint("acme", timeout_ms=timeout_ms))).live.buyers["acme"].post
    client = cast(BuyerClient, FakeClient(reply))
    deadline = asyncio.get_running_loop().time() + 0.05
    attempt = await deliver(ATTEMPT, post, VALUES, client=client, breaker=breaker, deadline=deadline)
    assert breaker.state is state
    if state is BreakerState.OPEN:
        again = await deliver(ATTEMPT, post, VALUES, client=client, breaker=breaker, deadline=deadline)
        assert (again.outcome, again.is_sent) == (AttemptOutcome.NOT_SENT, False)
        assert again.detail == "breaker open: 1 failure in a row"
        assert attempt.detail != again.detail


async def test_lead_that_cannot_be_written_says_nothing_of_its_buyer() -> None:
    """Nobody asked him."""
    breaker = Breaker(BreakerRule(mode=BreakerMode.ENFORCE, failures=1), lambda _: None)
    fields = (MappedField(path="zip", sources=("lead.email",), cast=Cast.INTEGER),)
    post = a_route(a_buyer("acme", post=an_endpoint("acme", fields=fields))).live.buyers["acme"].post
    client = cast(BuyerClient, FakeClient(answer(b"")))
    await deliver(ATTEMPT, post, VALUES, client=client, breaker=breaker, deadline=0)
    assert breaker.state is BreakerState.CLOSED
