"""Buyers that hang, drip, reset, flood and lie, in a whole exchange: what each costs himself, and nobody else.

The scripts are those of tests/buyers/test_client.py, which shows what each is to the client; here it is what a source
hears, what is stored, and who got the lead.
"""

import asyncio
import gc
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from lexchange.lead import LeadState, PingOutcome
from lexchange.storage import Store
from tests.buyers.raw_buyer import Line, RawBuyer, Script, answering_always, hang, raw_buyer
from tests.buyers.test_client import GARBAGE, MALFORMED, RESET, TIMEOUT, TOO_LARGE, never_read
from tests.exchange.cases import Case, Names
from tests.exchange.running import exchange_for
from tests.exchange.transports import Transport, transport

WAITS_MS = 150  # how long the hostile buyer is waited for
HONEST_BID = 5_185_000  # what the source hears of bright's 6.10


def http(body: bytes, status: bytes = b"200 OK", kind: bytes = b"application/json") -> bytes:
    head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (status, kind, len(body))
    return head + body


async def pipelines(line: Line) -> None:
    """Two answers to one request, and a third to nobody's."""
    while await line.read():
        await line.send(http(b'{"status": "no"}') + http(b'{"status": "ok", "bid": 99}') * 2)


async def floods(line: Line) -> None:
    """A hundred megabytes, as fast as they are taken."""
    await line.read()
    await line.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    for _ in range(100):
        await line.send(b"[" * 1_000_000)
    await hang()


BOMB = b'<!DOCTYPE r [<!ENTITY a "%b"><!ENTITY b "%b">]><r>&b;</r>' % (b"x" * 1_000, b"&a;" * 1_000)
INVALID, NO_BID, UNREACHABLE = PingOutcome.INVALID_ANSWER, PingOutcome.NO_BID, PingOutcome.UNREACHABLE

# Whole answers that lie: what the ping is, and what the post is.
LIES: dict[str, tuple[bytes, PingOutcome, bool]] = {
    "HTML with 200": (http(b"<html><h1>Welcome</h1></html>", kind=b"text/html"), INVALID, False),
    "HTML with 500": (http(b"<html>down</html>", b"500 Oops", b"text/html"), INVALID, False),
    "bids with 500": (http(b'{"status": "ok", "bid": 9}', b"500 Oops"), INVALID, False),
    "empty 204": (b"HTTP/1.1 204 No Content\r\n\r\n", INVALID, False),
    "empty 200": (http(b""), INVALID, False),
    "invalid UTF-8": (http(b'{"status": "ok", "bid": 9, "x": "\xff\xfe"}'), INVALID, False),
    "broken JSON": (http(b'{"status": "ok", "bid": 9'), INVALID, False),
    "10,000 brackets": (http(b"[" * 10_000 + b"]" * 10_000), INVALID, False),
    "bids NaN": (http(b'{"status": "ok", "bid": NaN}'), INVALID, False),
    "bids 1e999": (http(b'{"status": "ok", "bid": 1e999}'), INVALID, False),
    "bids below zero": (http(b'{"status": "ok", "bid": -9}'), NO_BID, False),
    "bids a word": (http(b'{"status": "ok", "bid": "a lot"}'), NO_BID, False),
    "bids a list": (http(b'{"status": "ok", "bid": [9]}'), NO_BID, False),
    "bids true": (http(b'{"status": "ok", "bid": true}'), NO_BID, False),
    "bids nothing": (http(b'{"status": "ok"}'), NO_BID, False),
    "bids more than there is": (http(b'{"status": "ok", "bid": 1e18}'), NO_BID, False),
    "XML bomb": (http(BOMB, kind=b"text/xml"), INVALID, False),
    "duplicate keys": (http(b'{"result": "sold", "result": "rejected", "status": "ok", "status": "no"}'), NO_BID, True),
    "says no in another way": (http(b'{"status": "sorry", "result": "maybe"}'), NO_BID, False),
}
CONNECTIONS: dict[Any, tuple[PingOutcome, str]] = {
    TIMEOUT: (PingOutcome.TIMED_OUT, "downstream_timeout"),
    RESET: (UNREACHABLE, "downstream_timeout"),
    MALFORMED: (INVALID, "downstream_invalid_response"),
    TOO_LARGE: (INVALID, "downstream_invalid_response"),
}


def modes() -> dict[str, tuple[Script, PingOutcome, str]]:
    """Script, what becomes of a ping, and what the source hears of a post; "rejected" is a definite no."""
    found: dict[str, tuple[Script, PingOutcome, str]] = {}
    for name, (script, expected) in GARBAGE.items():
        is_answer = isinstance(expected, bytes)
        found[name] = (script, *((INVALID, "downstream_invalid_response") if is_answer else CONNECTIONS[expected]))
    for name, (answer, outcome, is_no) in LIES.items():
        found[name] = (answering_always(answer), outcome, "rejected" if is_no else "downstream_invalid_response")
    found["answers twice"] = (pipelines, NO_BID, "downstream_invalid_response")
    found["floods with 100 MB"] = (floods, INVALID, "downstream_invalid_response")
    return found


MODES = modes()


def test_there_are_enough_modes() -> None:
    assert len(MODES) >= 45


