"""`lexchange serve` and `python -m gateway` as processes: ready, reload, drain, workers."""

import asyncio
import os
import random
import resource
import signal
import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import orjson
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from leadexchange.v1 import lead_exchange_pb2 as pb
from leadexchange.v1 import lead_exchange_pb2_grpc as pb_grpc
from tests.commands.nodes import nodes
from tests.commands.processes import children, lexchange, serving
from tests.exchange.cases import BASE, Case, campaign_of, replies_of
from tests.exchange.scripted_buyers import scripted_buyers
from tests.exchange.transports import Call, Rest, wait_until

SLOW_POST: Case = {"replies": {"acme.post": [{"json": {"result": "sold"}, "delay_ms": 700}]}}
PING = Call(name="ping", body=BASE["calls"]["ping"])


def post(ping_id: str) -> Call:
    return Call(name="post", body=BASE["calls"]["post"] | {"ping_id": ping_id})


def options(folder: Path, *more: str) -> Sequence[str]:
    files = ("--config", f"{folder}/auto.yaml", "--store", f"sqlite:///{folder}/store.db")
    return ("serve", "--dev", *files, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", *more)


async def test_terminates_after_its_calls(tmp_path: Path) -> None:
    """SIGTERM with posts in flight: all are delivered and answered, new calls are not taken, the exit code is 0."""
    async with scripted_buyers(replies_of(SLOW_POST)) as buyers:
        (tmp_path / "auto.yaml").write_bytes(campaign_of({}, buyers.address))
        with serving(*options(tmp_path)) as server:
            async with aiohttp.ClientSession() as http:
                source = Rest(server.http, http)
                ping_ids = [(await source.send(PING))[1]["ping_id"] for _ in range(10)]
                async with asyncio.TaskGroup() as group:
                    posts = [group.create_task(source.send(post(ping_id))) for ping_id in ping_ids]
                    await wait_until(lambda: buyers.calls.get("acme.post") == 10)
                    server.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.process.wait, 40) == 0
            assert Counter(answer.result()[1]["status"] for answer in posts) == {"delivered": 10}
            host, port = server.http.split(":")
            with socket.socket() as knock, pytest.raises(ConnectionRefusedError):
                knock.connect((host, int(port)))


async def test_terminates_under_load(tmp_path: Path) -> None:
    """SIGTERM in the midst of pings and posts: every lead the buyer got is delivered, and nobody else's is."""
    async with scripted_buyers(replies_of({})) as buyers:
        (tmp_path / "auto.yaml").write_bytes(campaign_of({}, buyers.address))
        delivered: list[str] = []

        async def sell_on(source: Rest) -> None:
            while True:
                try:
                    _, offered = await source.send(PING)
                    _, sold = await source.send(post(offered["ping_id"]))
                except aiohttp.ClientError:
                    return  # the server has gone
                delivered.append(sold["delivery_id"])

        with serving(*options(tmp_path)) as server:
            async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
                for _ in range(16):
                    group.create_task(sell_on(Rest(server.http, http)))
                await wait_until(lambda: len(delivered) > 50, 30)
                server.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.process.wait, 40) == 0
        got = [lead["delivery"] for lead in buyers.received["acme.post"]]
        assert set(delivered) <= set(got)
        assert len(got) == len(set(got))
        unresolved = lexchange("reconcile", "list", "--json", "--store", f"sqlite:///{tmp_path}/store.db")
        assert orjson.loads(unresolved.stdout) == []


