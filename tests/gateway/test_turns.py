"""Answers come in their turn, and who does not read them is hung up on; on both ways."""

import asyncio
import gc
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.app import create_app
from gateway.server import HttpServer, address_of, open_socket
from leadexchange.v1 import lead_exchange_pb2 as pb
from tests.gateway.test_both_ways import (
    ACCEPTED,
    ASGI,
    DELIVERED,
    LAST,
    STRAIGHT,
    Connection,
    Running,
    WatchingStub,
    request,
)
from tests.gateway.test_gateway import PING

WHOLE = b"".join(request(path=b"/post"))
WAYS = {STRAIGHT: WHOLE, ASGI: WHOLE.replace(b"/post", b"/post?by=asgi")}
LARGE = pb.PostResponse(status=pb.POST_STATUS_REJECTED, message="x" * 8_000_000)  # more than sockets hold
CHUNKED = b"POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN = {
    "garbage": b"this is no HTTP\r\n\r\n",
    "length": b"POST /post HTTP/1.1\r\nContent-Length: many\r\n\r\n",
    "large header": b"POST /post HTTP/1.1\r\nX: %b\r\n" % (b"x" * 40_000),
    "endless path": b"POST /%b" % (b"x" * 80_000),
    "chunk": CHUNKED + b"5\r\nhello\r\nno chunk\r\n",
}


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    server, opened = HttpServer(), open_socket("127.0.0.1:0")
    started = Running(WatchingStub(), server, address_of(opened))
    await server.start(create_app(started.stub), opened, lambda: started.is_full)
    yield started
    for connection in started.connections:
        connection.writer.close()
    await server.stop(2)


def connections_of(running: Running) -> set[Any]:
    server: Any = running.server
    found: set[Any] = server._server.server_state.connections
    return found


def answering_later(running: Running) -> asyncio.Event:
    """Have posts wait for the event, which is given, and then be delivered."""
    is_over = asyncio.Event()

    async def slow() -> pb.PostResponse:
        await is_over.wait()
        return DELIVERED

    running.stub.answer = slow
    return is_over


async def until(is_so: Any) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - the server sets no event
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_call_is_answered_before_what_is_refused_behind_it(running: Running, way: str, broken: bytes) -> None:
    """A sold lead is not told as a bad request: its own answer comes first, then 400 and the end."""

    async def slow() -> pb.PostResponse:
        await asyncio.sleep(0.1)
        return DELIVERED

    running.stub.answer = slow
    connection = await running.connect()
    connection.writer.write(WAYS[way] + WAYS[way] + broken + WHOLE)
    answers = await read_all(connection)
    assert [each[:3] for each in answers] == [b"200", b"200", b"400"]
    assert b"connection: close\r\n" in answers[-1]
    assert b"Invalid HTTP request" not in answers[-1]  # which says nothing
    assert running.stub.ways == [way, ASGI]  # and nothing behind it is run


async def read_all(connection: Connection) -> list[bytes]:
    """All answers until the server ends the connection."""
    async with asyncio.timeout(10):
        return re.split(rb"HTTP/1\.1 (?=\d)", await connection._reader.read())[1:]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("behind", "statuses"),
    [
        (b"", [b"200", b"200"]),
        (WHOLE[:20], [b"200", b"200", b"400"]),
        (WHOLE[:-5], [b"200", b"200", b"400"]),
        (BROKEN["garbage"], [b"200", b"200", b"400"]),
    ],
    ids=["nothing", "half a head", "half a body", "garbage"],
)
async def test_who_has_said_all_may_still_listen(
    running: Running, way: str, behind: bytes, statuses: list[bytes]
) -> None:
    """A client that shuts down his side of the connection behind his posts, as `nc -N` does, hears of each."""

    async def slow() -> pb.PostResponse:
        await asyncio.sleep(0.1)
        return DELIVERED

    running.stub.answer = slow
    connection = await running.connect()
    connection.writer.write(WAYS[way] * 2 + behind)
    connection.writer.write_eof()
    answers = await read_all(connection)
    assert [each[:3] for each in answers] == statuses
    assert b"connection: close\r\n" in answers[-1]
    assert running.stub.ways == [way, ASGI]