def against(buyer: RawBuyer, stage: str) -> Case:
    """Acme, who would pay most, is hostile in his pings or in his posts."""
    url = f"http://127.0.0.1:{buyer.port}/{stage}"
    return {"change": {f"buyers.acme.{stage}.url": url, f"buyers.acme.{stage}.timeout_ms": WAITS_MS}}


async def ping_of(source: Transport) -> dict[str, Any]:
    _, answer = await source.send(Names().call({"call": "ping"}))
    return answer


@pytest.mark.parametrize(("script", "outcome"), [mode[:2] for mode in MODES.values()], ids=MODES)
async def test_hostile_ping_costs_nobody_else_his_bid(script: Script, outcome: PingOutcome, tmp_path: Path) -> None:
    """The lead is sold to the honest buyer, at the latest when the hostile one's time is up."""
    async with (
        raw_buyer(script) as hostile,
        exchange_for(against(hostile, "ping"), tmp_path) as (server, buyers),
        transport("rest", server) as source,
    ):
        started_s = time.monotonic()
        answer = await ping_of(source)
        took_s = time.monotonic() - started_s
        assert (answer["status"], answer["bid"]) == ("accepted", HONEST_BID)
        assert took_s < WAITS_MS / 1000 + 0.35, f"{took_s:.3f} s"
        assert buyers.calls == {"bright.ping": 1}
        assert hostile.connection_count == 1
        async with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
            ping = await store.audit.find_ping(answer["ping_id"])
        assert ping is not None
        assert {part.buyer: part.outcome for part in ping.buyers} == {"acme": outcome, "bright": PingOutcome.BID}


@pytest.mark.parametrize(("script", "reason"), [(mode[0], mode[2]) for mode in MODES.values()], ids=MODES)
async def test_hostile_post_has_one_honest_outcome(script: Script, reason: str, tmp_path: Path) -> None:
    """He may have the lead, so it is unknown: sent once, to nobody else even with next_bidder, and kept for you."""
    async with raw_buyer(script) as hostile:
        case = against(hostile, "post")
        case["change"] |= {"routing.on_post_reject": "next_bidder"}
        async with exchange_for(case, tmp_path) as (server, buyers), transport("rest", server) as source:
            ping = await ping_of(source)
            step = {"call": "post", "ping_id": ping["ping_id"]}
            _, answer = await source.send(Names().call(step))
            _, again = await source.send(Names().call(step))
            assert (again["reason"], again["lead_id"]) == ("ping_id_already_consumed", answer["lead_id"])
            assert hostile.connection_count == 1
            async with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
                lead = await store.audit.find_lead(answer["lead_id"])
                unresolved = await store.audit.unresolved_leads()
            assert lead is not None
            if reason == "rejected":
                assert (answer["status"], lead.buyer, buyers.calls["bright.post"]) == ("delivered", "bright", 1)
                return
            assert (answer["status"], answer["reason"]) == ("failed", reason)
            assert (lead.state, [each.lead_id for each in unresolved]) == (LeadState.UNKNOWN, [lead.lead_id])
            assert "bright.post" not in buyers.calls


async def test_nothing_is_left_of_fifty_pings_to_a_buyer_who_hangs(tmp_path: Path) -> None:
    """Each sells to the honest buyer in the hostile one's time; afterwards there is no task and no socket more."""
    async with raw_buyer(never_read) as hostile:
        case = against(hostile, "ping") | {"limits": {"late_grace_ms": 100}}
        async with exchange_for(case, tmp_path) as (server, _), transport("rest", server) as source:
            started_s = time.monotonic()
            answers = await asyncio.gather(*(ping_of(source) for _ in range(50)))
            assert {answer["bid"] for answer in answers} == {HONEST_BID}
            assert time.monotonic() - started_s < WAITS_MS / 1000 + 1
            assert hostile.connection_count == 50
            await settled()
            exchange = server._exchange
            assert exchange._background._tasks == set()
            pools = exchange._client._pools
            assert {origin: len(pool.connections) for origin, pool in pools.items() if str(hostile.port) in origin} == {
                f"http://127.0.0.1:{hostile.port}": 0
            }


async def settled() -> None:
    """Let late answers come to their end."""
    await asyncio.sleep(WAITS_MS / 1000 + 0.3)


async def test_memory_stays_bounded_under_floods(tmp_path: Path) -> None:
    """Twenty pings at once, each answered with 100 MB: what is kept of them is no more than the limit on answers."""
    async with (
        raw_buyer(floods) as hostile,
        exchange_for(against(hostile, "ping"), tmp_path) as (server, _),
        transport("rest", server) as source,
    ):
        await ping_of(source)
        gc.collect()
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answers = await asyncio.gather(*(ping_of(source) for _ in range(20)))
        assert {answer["bid"] for answer in answers} == {HONEST_BID}
        grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
        assert grown_mib < 64, f"{grown_mib:.0f} MiB"


async def test_buyer_comes_back_after_a_restart(tmp_path: Path) -> None:
    """Kept-alive connections to a buyer who restarts cost no ping."""
    bid = http(b'{"status": "ok", "bid": 7}')
    async with (
        raw_buyer(answering_always(bid)) as buyer,
        exchange_for(against(buyer, "ping"), tmp_path) as (server, _),
        transport("rest", server) as source,
    ):
        assert (await ping_of(source))["bid"] == 5_950_000
        await buyer.stop()
        buyer.start()
        assert (await ping_of(source))["bid"] == 5_950_000
