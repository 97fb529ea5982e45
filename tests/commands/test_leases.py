"""Processes that are killed while they deliver: what they leave behind is settled, and nothing is sent twice."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from tests.commands.processes import Serving, children, lexchange, serving
from tests.commands.test_serve import PING, options, post
from tests.exchange.cases import Case, campaign_of, replies_of
from tests.exchange.scripted_buyers import ScriptedBuyers, scripted_buyers
from tests.exchange.transports import Call, Rest, wait_until

HANGS: Case = {"replies": {"acme.post": [{"json": {"result": "sold"}, "delay_ms": 60_000}]}}
SOLD = [{"json": {"result": "sold"}}]


def reconcile(folder: Path) -> list[Any]:
    done = lexchange("reconcile", "list", "--json", "--store", f"sqlite:///{folder}/store.db")
    assert done.returncode == 0, done.stderr
    return list(orjson.loads(done.stdout))


async def posted(server: Serving, buyers: ScriptedBuyers, http: aiohttp.ClientSession, count: int) -> list[Call]:
    """Posts under way at the hanging buyer, each under an idempotency key."""
    source = Rest(server.http, http)
    calls = []
    for number in range(count):
        _, answer = await source.send(PING)
        calls.append(Call(name="post", body=post(answer["ping_id"]).body, headers={"Idempotency-Key": f"k{number}"}))
    tasks = [asyncio.ensure_future(source.send(call)) for call in calls]
    await wait_until(lambda: len(buyers.received["acme.post"]) == count, 10)
    for task in tasks:
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return calls


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_restart_settles_what_a_kill_left_behind(workers: str, tmp_path: Path) -> None:
    """After kill -9 of everything: unknown at once, listed with its evidence, told alike, and never sent again."""
    async with scripted_buyers(replies_of(HANGS)) as buyers, aiohttp.ClientSession() as http:
        (tmp_path / "auto.yaml").write_bytes(campaign_of(HANGS, buyers.address))
        with serving(*options(tmp_path, "--workers", workers)) as server:
            calls = await posted(server, buyers, http, 5)
            pids = [server.process.pid, *children(server.process.pid)] if workers == "2" else [server.process.pid]
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            server.process.wait(10)
        assert [lead["state"] for lead in reconcile(tmp_path)] == ["sending"] * 5
        with serving(*options(tmp_path, "--workers", workers)) as server:
            listed = reconcile(tmp_path)
            assert [lead["state"] for lead in listed] == ["unknown"] * 5
            assert {lead["detail"] for lead in listed} == {"the exchange ended while the lead was being sent"}
            for call in calls:
                status, answer = await Rest(server.http, http).send(call)
                assert (status, answer["status"], answer["reason"]) == (200, "failed", "downstream_timeout")
            assert await asyncio.to_thread(server.stop) == 0
        assert len(buyers.received["acme.post"]) == 5


async def test_worker_settles_what_its_neighbour_left_behind(tmp_path: Path) -> None:
    """One of two workers is killed: its leads become unknown while the other's are delivered as if nothing was."""
    slow: Case = {"replies": {"acme.post": [{"json": {"result": "sold"}, "delay_ms": 4_000}]}}
    slow["change"] = {"buyers.acme.post.timeout_ms": 20_000, "routing.post_timeout_ms": 20_000}
    async with scripted_buyers(replies_of(slow)) as buyers:
        (tmp_path / "auto.yaml").write_bytes(campaign_of(slow, buyers.address))
        with serving(*options(tmp_path, "--workers", "2")) as server:

            async def one() -> str:
                async with aiohttp.ClientSession() as http:
                    source = Rest(server.http, http)
                    _, answer = await source.send(PING)
                    try:
                        return str((await source.send(post(answer["ping_id"])))[1]["status"])
                    except aiohttp.ClientError:
                        return "cut"

            tasks = [asyncio.ensure_future(one()) for _ in range(24)]
            await wait_until(lambda: len(buyers.received["acme.post"]) == 24, 10)
            os.kill(children(server.process.pid)[0], signal.SIGKILL)
            told = await asyncio.gather(*tasks)
            cut, delivered = told.count("cut"), told.count("delivered")
            assert (cut + delivered, cut > 0, delivered > 0) == (24, True, True), told
            await wait_until(lambda: [lead["state"] for lead in reconcile(tmp_path)] == ["unknown"] * cut, 20)
            assert await asyncio.to_thread(server.stop) == 0
        assert len(buyers.received["acme.post"]) == 24


async def test_drain_that_takes_longer_than_a_lease(tmp_path: Path) -> None:
    """A worker that drains still lives: nobody sweeps the lead that it delivers."""
    slow: Case = {"replies": {"acme.post": [{"json": {"result": "sold"}, "delay_ms": 3_000}]}}
    slow["change"] = {"buyers.acme.post.timeout_ms": 20_000, "routing.post_timeout_ms": 20_000}
    async with scripted_buyers(replies_of(slow)) as buyers, aiohttp.ClientSession() as http:
        (tmp_path / "auto.yaml").write_bytes(campaign_of(slow, buyers.address))
        with (
            serving(*options(tmp_path), LEXCHANGE_LEASE_S="1") as draining,
            serving(*options(tmp_path), LEXCHANGE_LEASE_S="1") as other,
        ):
            source = Rest(draining.http, http)
            _, ping = await source.send(PING)
            task = asyncio.ensure_future(source.send(post(ping["ping_id"])))
            await wait_until(lambda: bool(buyers.received["acme.post"]), 10)
            assert await asyncio.to_thread(draining.stop) == 0
            assert (await task)[1]["status"] == "delivered"
            assert await asyncio.to_thread(other.stop) == 0
        assert reconcile(tmp_path) == []