@pytest.mark.parametrize("said", [b"", WHOLE])
async def test_who_has_said_all_and_is_answered_is_let_go(running: Running, said: bytes) -> None:
    """Nothing is owed: the connection ends at once."""
    running.stub.answer = DELIVERED
    connection = await running.connect()
    await connection.send(said)
    connection.writer.write_eof()
    await until(lambda: not connections_of(running))


async def test_body_that_breaks_behind_its_answer_gets_no_other(running: Running) -> None:
    """One request has one answer."""
    connection = await running.connect()
    await connection.send(CHUNKED.replace(b"/post", b"/nowhere") + b"5\r\nhello\r\n", b"no chunk\r\n")
    assert [each[:3] for each in await read_all(connection)] == [b"404"]


async def test_post_behind_a_refused_last_call_is_not_begun(running: Running) -> None:
    """Its answer could reach nobody: the call before it said that it was the last."""
    running.is_full = True
    connection = await running.connect()
    await connection.send(b"".join(request(headers=b"Connection: close\r\n")) + WHOLE)
    assert [each[:3] for each in await read_all(connection)] == [b"503"]
    assert running.stub.ways == []


async def test_calls_that_wait_stay_outside(running: Running) -> None:
    """Who sends on and on is not read ahead of: what waits takes the room of a packet or two."""
    most = 0

    async def slow() -> pb.PostResponse:
        nonlocal most
        most = max(most, *(len(each.pipeline) for each in connections_of(running)))
        await asyncio.sleep(0.001)
        return DELIVERED

    running.stub.answer = slow
    large = b"".join(request(PING + b" " * 60_000, path=b"/post"))
    connection = await running.connect()
    sending = asyncio.create_task(connection.send(large * 100, LAST))
    assert len(await read_all(connection)) == 101
    await sending
    assert most < 20


async def test_calls_that_wait_are_bounded(running: Running) -> None:
    """So many small ones as no packet of honest calls holds; those before are answered, and he hears why."""
    running.stub.answer = DELIVERED
    connection = await running.connect()
    await connection.send(WHOLE + b"GET /nowhere HTTP/1.1\r\n\r\n" * 2_000)
    answers = await read_all(connection)
    assert [each[:3] for each in answers] == [b"200", *[b"404"] * 1_000, b"400"]
    assert b"it is one of more than 1000 that wait for their turn" in answers[-1]


async def test_who_comes_while_the_server_stops_is_let_go(running: Running) -> None:
    """He was accepted when the others were told: nobody would wait for his calls, and all for him."""
    is_over = answering_later(running)
    connection = await running.connect()
    await connection.send(WHOLE)
    server: Any = running.server
    uvicorn = server._server
    stopping = asyncio.create_task(running.server.stop(60))
    await asyncio.sleep(0.1)
    ours, theirs = socket.socketpair()
    late = uvicorn.config.http_protocol_class(config=uvicorn.config, server_state=uvicorn.server_state, app_state={})
    await asyncio.get_running_loop().connect_accepted_socket(lambda: late, ours)
    reader, writer = await asyncio.open_connection(sock=theirs)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    is_over.set()
    assert [each[:3] for each in await read_all(connection)] == [b"200"]
    async with asyncio.timeout(5):
        await stopping


async def test_rest_that_comes_later_is_read_no_more(running: Running) -> None:
    """What makes a refused request whole, while the call before it runs, does not make a call of it."""
    is_over = answering_later(running)
    connection = await running.connect()
    await connection.send(WHOLE, b"POST /%b" % (b"x" * 80_000), b" HTTP/1.1\r\nHost: x\r\n\r\n", WHOLE)
    is_over.set()
    assert [each[:3] for each in await read_all(connection)] == [b"200", b"400"]
    assert running.stub.ways == [STRAIGHT]


