"""A request that would rather go on in another protocol is answered in this one, as RFC 9110 (7.8) allows."""

import asyncio
import random
import re
import shutil

import pytest

from tests.gateway.test_both_ways import LAST, Running, a_request, all_answers, request, running
from tests.gateway.test_gateway import PING

__all__ = ["running"]
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
ASKS = [
    H2C,
    b"Upgrade: websocket\r\nConnection: upgrade\r\n",
    b"connection: UPGRADE\r\nupgrade: a, b\r\nUpgrade: c\r\n",
]


@pytest.mark.parametrize("asks", ASKS)
async def test_body_of_who_asks_for_another_protocol_is_read(running: Running, asks: bytes) -> None:
    """Both ways, and the answer is that of a call which asks for nothing."""
    plain, _ = await running.answers_both_ways(*request())
    assert await running.answers_both_ways(*request(headers=asks)) == (plain, plain)
    assert len({str(seen) for seen in running.stub.seen}) == 1


async def test_next_call_of_the_connection_is_read(running: Running) -> None:
    """The question changes nothing for those behind it, with a body or without one."""
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n%b\r\n" % H2C
    connection = await running.connect()
    await connection.send(health + b"".join(request(headers=H2C)) + health + b"".join(request()))
    answers = [await connection.read_answer() for _ in range(4)]
    assert answers[0] == answers[2]
    assert answers[1] == answers[3]
    await connection.send(b"".join(request()))
    assert await connection.read_answer() == answers[1]


@pytest.mark.parametrize("line", [b"CONNECT x:443", b"CONNECT /ping"])
async def test_connect_is_no_upgrade(running: Running, line: bytes) -> None:
    """Nobody gets a tunnel here; he is told so once."""
    connection = await running.connect()
    await connection.send(line + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(5):
        assert re.match(rb"HTTP/1.1 40[05] ", await connection._reader.readuntil(b"\r\n\r\n"))


@pytest.mark.parametrize("parts", [1, 2])
async def test_call_behind_a_connect_is_read(running: Running, parts: int) -> None:
    """Also where it comes with it: there is no tunnel that it could be meant for."""
    connect, call = b"CONNECT /ping HTTP/1.1\r\nHost: x\r\n\r\n", b"".join(request())
    connection = await running.connect()
    await connection.send(*([connect + call] if parts == 1 else [connect, call]))
    answers = [await connection.read_answer() for _ in range(2)]
    assert [answer[9:12] for answer in answers] == [b"405", b"200"]


@pytest.mark.parametrize("seed", range(20))
async def test_any_stream_is_answered_as_without_the_question(running: Running, seed: int) -> None:
    """Requests of many kinds, cut anywhere, some of which ask for another protocol."""
    dice = random.Random(seed)
    plain = [a_request(dice) for _ in range(dice.randrange(1, 6))] + [LAST]
    asking = [
        each if b"Connection" in each or dice.random() < 0.3 else each.replace(b"Host: x\r\n", b"Host: x\r\n" + H2C, 1)
        for each in plain
    ]
    stream = b"".join(asking)
    cuts = sorted(dice.randrange(len(stream)) for _ in range(dice.randrange(8)))
    parts = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert await all_answers(running, parts) == await all_answers(running, plain)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_curl_that_would_like_http_2(running: Running) -> None:
    """`curl --http2` asks so in each request over plain text, and posts its lead all the same."""
    arguments = ["--http2", "-sS", "-m", "10", "-w", " %{http_code} %{http_version}", "--data-binary", PING.decode()]
    curl = await asyncio.create_subprocess_exec(
        "curl", *arguments, f"http://{running.address}/ping", stdout=asyncio.subprocess.PIPE
    )
    told, _ = await curl.communicate()
    assert told.endswith(b'"ping_id":"PING-1"} 200 1.1')
