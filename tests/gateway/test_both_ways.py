"""A call that comes whole goes straight to its endpoint, any other through ASGI: both answer alike, to the byte."""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from gateway.app import create_app
from gateway.server import HttpServer, address_of, open_socket
from leadexchange.v1 import lead_exchange_pb2 as pb
from tests.gateway.test_gateway import PING, Refused

STRAIGHT, ASGI = "StraightCall.run", "RequestResponseCycle.run_asgi"
REJECTED = pb.PingResponse(
    status=pb.PING_STATUS_REJECTED,
    reason=pb.REASON_SCHEMA_VALIDATION_FAILED,
    message="2 fields",
    errors=[pb.FieldProblem(field="zipcode", code="required", message="expected 5 digits")],
)
ACCEPTED = pb.PingResponse(status=pb.PING_STATUS_ACCEPTED, ping_id="PING-1", payout_micros=5_950_000)
DELIVERED = pb.PostResponse(status=pb.POST_STATUS_DELIVERED, lead_id="L-1", delivery_id="DEL-1")


@dataclass
class WatchingStub:
    """Answers every call with `answer`, or raises it, and notes which way it came and what came with it."""

    answer: Any = field(default_factory=lambda: ACCEPTED)
    ways: list[str] = field(default_factory=list)
    seen: list[tuple[Any, float | None, Any]] = field(default_factory=list)

    async def Ping(self, request: Any, *, timeout: float | None = None, metadata: Any = ()) -> Any:
        task: Any = asyncio.current_task()
        self.ways.append(task.get_coro().__qualname__)
        self.seen.append((request, timeout, tuple(metadata)))
        if isinstance(self.answer, Exception):
            raise self.answer
        if callable(self.answer):
            return await self.answer()
        return self.answer

    Post = DirectPost = Ping


class Connection:
    """A connection on which bytes are sent as the test likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        """Each part as a packet of its own."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0.03)

    async def read_answer(self) -> bytes:
        """One answer without its date."""
        async with asyncio.timeout(10):
            head = await self._reader.readuntil(b"\r\n\r\n")
            body = await self._reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))
        undated, dates = re.subn(rb"\r\ndate: [^\r]+ GMT", b"", head)
        assert dates == 1
        return undated + body

    async def is_closed(self) -> bool:
        """Whether the server has closed it, or does so within a moment."""
        try:
            async with asyncio.timeout(0.3):
                return await self._reader.read(1) == b""
        except TimeoutError:
            return False


@dataclass
class Running:
    stub: WatchingStub
    server: HttpServer
    address: str
    connections: list[Connection] = field(default_factory=list)
    is_full: bool = False

    async def connect(self) -> Connection:
        host, _, port = self.address.rpartition(":")
        connection = Connection(*await asyncio.open_connection(host, int(port)))
        self.connections.append(connection)
        return connection

    async def answers_both_ways(self, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        """What a call is answered that comes in one packet, and what in two."""
        connection = await self.connect()
        answers = []
        for parts in ((head + body,), (head, body)):
            if await connection.is_closed():
                connection = await self.connect()
            await connection.send(*parts)
            answers.append(await connection.read_answer())
        return answers[0], answers[1]


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    stub, server, opened = WatchingStub(), HttpServer(), open_socket("127.0.0.1:0")
    await server.start(create_app(stub), opened)
    running = Running(stub, server, address_of(opened))
    yield running
    for connection in running.connections:
        connection.writer.close()
    await server.stop(2)


def request(body: bytes = PING, path: bytes = b"/ping", headers: bytes = b"") -> tuple[bytes, bytes]:
    return b"POST %b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n" % (path, headers, len(body)), body


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (ACCEPTED, b"200 OK"),
        (REJECTED, b"200 OK"),
        (Refused(grpc.StatusCode.UNAUTHENTICATED, "INVALID_KEY"), b"401 Unauthorized"),
        (Refused(grpc.StatusCode.PERMISSION_DENIED, "CREDENTIAL_DISABLED"), b"403 Forbidden"),
        (Refused(grpc.StatusCode.ABORTED, "REQUEST_IN_FLIGHT"), b"409 Conflict"),
        (Refused(grpc.StatusCode.RESOURCE_EXHAUSTED), b"413 Content Too Large"),
        (Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"), b"429 Too Many Requests"),
        (ValueError("inside"), b"500 Internal Server Error"),
        (Refused(grpc.StatusCode.UNAVAILABLE), b"503 Service Unavailable"),
    ],
)
async def test_answers_are_alike(running: Running, answer: Any, status: bytes) -> None:
    """Whatever comes of a call, nobody can tell from the answer which way it went."""
    running.stub.answer = answer
    whole, parted = await running.answers_both_ways(*request())
    assert whole == parted
    assert re.match(rb"HTTP/1\.1 %b" % status[:3], whole)
    assert running.stub.ways == [STRAIGHT, ASGI]