@pytest.mark.parametrize("way", WAYS)
async def test_half_a_request_behind_a_call_costs_no_answer(running: Running, way: str, monkeypatch: Any) -> None:
    """Whose next request does not get on is hung up on, but not before the call under way is answered."""
    monkeypatch.setattr("gateway.protocol.HEADERS_S", 0.1)

    async def slow() -> pb.PostResponse:
        await asyncio.sleep(2.2)  # the server has looked twice
        return DELIVERED

    running.stub.answer = slow
    connection = await running.connect()
    await connection.send(WAYS[way] + b"POST /post HTTP/1.1\r\nX-Slow: ")
    assert [each[:3] for each in await read_all(connection)] == [b"200"]


@pytest.mark.parametrize("way", WAYS)
async def test_hanging_up_on_who_does_not_read_cuts_no_post_short(running: Running, way: str, monkeypatch: Any) -> None:
    """A post under way is run to its end, once; what stood behind it is not begun, and nobody hears of either."""
    monkeypatch.setattr("gateway.protocol.UNREAD_S", 0.5)
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    is_over, ended = asyncio.Event(), []

    async def slow() -> pb.PostResponse:
        await is_over.wait()
        ended.append(1)
        return DELIVERED

    running.stub.answer = LARGE
    connection = await running.connect()
    await connection.send(WHOLE)
    running.stub.answer = slow
    await connection.send(WAYS[way] * 2)
    await until(lambda: not connections_of(running))
    is_over.set()
    server: Any = running.server
    await until(lambda: not server._server.server_state.tasks)
    gc.collect()
    assert (running.stub.ways, ended, problems) == ([STRAIGHT, way], [1], [])


async def test_last_answer_that_is_not_read_ends_too(running: Running, monkeypatch: Any) -> None:
    """A connection that is to be closed waits no longer for its client than any other."""
    monkeypatch.setattr("gateway.protocol.UNREAD_S", 0.5)
    running.stub.answer = LARGE
    connection = await running.connect()
    await connection.send(WHOLE.replace(b"Host: x", b"Host: x\r\nConnection: close"))
    assert running.stub.ways == [ASGI]
    await until(lambda: not connections_of(running))


async def test_few_answers_that_are_not_read_end_too(running: Running, monkeypatch: Any) -> None:
    """Likewise where they are too few for the transport to say that it is full."""
    monkeypatch.setattr("gateway.protocol.UNREAD_S", 0.5)
    monkeypatch.setattr("gateway.protocol.KEEP_ALIVE_S", 0.5)
    connection = await running.connect()
    await connection.send(WHOLE)
    (protocol,) = connections_of(running)
    protocol.transport.set_write_buffer_limits(high=100_000_000)
    running.stub.answer = LARGE
    await connection.send(WHOLE)
    assert not protocol.flow.write_paused
    await until(lambda: not connections_of(running))


async def test_refusals_that_are_not_read_do_not_pile_up(running: Running) -> None:
    """While answers wait to be read, a full exchange's are not written without end either."""
    running.stub.answer = LARGE
    connection = await running.connect()
    await connection.send(WHOLE)
    (protocol,) = connections_of(running)
    running.is_full, running.stub.answer = True, ACCEPTED
    for _ in range(20):
        connection.writer.write(b"".join(request()))
        await asyncio.sleep(0.01)
    assert running.stub.ways == [STRAIGHT, STRAIGHT]  # the exchange refuses one itself, whose answer waits
    assert protocol.flow.read_paused


@pytest.mark.parametrize("parts", [1, 2])
async def test_trailers_are_no_headers(running: Running, parts: int) -> None:
    """An idempotency key behind the body would be one that a proxy may have dropped: it is not looked at."""
    running.stub.answer = DELIVERED
    rest = b"%x\r\n%b\r\n0\r\nIdempotency-Key: late\r\n\r\n" % (len(PING), PING)
    connection = await running.connect()
    await connection.send(*([CHUNKED + rest] if parts == 1 else [CHUNKED, rest]))
    assert (await connection.read_answer())[9:12] == b"200"
    assert running.stub.seen[0][2] == ()
    assert running.stub.ways == [STRAIGHT if parts == 1 else ASGI]
