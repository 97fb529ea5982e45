"""The front before two nodes: REST and gRPC through a real nginx, with a node that is killed and one that drains."""

import asyncio
import shutil
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import grpc
import pytest

from tests.commands.processes import Serving, serving
from tests.commands.test_serve import PING, options, post
from tests.exchange.cases import Case, campaign_of, replies_of
from tests.exchange.scripted_buyers import scripted_buyers
from tests.exchange.transports import Grpc, Rest, wait_until

CONFIG = Path(__file__).parents[2] / "deploy" / "nginx.conf"
KEPT_CONNECTIONS = 2  # from the front to the killed node, by one caller after the other
SLOW_POST: Case = {"replies": {"acme.post": [{"json": {"result": "sold"}, "delay_ms": 1_000}]}}


@dataclass
class Front:
    """Where nginx listens."""

    http: str
    grpc: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def front(folder: Path, nodes: list[Serving]) -> Iterator[Front]:
    """nginx with the shipped configuration, in which only addresses and folders differ."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed: make debian")
    text = CONFIG.read_text().replace("/tmp/nginx", f"{folder}/nginx")
    for number, node in enumerate(nodes, 1):
        text = text.replace(f"node{number}:8080", node.http).replace(f"node{number}:50051", node.grpc)
    ports = free_port(), free_port()
    text = text.replace("listen 8080;", f"listen 127.0.0.1:{ports[0]};")
    text = text.replace("listen 50051 http2;", f"listen 127.0.0.1:{ports[1]} http2;")
    file = folder / "nginx.conf"
    file.write_text(text)
    folder.chmod(0o755)
    command = [nginx, "-p", str(folder), "-e", "stderr", "-g", "daemon off; master_process off;", "-c", str(file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(ports[0], process)
            yield Front(http=f"127.0.0.1:{ports[0]}", grpc=f"127.0.0.1:{ports[1]}")
        finally:
            process.terminate()


def wait_for(port: int, process: "subprocess.Popen[str]") -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(process.stderr.read() if process.stderr else "nginx has ended")
    raise AssertionError("nginx does not listen")


@contextmanager
def two_nodes(folder: Path) -> Iterator[tuple[Front, Serving]]:
    """The front and the first of its nodes."""
    with (
        serving(*options(folder)) as first,
        serving(*options(folder)) as second,
        front(folder, [first, second]) as place,
    ):
        yield place, first


async def test_two_nodes_behind_the_front(tmp_path: Path) -> None:
    """Over both roads. One node is killed: what it took with it hears so, the next is sold by the other."""
    async with scripted_buyers(replies_of({})) as buyers:
        (tmp_path / "auto.yaml").write_bytes(campaign_of({}, buyers.address))
        with two_nodes(tmp_path) as (place, first):
            async with aiohttp.ClientSession() as http, grpc.aio.insecure_channel(place.grpc) as channel:
                by_rest = Rest(place.http, http)
                roads = (by_rest, Grpc(channel))
                assert [await sell(roads[number % 2]) for number in range(20)] == ["delivered"] * 20
                first.process.kill()
                after = [await sell(by_rest) for _ in range(20)]
                assert set(after) <= {"delivered", "server_error"}
                assert after.count("server_error") <= KEPT_CONNECTIONS
                assert after[-10:] == ["delivered"] * 10
        got = [lead["delivery"] for lead in buyers.received["acme.post"]]
        assert len(got) == len(set(got)) == 20 + after.count("delivered")


async def sell(source: Rest | Grpc) -> str:
    """What becomes of a ping and its post."""
    _, offered = await source.send(PING)
    if offered["status"] != "accepted":
        return str(offered["reason"])
    _, sold = await source.send(post(offered["ping_id"]))
    return str(sold.get("reason", sold["status"]))


async def test_post_whose_node_dies_is_not_given_to_the_other(tmp_path: Path) -> None:
    """It may have been begun: the front says that it does not know, and the buyer hears of the lead once."""
    async with scripted_buyers(replies_of(SLOW_POST)) as buyers:
        (tmp_path / "auto.yaml").write_bytes(campaign_of({}, buyers.address))
        with two_nodes(tmp_path) as (place, first):
            async with aiohttp.ClientSession() as http:
                source = Rest(place.http, http)
                ping_ids = [(await source.send(PING))[1]["ping_id"] for _ in range(2)]
                async with asyncio.TaskGroup() as group:
                    posts = [group.create_task(source.send(post(each))) for each in ping_ids]
                    await wait_until(lambda: len(buyers.received["acme.post"]) == 2)
                    first.process.kill()
                assert Counter(each.result()[1].get("reason", "delivered") for each in posts) == {
                    "delivered": 1,
                    "server_error": 1,
                }
                await asyncio.sleep(0.5)
        assert len(buyers.received["acme.post"]) == 2


async def test_node_that_drains_lets_its_calls_end(tmp_path: Path) -> None:
    """A post under way on a node that was told to end is answered through the front; what comes next is too."""
    async with scripted_buyers(replies_of(SLOW_POST)) as buyers:
        (tmp_path / "auto.yaml").write_bytes(campaign_of({}, buyers.address))
        with two_nodes(tmp_path) as (place, first):
            async with aiohttp.ClientSession() as http:
                source = Rest(place.http, http)
                ping_ids = [(await source.send(PING))[1]["ping_id"] for _ in range(4)]
                async with asyncio.TaskGroup() as group:
                    posts = [group.create_task(source.send(post(each))) for each in ping_ids]
                    await wait_until(lambda: len(buyers.received["acme.post"]) == 4)
                    first.process.send_signal(signal.SIGTERM)
                assert {each.result()[1]["status"] for each in posts} == {"delivered"}
                assert (await source.send(PING))[1]["status"] == "accepted"
            assert await asyncio.to_thread(first.process.wait, 40) == 0