@pytest.mark.parametrize("path", [b"/post", b"/direct_post"])
async def test_answers_of_posts_are_alike(running: Running, path: bytes) -> None:
    """All three calls have both ways."""
    running.stub.answer = DELIVERED
    whole, parted = await running.answers_both_ways(*request(path=path))
    assert whole == parted
    assert running.stub.ways == [STRAIGHT, ASGI]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{", b""),
        (b"[]", b""),
        (b'{"SRC": "S", "KEY": "K"}', b""),
        (PING, b"Grpc-Timeout: soon\r\n"),
        (PING, b"Idempotency-Key: \xfc\r\n"),
        (PING[:-1] + b" " * (65_537 - len(PING)) + b"}", b""),
    ],
)
async def test_refusals_of_the_gateway_are_alike(running: Running, body: bytes, headers: bytes) -> None:
    """Likewise what never reaches the exchange."""
    whole, parted = await running.answers_both_ways(*request(body, headers=headers))
    assert whole == parted
    assert not whole.startswith(b"HTTP/1.1 200")
    assert running.stub.ways == []


async def test_headers_mean_the_same(running: Running) -> None:
    """Deadline and idempotency key arrive both ways, whatever the case of their names."""
    await running.answers_both_ways(*request(headers=b"GRPC-Timeout: 800m\r\nidempotency-KEY: order-17\r\n"))
    assert running.stub.seen[0] == running.stub.seen[1]
    assert running.stub.seen[0][1:] == (0.8, (("idempotency-key", "order-17"),))
    assert running.stub.ways == [STRAIGHT, ASGI]


@pytest.mark.parametrize(
    "unusual",
    [
        b"POST /ping?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b",
        b"POST /%%70ing HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b",
        b"POST /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b",
        b"POST /ping HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b",
        b"POST /ping HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%b",
    ],
)
async def test_unusual_calls_go_through_asgi(running: Running, unusual: bytes) -> None:
    """What a keep-alive client of HTTP/1.1 does not send is uvicorn's to understand."""
    connection = await running.connect()
    await connection.send(unusual % (len(PING), PING))
    assert (await connection.read_answer()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert running.stub.ways == [ASGI]


async def test_who_expects_is_told_to_continue(running: Running) -> None:
    """A client that asks before it sends its body hears that it may."""
    connection = await running.connect()
    head, body = request(headers=b"Expect: 100-continue\r\n")
    await connection.send(head, body)
    async with asyncio.timeout(10):
        assert await connection._reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await connection.read_answer()).endswith(b'"ping_id":"PING-1"}')
    assert running.stub.ways == [ASGI]


