"""Every case of tests/cases, over every road to the exchange."""

import asyncio
import time
from pathlib import Path

import pytest

from lexchange.reasons import Kind, Reason
from tests.exchange.cases import ENDPOINTS, Case, Names, all_cases
from tests.exchange.running import exchange_for
from tests.exchange.transports import TRANSPORTS, transport

CASES = dict(all_cases())


@pytest.mark.parametrize("road", TRANSPORTS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_case(case: Case, road: str, tmp_path: Path) -> None:
    """The answers are as expected whatever the road, and no buyer hears more than he should."""
    names = Names()
    async with exchange_for(case, tmp_path) as (server, buyers), transport(road, server) as source:
        for step in case["steps"]:
            await asyncio.sleep(step.get("wait_ms", 0) / 1000)
            if step.get("on_the_second"):
                await asyncio.sleep(1.01 - time.time() % 1)
            call = names.call(step)
            if road.startswith("grpc") and call.is_json_only:
                continue
            for _ in range(step.get("times", 1)):
                names.check(*await source.send(call), step["expect"])
        assert buyers.calls == case["calls"]
        assert buyers.connections == 0 or case["calls"]
        for endpoint, members in case.get("received", {}).items():
            got = buyers.received[endpoint][-1]
            assert {name: got.get(name) for name in members} == members


# What no case can hold: it takes a broken store, or two calls at once (test_two_calls.py, test_broken_store.py).
ELSEWHERE = {
    *((endpoint, Reason.SERVER_ERROR) for endpoint in ENDPOINTS),
    *((endpoint, Reason.OVERLOADED) for endpoint in ENDPOINTS),
    *((endpoint, Reason.REQUEST_IN_FLIGHT) for endpoint in ("post", "direct_post")),
}
NEVER = {
    *(("ping", reason) for reason in (Reason.IDEMPOTENCY_KEY_REUSED, Reason.REQUEST_IN_FLIGHT)),
    ("post", Reason.RATE_LIMITED),  # what was promised can be delivered
    ("ping", Reason.INVALID_PING_ID),
    ("ping", Reason.PING_ID_ALREADY_CONSUMED),
    ("ping", Reason.BUYER_REJECTED),  # a buyer's no to a ping is no_eligible_buyer
    *(("ping", reason) for reason in Reason if reason.kind is Kind.FAILED),
    ("direct_post", Reason.INVALID_PING_ID),
    ("direct_post", Reason.PING_ID_ALREADY_CONSUMED),
}


def test_every_reason_has_a_case_on_every_endpoint() -> None:
    """No reason is left to chance: each that an endpoint can give is given in a case."""
    given = {
        (step["call"], Reason(step["expect"]["reason"]))
        for case in CASES.values()
        for step in case["steps"]
        if "reason" in step["expect"]
    }
    possible = {(endpoint, reason) for endpoint in ENDPOINTS for reason in Reason} - NEVER
    assert possible - given == ELSEWHERE