async def test_health_says_so_first(tmp_path: Path) -> None:
    """On SIGTERM balancers hear of it while calls are still taken; who watches for ever holds up nobody's end."""
    (tmp_path / "auto.yaml").write_bytes(campaign_of({}, "127.0.0.1:1"))
    test_ping = Call(name="ping", body=PING.body | {"data": PING.body["data"] | {"Test_Mode": 1}})
    statuses: list[int] = []

    async def watch(channel: grpc.aio.Channel) -> None:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        with suppress(grpc.aio.AioRpcError):
            async for told in stub.Watch(health_pb2.HealthCheckRequest(service="")):
                statuses.append(told.status)  # noqa: PERF401 - each is looked at while the stream goes on

    with serving(*options(tmp_path), LEXCHANGE_DRAIN_NOTICE_MS="1500") as server:
        async with grpc.aio.insecure_channel(server.grpc) as channel, aiohttp.ClientSession() as http:
            watching = asyncio.create_task(watch(channel))
            await wait_until(lambda: statuses == [health_pb2.HealthCheckResponse.SERVING])
            server.process.send_signal(signal.SIGTERM)
            await wait_until(lambda: statuses[-1] == health_pb2.HealthCheckResponse.NOT_SERVING)
            async with http.get(f"http://{server.http}/healthz") as response:
                assert (response.status, await response.json()) == (503, {"status": "draining"})
            assert (await Rest(server.http, http).send(test_ping))[1]["status"] == "accepted"
            assert await asyncio.to_thread(server.process.wait, 10) == 0
            await watching