async def test_who_cannot_be_told_to_continue_is_not(running: Running) -> None:
    """HTTP/1.0 has no 100: its client would take it for the answer."""
    connection = await running.connect()
    head, body = request(headers=b"Expect: 100-continue\r\n")
    await connection.send(head.replace(b"HTTP/1.1", b"HTTP/1.0"), body)
    assert (await connection.read_answer()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_chunks_that_come_at_once_are_a_whole_body(running: Running) -> None:
    """How a body was cut does not matter once it is there."""
    connection = await running.connect()
    head = b"POST /ping HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await connection.send(head + b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (PING[:5], len(PING) - 5, PING[5:]))
    whole = await connection.read_answer()
    assert whole == (await running.answers_both_ways(*request()))[0]
    assert running.stub.seen[0] == running.stub.seen[1]


async def test_pipelined_calls_are_answered_in_their_order(running: Running) -> None:
    """The first goes straight, those behind it wait for their turn as ever, and the connection lives on."""
    numbers = iter(range(1, 10))

    async def numbered() -> pb.PingResponse:
        number = next(numbers)
        await asyncio.sleep(0.05 / number)  # each later one would overtake
        return pb.PingResponse(status=pb.PING_STATUS_ACCEPTED, ping_id=f"PING-{number}", payout_micros=1)

    running.stub.answer = numbered
    connection = await running.connect()
    await connection.send(b"".join(request()) * 3)
    answers = [await connection.read_answer() for _ in range(3)]
    await connection.send(b"".join(request()))
    answers.append(await connection.read_answer())
    assert [answer[-8:-2] for answer in answers] == [b"PING-1", b"PING-2", b"PING-3", b"PING-4"]
    assert running.stub.ways == [STRAIGHT, ASGI, ASGI, STRAIGHT]


@pytest.mark.parametrize("parts", [1, 2])
async def test_hanging_up_cuts_no_call_short(running: Running, parts: int) -> None:
    """Whose caller has gone is still run to its end; nobody hears of it."""
    is_asked, is_over = asyncio.Event(), asyncio.Event()

    async def slow() -> pb.PingResponse:
        is_asked.set()
        await asyncio.sleep(0.2)
        is_over.set()
        return ACCEPTED

    running.stub.answer = slow
    connection = await running.connect()
    await connection.send(*([b"".join(request())] if parts == 1 else request()))
    await is_asked.wait()
    connection.writer.transport.abort()
    async with asyncio.timeout(5):
        await is_over.wait()
    assert running.stub.ways == [STRAIGHT if parts == 1 else ASGI]


@pytest.mark.parametrize("parts", [1, 2])
async def test_call_that_outlives_the_grace_hears_so(running: Running, parts: int) -> None:
    """A shutdown that waits no longer is an error of ours, told in JSON, and the connection ends."""
    is_asked = asyncio.Event()

    async def endless() -> pb.PingResponse:
        is_asked.set()
        await asyncio.sleep(60)
        return ACCEPTED

    running.stub.answer = endless
    connection = await running.connect()
    await connection.send(*([b"".join(request())] if parts == 1 else request()))
    await is_asked.wait()
    await running.server.stop(0)
    answer = await connection.read_answer()
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"connection: close\r\n" in answer
    assert b'"reason":"server_error"' in answer
    assert await connection.is_closed()


@pytest.mark.parametrize("parts", [1, 2])
async def test_stop_ends_a_connection_after_its_answer(running: Running, parts: int) -> None:
    """A call in flight is answered, told that it was the last, and hung up on."""
    is_asked = asyncio.Event()

    async def slow() -> pb.PingResponse:
        is_asked.set()
        await asyncio.sleep(0.3)
        return ACCEPTED

    running.stub.answer = slow
    connection = await running.connect()
    await connection.send(*([b"".join(request())] if parts == 1 else request()))
    await is_asked.wait()
    await running.server.stop(5)
    answer = await connection.read_answer()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n" in answer
    assert await connection.is_closed()


async def test_resting_connection_is_hung_up_on(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks nothing more for long enough is let go, whichever way his calls went."""
    monkeypatch.setattr("gateway.protocol.KEEP_ALIVE_S", 0.2)
    for parts in (b"".join(request()),), request():
        connection = await running.connect()
        await connection.send(*parts)
        await connection.read_answer()
        async with asyncio.timeout(5):
            assert await connection._reader.read(1) == b""


@pytest.mark.parametrize("parts", [1, 2])
async def test_answer_waits_for_a_client_that_does_not_read(running: Running, parts: int) -> None:
    """What a client leaves unread is not piled up without end: the next answer waits until there is room."""
    running.stub.answer = pb.PingResponse(status=pb.PING_STATUS_REJECTED, message="x" * 8_000_000)
    connection = await running.connect()
    await connection.send(*([b"".join(request())] if parts == 1 else request()))
    running.stub.answer = ACCEPTED
    await connection.send(*([b"".join(request())] if parts == 1 else request()))
    server: Any = running.server
    (protocol,) = server._server.server_state.connections
    assert len(running.stub.ways) == 2
    assert not protocol.cycle.response_complete
    answers = [await connection.read_answer() for _ in range(2)]
    assert [len(answer) > 8_000_000 for answer in answers] == [True, False]
    assert protocol.cycle.response_complete


LAST = b"POST /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(PING), PING)


def a_request(dice: random.Random) -> bytes:
    """One that is answered and leaves its connection open, of any kind."""
    line = dice.choice([b"POST /ping", b"POST /ping", b"POST /ping?a=b", b"GET /ping", b"POST /nowhere"])
    body = dice.choice([PING, PING, PING, b"", b"{", PING[:-1] + b" " * 70_000 + b"}"])
    extra = dice.choice([b"", b"", b"Grpc-Timeout: 5S\r\n", b"Grpc-Timeout: x\r\n", b"X: %b\r\n" % (b"y" * 9_000)])
    if len(body) > 65_536:
        line = b"POST /nowhere"  # else the connection ends with it
    if line.startswith(b"POST") and dice.random() < 0.3:
        cut = dice.randrange(len(body) + 1)
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:cut], body[cut:]) if part)
        return b"%b HTTP/1.1\r\nHost: x\r\n%bTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % (line, extra, chunks)
    return b"%b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (line, extra, len(body), body)


async def all_answers(running: Running, parts: list[bytes]) -> bytes:
    """What a connection is told until it ends, without dates."""
    connection = await running.connect()
    for part in parts:
        connection.writer.write(part)
        await asyncio.sleep(0.002)
    async with asyncio.timeout(10):
        return re.sub(rb"\r\ndate: [^\r]+ GMT", b"", await connection._reader.read())


@pytest.mark.parametrize("seed", range(30))
async def test_any_stream_of_requests_is_answered_alike(running: Running, seed: int) -> None:
    """Requests of many kinds, cut into packets anywhere, beside a server that knows no other way than ASGI."""
    dice = random.Random(seed)

    async def only_asgi(scope: Any, receive: Any, send: Any) -> None:
        await gateway(scope, receive, send)

    gateway, server, opened = create_app(running.stub), HttpServer(), open_socket("127.0.0.1:0")
    beside = Running(running.stub, server, address_of(opened))
    await server.start(only_asgi, opened)
    try:
        requests = [a_request(dice) for _ in range(dice.randrange(6))] + [LAST]
        stream = b"".join(requests)
        cuts = sorted(dice.randrange(len(stream)) for _ in range(dice.randrange(8)))
        apart = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        parts = apart if dice.random() < 0.7 else requests
        answers = await all_answers(running, parts)
        assert answers == await all_answers(beside, parts)
        assert answers.count(b"HTTP/1.1 ") == len(requests)
    finally:
        for connection in beside.connections:
            connection.writer.close()
        await server.stop(2)


@pytest.mark.parametrize(
    "start",
    [
        b"POST /",
        b"POST /ping HTTP/1.1\r\nX",
        b"POST /ping HTTP/1.1\r\nX: ",
        b"POST /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        b"POST /nowhere HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;",
    ],
    ids=["path", "name", "value", "trailer", "chunk"],
)
async def test_endless_header_is_not_kept(running: Running, start: bytes) -> None:
    """It is refused long before it is all there, however its parts come."""
    connection = await running.connect()
    with pytest.raises(ConnectionError):
        await connection.send(start, *[b"a" * 65_536] * 100)
    assert running.stub.ways == []


async def test_headers_and_bodies_may_come_in_many_packets(running: Running) -> None:
    """As large as they may be, with a body of the largest size behind the last of the head, or of tiny chunks."""
    fields = b"".join(b"X%d: %b\r\n" % (number, b"y" * 300) for number in range(100))
    head, body = request(PING[:-1] + b" " * (65_536 - len(PING)) + b"}", headers=fields)
    stream = head + body
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    chunked = head.replace(b"Content-Length: 65536", b"Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n"
    connection = await running.connect()
    for sent in (stream, chunked):
        for at in range(0, len(sent), 9_000):
            connection.writer.write(sent[at : at + 9_000])
            await asyncio.sleep(0.002)
        assert (await connection.read_answer()).startswith(b"HTTP/1.1 200 ")
