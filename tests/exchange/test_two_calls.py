"""What it takes two calls at once to see: overload, a repeat in flight, a thousand tests and no buyer."""

import asyncio
from pathlib import Path

import pytest

from tests.exchange.cases import BASE, Names
from tests.exchange.running import exchange_for
from tests.exchange.transports import TRANSPORTS, Answer, Call, Transport, transport, wait_until

DIRECT = {"traffic_type": "direct_post"}
SLOW_PING = {"replies": {"acme.ping": [{"json": {"status": "ok", "bid": 7}, "delay_ms": 500}]}}
SLOW_POST = {"replies": {"acme.post": [{"json": {"result": "sold"}, "delay_ms": 500}]}}


def call(name: str, **headers: str) -> Call:
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    return Call(name=name, body=BASE["calls"][name], headers=named)


async def accepted_ping(source: Transport) -> str:
    _, answer = await source.send(call("ping"))
    return str(answer["ping_id"])


def refusal(status: int, answer: Answer) -> tuple[int, str]:
    assert answer["status"] == "error"
    return status, answer["reason"]


@pytest.mark.parametrize("road", TRANSPORTS)
@pytest.mark.parametrize("endpoint", ["ping", "direct_post"])
async def test_overloaded_when_all_places_are_taken(endpoint: str, road: str, tmp_path: Path) -> None:
    """With one place the second call is refused at once, the first is answered, and then there is room again."""
    case = SLOW_PING | {"limits": {"in_flight": 1}, "change": DIRECT if endpoint == "direct_post" else {}}
    async with exchange_for(case, tmp_path) as (server, buyers), transport(road, server) as source:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(source.send(call(endpoint)))
            await wait_until(lambda: buyers.calls)
            assert refusal(*await source.send(call(endpoint))) == (503, "overloaded")
        assert first.result()[1]["status"] in ("accepted", "delivered")
        assert (await source.send(call(endpoint)))[0] == 200


@pytest.mark.parametrize("road", TRANSPORTS)
async def test_posts_have_places_of_their_own(road: str, tmp_path: Path) -> None:
    """With one place for each: neither a ping that runs takes a post's, nor a post a ping's; a second post waits."""
    case = {"limits": {"in_flight": 1}, "replies": SLOW_POST["replies"]}
    async with exchange_for(case, tmp_path) as (server, buyers), transport(road, server) as source:
        first, second = [
            Call(name="post", body=BASE["calls"]["post"] | {"ping_id": await accepted_ping(source)}) for _ in range(2)
        ]
        async with asyncio.TaskGroup() as group:
            posting = group.create_task(source.send(first))
            await wait_until(lambda: "acme.post" in buyers.calls)
            assert refusal(*await source.send(second)) == (503, "overloaded")
            assert (await source.send(call("ping")))[1]["status"] == "accepted"
        assert posting.result()[1]["status"] == "delivered"
        assert (await source.send(second))[1]["status"] == "delivered"


@pytest.mark.parametrize("road", TRANSPORTS)
@pytest.mark.parametrize("endpoint", ["post", "direct_post"])
async def test_repeat_while_the_first_runs(endpoint: str, road: str, tmp_path: Path) -> None:
    """A repeat under the same key is told that the first still runs; later it gets the first one's answer."""
    case = SLOW_POST | {"change": DIRECT if endpoint == "direct_post" else {}}
    async with exchange_for(case, tmp_path) as (server, buyers), transport(road, server) as source:
        body = dict(BASE["calls"][endpoint])
        if endpoint == "post":
            body["ping_id"] = await accepted_ping(source)
        keyed = Call(name=endpoint, body=body, headers={"Idempotency-Key": "order-17"})
        async with asyncio.TaskGroup() as group:
            first = group.create_task(source.send(keyed))
            await wait_until(lambda: "acme.post" in buyers.calls)
            assert refusal(*await source.send(keyed)) == (409, "request_in_flight")
        assert await source.send(keyed) == first.result()
        assert first.result()[1]["status"] == "delivered"
        assert buyers.calls["acme.post"] == 1


@pytest.mark.parametrize("road", TRANSPORTS)
async def test_thousand_tests_reach_no_buyer(road: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """500 test pings and their posts: no connection to any buyer, and no name looked up."""
    looked_up: list[object] = []
    loop = asyncio.get_running_loop()
    look_up = loop.getaddrinfo

    async def getaddrinfo(host, *arguments, **options):
        if host not in ("127.0.0.1", "localhost"):
            looked_up.append(host)
        return await look_up(host, *arguments, **options)

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    case = {"change": {"buyers.bright.ping.url": "https://bright.example/ping"}, "limits": {"in_flight": 64}}
    async with exchange_for(case, tmp_path) as (server, buyers), transport(road, server) as source:

        async def sell(number: int) -> None:
            names = Names()
            test = {"Test_Mode": 1, "sub_id": f"publisher_{number}"}
            ping = {"status": "accepted", "bid": 1_000_000, "ping_id": "$ping_id"}
            names.check(*await source.send(names.call({"call": "ping", "data": test})), ping)
            sold = {"status": "delivered", "lead_id": "$lead_id", "delivery_id": "$delivery_id"}
            names.check(*await source.send(names.call({"call": "post", "data": test})), sold)

        for start in range(0, 500, 50):
            async with asyncio.TaskGroup() as group:
                for number in range(start, start + 50):
                    group.create_task(sell(number))
        assert (buyers.connections, looked_up) == (0, [])


@pytest.mark.parametrize("road", TRANSPORTS)
async def test_callers_who_hang_up_cut_no_delivery(road: str, tmp_path: Path) -> None:
    """A post whose caller goes away is delivered all the same, and its outcome is kept."""
    async with exchange_for(SLOW_POST, tmp_path) as (server, buyers), transport(road, server) as source:
        body = BASE["calls"]["post"] | {"ping_id": await accepted_ping(source)}
        posting = asyncio.create_task(source.send(Call(name="post", body=body)))
        await wait_until(lambda: "acme.post" in buyers.calls)
        posting.cancel()
        await asyncio.wait({posting})
        await asyncio.sleep(0.7)
        _, answer = await source.send(Call(name="post", body=body))
        assert (answer["reason"], answer["outcome"]) == ("ping_id_already_consumed", "delivered")
        assert buyers.calls["acme.post"] == 1


async def test_last_place_is_held_for_one_of_two_pings(tmp_path: Path) -> None:
    """By priority both go to the first in line; the one that finds his last place held goes to who answers later."""
    one_place = [{"window": "day", "limit": 1, "reserve": "ping"}]
    case = {
        "change": {"routing.mode": "priority", "buyers.acme.caps": one_place},
        "replies": {
            "acme.ping": [{"json": {"status": "ok", "bid": 7}, "delay_ms": 20}] * 2,
            "bright.ping": [{"json": {"status": "ok", "bid": 6, "token": "t"}, "delay_ms": 200}] * 2,
        },
    }
    async with exchange_for(case, tmp_path) as (server, _), transport("rest", server) as source:
        answers = await asyncio.gather(source.send(call("ping")), source.send(call("ping")))
    assert sorted(answer.get("bid", 0) for _, answer in answers) == [5_100_000, 5_950_000]