def test_takes_the_files_it_may_have(tmp_path: Path) -> None:
    """Connections are files, of which a shell gives a program few, but lets it take more."""
    (tmp_path / "auto.yaml").write_bytes(campaign_of({}, "127.0.0.1:1"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with serving(*options(tmp_path)) as server:
            assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (min(hard, 65_536), hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_reloads_on_hangup(tmp_path: Path) -> None:
    """SIGHUP takes the new file for the next call; a broken file changes nothing."""
    async with scripted_buyers(replies_of({})) as buyers:
        file = tmp_path / "auto.yaml"
        file.write_bytes(campaign_of({}, buyers.address))
        with (tmp_path / "log").open("w+") as log, serving(*options(tmp_path), log=log) as server:
            async with aiohttp.ClientSession() as http:
                source = Rest(server.http, http)

                async def bid_after(content: bytes, event: str) -> int:
                    file.write_bytes(content)
                    server.process.send_signal(signal.SIGHUP)
                    await wait_until(lambda: event in (tmp_path / "log").read_text())
                    return int((await source.send(PING))[1]["bid"])

                assert (await source.send(PING))[1]["bid"] == 5_950_000
                half = campaign_of({"change": {"payout": {"mode": "revenue_share", "share": 0.5}}}, buyers.address)
                assert await bid_after(half, '"event":"reloaded"') == 3_500_000
                assert await bid_after(b"campaign: [", '"event":"reload_refused"') == 3_500_000
            assert await asyncio.to_thread(server.stop) == 0


@pytest.mark.parametrize("option", ["--grpc", "--http"])
def test_refuses_a_port_that_is_taken(option: str, tmp_path: Path) -> None:
    """Whoever else listens there, sharing or not, the command says so instead of half serving."""
    (tmp_path / "auto.yaml").write_bytes(campaign_of({}, "127.0.0.1:1"))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        for workers in ("1", "2"):
            refused = lexchange(*options(tmp_path), option, taken, "--workers", workers)
            assert refused.returncode == 1
            assert f"{option} {taken}: cannot listen there" in refused.stderr
            assert "Traceback" not in refused.stderr
            assert "ready" not in refused.stdout


@pytest.mark.parametrize("workers", ["1", "2"])
def test_refuses_a_broken_file(workers: str, tmp_path: Path) -> None:
    """A broken file is told with its line before anything listens."""
    (tmp_path / "auto.yaml").write_text("campaign: auto\nstatus: open\n")
    refused = lexchange(*options(tmp_path), "--workers", workers)
    assert refused.returncode == 1
    assert "auto.yaml:2: status: expected one of" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_options_come_from_the_environment(tmp_path: Path) -> None:
    """Every option reads LEXCHANGE_<NAME>; a bad limit is told by its name."""
    (tmp_path / "auto.yaml").write_bytes(campaign_of({}, "127.0.0.1:1"))
    refused = lexchange(
        "serve", LEXCHANGE_CONFIG=f"{tmp_path}/auto.yaml", LEXCHANGE_DEV="1", LEXCHANGE_IN_FLIGHT="none"
    )
    assert refused.returncode == 1
    assert "LEXCHANGE_IN_FLIGHT: expected a whole number of at least 1, got 'none'" in refused.stderr


async def test_gateway_apart(tmp_path: Path) -> None:
    """The gateway runs as a process of its own, survives its exchange, and drains on SIGTERM."""
    async with scripted_buyers(replies_of(SLOW_POST)) as buyers:
        (tmp_path / "auto.yaml").write_bytes(campaign_of({}, buyers.address))
        with (
            serving(*options(tmp_path)) as exchange,
            serving("--upstream", exchange.grpc, "--http", "127.0.0.1:0", module="gateway") as gateway,
        ):
            async with aiohttp.ClientSession() as http:
                source = Rest(gateway.http, http)
                _, offered = await source.send(PING)
                async with asyncio.TaskGroup() as group:
                    posting = group.create_task(source.send(post(offered["ping_id"])))
                    await wait_until(lambda: "acme.post" in buyers.calls)
                    gateway.process.send_signal(signal.SIGTERM)
                assert posting.result()[1]["status"] == "delivered"
            assert await asyncio.to_thread(gateway.process.wait, 40) == 0
            assert await asyncio.to_thread(exchange.stop) == 0


async def test_gateway_without_its_exchange(tmp_path: Path) -> None:
    """While the exchange is away the gateway answers 503 with Retry-After."""
    with serving("--upstream", "127.0.0.1:1", "--http", "127.0.0.1:0", module="gateway") as gateway:
        url = f"http://{gateway.http}/ping"
        async with aiohttp.ClientSession() as http, http.post(url, json=PING.body) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "1")
            assert (await response.json())["reason"] == "overloaded"
        assert await asyncio.to_thread(gateway.stop) == 0


CLIENTS, PINGS = 64, 200


async def test_race_of_clients_over_workers(tmp_path: Path, store: str) -> None:
    """64 clients post the same 200 ping_ids to two processes a node: the buyer gets 200 leads, each once."""
    async with scripted_buyers(replies_of({})) as buyers:
        (tmp_path / "auto.yaml").write_bytes(campaign_of({}, buyers.address))
        with nodes(options(tmp_path), store) as servers:
            async with grpc.aio.insecure_channel(servers[0].grpc) as channel:
                stub = pb_grpc.LeadExchangeStub(channel)
                ping = pb.PingRequest(src=PING.body["SRC"], key=PING.body["KEY"], data=PING.body["data"])
                ping_ids = [(await stub.Ping(ping)).ping_id for _ in range(PINGS)]
            answers: Counter[tuple[str, str | None]] = Counter()

            async def post_all(who: int) -> None:
                order = random.Random(who).sample(ping_ids, PINGS)
                async with aiohttp.ClientSession() as http:
                    source = Rest(servers[who % len(servers)].http, http)
                    for ping_id in order:
                        _, answer = await source.send(post(ping_id))
                        answers[answer["status"], answer.get("reason")] += 1

            async with asyncio.TaskGroup() as group:
                for who in range(CLIENTS):
                    group.create_task(post_all(who))
            assert [await asyncio.to_thread(server.stop) for server in servers] == [0] * len(servers)
        got = [lead["delivery"] for lead in buyers.received["acme.post"]]
        assert (len(got), len(set(got))) == (PINGS, PINGS)
        assert answers == {
            ("delivered", None): PINGS,
            ("rejected", "ping_id_already_consumed"): (CLIENTS - 1) * PINGS,
        }


async def test_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    """One of two workers is killed: calls go on, and soon there are two again."""
    (tmp_path / "auto.yaml").write_bytes(campaign_of({}, "127.0.0.1:1"))
    test_ping = Call(name="ping", body=PING.body | {"data": PING.body["data"] | {"Test_Mode": 1}})
    with (tmp_path / "log").open("w+") as log, serving(*options(tmp_path, "--workers", "2"), log=log) as server:
        killed, *_ = children(server.process.pid)
        os.kill(killed, signal.SIGKILL)
        await wait_until(lambda: '"event":"worker_died"' in (tmp_path / "log").read_text())
        await wait_until(
            lambda: len(children(server.process.pid)) == 2 and killed not in children(server.process.pid), 10
        )
        async with aiohttp.ClientSession() as http:
            assert (await Rest(server.http, http).send(test_ping))[1]["status"] == "accepted"
        assert await asyncio.to_thread(server.stop) == 0
