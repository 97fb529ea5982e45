"""The gateway over real HTTP, in front of a stub that remembers what it was asked."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from gateway import body as body_module
from gateway.app import create_app
from gateway.channel import ChannelStub
from gateway.server import HttpServer, address_of, open_socket
from leadexchange.v1 import lead_exchange_pb2 as pb

PING = b'{"SRC": "S", "KEY": "K", "data": {"a": "x"}}'


class Refused(grpc.RpcError):
    """What a channel raises, with or without the reason of the exchange."""

    def __init__(self, code: grpc.StatusCode, reason: str = "", details: bytes | None = None) -> None:
        super().__init__()
        self._code = code
        self._details = details if details is not None else _rich(code, reason) if reason else b""

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "the sentence"

    def trailing_metadata(self) -> Any:
        return (("other", "x"), ("grpc-status-details-bin", self._details)) if self._details else None


def _rich(code: grpc.StatusCode, reason: str) -> bytes:
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="leadexchange.v1"))
    return status_pb2.Status(code=code.value[0], message="the sentence", details=[packed]).SerializeToString()


@dataclass
class RememberingStub:
    """Answers every call with `answer`, or raises it."""

    answer: Any = field(
        default_factory=lambda: pb.PingResponse(
            status=pb.PING_STATUS_ACCEPTED, ping_id="PING-1", payout_micros=5_950_000
        )
    )
    calls: list[tuple[str, Any, float | None, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.Ping, self.Post, self.DirectPost = (self._taking(name) for name in ("Ping", "Post", "DirectPost"))

    def _taking(self, name: str):
        async def call(request, *, timeout=None, metadata=()):
            self.calls.append((name, request, timeout, dict(metadata)))
            if isinstance(self.answer, Exception):
                raise self.answer
            if callable(self.answer):
                return await self.answer()
            return self.answer

        return call


@dataclass
class Running:
    address: str
    stub: RememberingStub
    server: HttpServer
    http: aiohttp.ClientSession
    is_full: bool = False

    async def post(self, path: str = "/ping", data: Any = PING, **headers: str) -> tuple[int, Any, Any]:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.post(f"http://{self.address}{path}", data=data, headers=names) as response:
            return response.status, await response.json(), response.headers

    async def raw(self, request: bytes) -> bytes:
        """Everything the server sends on one connection until it closes it."""
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        await writer.drain()
        try:
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    stub, server, opened = RememberingStub(), HttpServer(), open_socket("127.0.0.1:0")
    address = address_of(opened)
    async with aiohttp.ClientSession() as http:
        running = Running(address, stub, server, http)
        await server.start(create_app(ChannelStub(cast(Any, stub))), opened, lambda: running.is_full)
        yield running
    await server.stop(2)


async def test_ping_goes_through(running: Running) -> None:
    """One request up, one answer down, JSON with a Date and no server name."""
    status, answer, headers = await running.post()
    assert (status, answer) == (200, {"status": "accepted", "bid": 5.95, "ping_id": "PING-1"})
    assert running.stub.calls == [("Ping", pb.PingRequest(src="S", key="K", data={"a": "x"}), None, {})]
    assert headers["Content-Type"] == "application/json"
    assert "Date" in headers
    assert "Server" not in headers


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "text/plain", "application/octet-stream"])
async def test_any_content_type_is_read_as_json(running: Running, content_type: str) -> None:
    """The body is JSON whatever it says it is."""
    status, _, _ = await running.post(Content_Type=content_type)
    assert status == 200


@pytest.mark.parametrize("path", ["/post", "/direct_post"])
async def test_other_calls_go_through(running: Running, path: str) -> None:
    """Each path calls its own rpc."""
    name, response = {"/post": ("Post", pb.PostResponse), "/direct_post": ("DirectPost", pb.DirectPostResponse)}[path]
    running.stub.answer = response(status=pb.POST_STATUS_DELIVERED, lead_id="L-1", delivery_id="DEL-1")
    status, answer, _ = await running.post(path)
    assert (status, answer["status"], running.stub.calls[0][0]) == (200, "delivered", name)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("800m", 0.8), ("5S", 5.0), ("1M", 60.0), ("2H", 7200.0), ("1500000u", 1.5), ("10000000n", 0.01)],
)
async def test_grpc_timeout_bounds_the_call(running: Running, text: str, seconds: float) -> None:
    """Grpc-Timeout becomes the call's deadline."""
    await running.post(Grpc_Timeout=text)
    assert running.stub.calls[0][2] == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "S", "5s", "-5S", "123456789S", "0m", "1.5S", "5 S"])
async def test_bad_grpc_timeout_is_refused(running: Running, text: str) -> None:
    """A deadline that cannot be read is no deadline to guess at."""
    status, answer, _ = await running.post(Grpc_Timeout=text)
    assert (status, answer["reason"]) == (422, "invalid_payload_shape")
    assert "Grpc-Timeout: expected" in answer["message"]
    assert running.stub.calls == []


async def test_idempotency_key_travels_as_metadata(running: Running) -> None:
    """The header becomes gRPC metadata, at its full length too."""
    for key in ("order-17", "k" * 255):
        await running.post("/post", Idempotency_Key=key)
        assert running.stub.calls[-1][3] == {"idempotency-key": key}


@pytest.mark.parametrize("key", ["", "k" * 256, "schlüssel"])
async def test_bad_idempotency_key_is_refused(running: Running, key: str) -> None:
    """A key that metadata cannot carry is refused, not dropped."""
    status, answer, _ = await running.post("/post", Idempotency_Key=key)
    assert (status, answer["reason"]) == (422, "invalid_payload_shape")
    assert running.stub.calls == []


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Refused(grpc.StatusCode.UNAUTHENTICATED, "MISSING_CREDENTIALS"), 401, "missing_credentials"),
        (Refused(grpc.StatusCode.UNAUTHENTICATED, "INVALID_KEY"), 401, "invalid_key"),
        (Refused(grpc.StatusCode.PERMISSION_DENIED, "CREDENTIAL_DISABLED"), 403, "credential_disabled"),
        (Refused(grpc.StatusCode.ABORTED, "REQUEST_IN_FLIGHT"), 409, "request_in_flight"),
        (Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE"), 413, "payload_too_large"),
        (Refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAYLOAD_SHAPE"), 422, "invalid_payload_shape"),
        (Refused(grpc.StatusCode.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_REUSED"), 422, "idempotency_key_reused"),
        (Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"), 429, "rate_limited"),
        (Refused(grpc.StatusCode.INTERNAL, "SERVER_ERROR"), 500, "server_error"),
        (Refused(grpc.StatusCode.UNAVAILABLE, "OVERLOADED"), 503, "overloaded"),
        (Refused(grpc.StatusCode.UNAVAILABLE), 503, "overloaded"),
        (Refused(grpc.StatusCode.DEADLINE_EXCEEDED), 503, "overloaded"),
        (Refused(grpc.StatusCode.RESOURCE_EXHAUSTED), 413, "payload_too_large"),
        (Refused(grpc.StatusCode.UNIMPLEMENTED), 500, "server_error"),
        (Refused(grpc.StatusCode.INTERNAL, "SOMETHING_NEW"), 500, "server_error"),
        (Refused(grpc.StatusCode.INTERNAL, details=b"\xff"), 500, "server_error"),
        (ValueError("a lead's secret"), 500, "server_error"),
    ],
)
async def test_refusals(running: Running, error: Exception, status: int, reason: str) -> None:
    """Each refusal has its HTTP status and its reason; what may be tried again says when."""
    running.stub.answer = error
    answered, answer, headers = await running.post()
    assert (answered, answer["status"], answer["reason"]) == (status, "error", reason)
    assert list(answer) == ["status", "reason", "message"]
    assert ("Retry-After" in headers) == (status in (429, 503))
    assert "secret" not in answer["message"]


@pytest.mark.parametrize(("size", "status"), [(65_535, 200), (65_536, 200), (65_537, 413)])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_body_limit(running: Running, size: int, status: int, is_chunked: bool) -> None:
    """A body of 64 KiB passes, one byte more does not, announced or not."""
    data = PING[:-1] + b" " * (size - len(PING)) + b"}"

    async def chunks():
        yield data[:40_000]
        yield data[40_000:]

    answered, answer, _ = await running.post(data=chunks() if is_chunked else data)
    assert answered == status
    assert status == 200 or answer["reason"] == "payload_too_large"


async def test_huge_body_is_refused_unread(running: Running) -> None:
    """An announced gigabyte is refused before it is sent."""
    answer = await running.raw(b"POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"payload_too_large" in answer


async def test_slow_body_is_not_waited_for(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that stops sending is answered and lets go."""
    monkeypatch.setattr(body_module, "BODY_S", 0.2)
    request = b"POST /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{"
    answer = await running.raw(request)
    assert answer.startswith(b"HTTP/1.1 422 ")
    assert b"did not arrive" in answer


@pytest.mark.parametrize("path", ["/", "/pings", "/ping/", "/PING", "/favicon.ico"])
async def test_unknown_path(running: Running, path: str) -> None:
    """An unknown path is a 404 in JSON."""
    status, answer, _ = await running.post(path)
    assert (status, answer["status"], answer["reason"]) == (404, "error", "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/ping", "/post", "/direct_post"])
async def test_other_method(running: Running, method: str, path: str) -> None:
    """Another method is a 405 that says which one is allowed."""
    async with running.http.request(method, f"http://{running.address}{path}") as response:
        answer = await response.json()
    assert (response.status, answer["reason"], response.headers["Allow"]) == (405, "method_not_allowed", "POST")


async def test_healthz(running: Running) -> None:
    """A load balancer can ask whether the gateway is there."""
    async with running.http.get(f"http://{running.address}/healthz") as response:
        assert (response.status, await response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    "request_bytes",
    [b"this is no HTTP\r\n\r\n", b"GET /ping HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n"],
    ids=["no http", "headers too large"],
)
async def test_what_is_no_http_is_told_so(running: Running, request_bytes: bytes) -> None:
    """Even then the answer is JSON."""
    answer = await running.raw(request_bytes)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"status":"error"' in answer


@pytest.mark.parametrize(("path", "is_shed"), [("/ping", True), ("/direct_post", True), ("/post", False)])
async def test_full_exchange_is_not_asked(running: Running, path: str, is_shed: bool) -> None:
    """Refused before it becomes work, with the time to come back; a post is a promise and always gets through."""
    running.is_full = True
    status, answer, headers = await running.post(path)
    assert (status == 503) is is_shed
    assert len(running.stub.calls) == (not is_shed)
    if is_shed:
        assert (answer["status"], answer["reason"]) == ("error", "overloaded")
        assert (headers["Content-Type"], headers["Retry-After"]) == ("application/json", "1")


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_connection_outlives_a_refusal(running: Running, is_chunked: bool, parts: int) -> None:
    """Refused calls, in one piece or in several, leave nothing behind for the next on the connection."""
    length, body = (b"Transfer-Encoding: chunked", b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n")
    if is_chunked:
        body %= (PING[:5], len(PING) - 5, PING[5:])
    else:
        length, body = b"Content-Length: %d" % len(PING), PING
    host, _, port = running.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    statuses = []
    for is_full in (False, True, True, False, True):
        running.is_full = is_full
        call = b"POST /ping HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n%b" % (length, body)
        for start in range(0, len(call), len(call) // parts + 1):
            writer.write(call[start : start + len(call) // parts + 1])
            await asyncio.sleep(0.02)
        async with asyncio.timeout(20):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))
        statuses.append(head[9:12])
    writer.close()
    await writer.wait_closed()
    assert statuses == [b"200", b"503", b"503", b"200", b"503"]


async def test_body_that_looks_like_a_call_is_none(running: Running) -> None:
    """Behind a proxy that shares its connections, an answer too many would be somebody else's."""
    running.is_full = True
    inner = b"POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    host, _, port = running.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /post HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(inner))
    await asyncio.sleep(0.05)
    writer.write(inner)
    async with asyncio.timeout(20):
        answers = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answers.count(b"HTTP/1.1 ") == 1
    assert answers.startswith(b"HTTP/1.1 422 ")


async def test_pipelined_calls_are_refused_in_their_order(running: Running) -> None:
    """What was sent in one go is answered in order, whether it is refused or not."""
    ping, post = running.stub.answer, pb.PostResponse(status=pb.POST_STATUS_DELIVERED)

    async def fitting_answer() -> object:
        return ping if running.stub.calls[-1][0] == "Ping" else post

    running.is_full, running.stub.answer = True, fitting_answer
    call = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n%b"
    last = call % (b"/ping", len(PING), b"Connection: close\r\n", PING)
    answers = await running.raw(b"".join(call % (path, len(PING), b"", PING) for path in (b"/ping", b"/post")) + last)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"503", b"200", b"200"]
    # The last came while the post ran, so it was put to the exchange, which would refuse it itself.
    assert [name for name, *_ in running.stub.calls] == ["Post", "Ping"]


async def test_refused_connection_closes_when_asked(running: Running) -> None:
    """`Connection: close` is heard."""
    running.is_full = True
    answer = await running.raw(b"POST /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b"}")


async def test_full_exchange_hears_who_sends_no_ping(running: Running) -> None:
    """Another method is still told what is allowed."""
    running.is_full = True
    async with running.http.head(f"http://{running.address}/ping") as response:
        assert response.status == 405


@pytest.mark.parametrize("said", [b"", b"POST /ping HTTP/1.1\r\nHost: x\r\nX-Slow: "], ids=["nothing", "half"])
async def test_who_does_not_get_on_is_hung_up_on(running: Running, said: bytes, monkeypatch: Any) -> None:
    """A connection that asks nothing costs a socket, and is ended; one that has been answered may rest."""
    monkeypatch.setattr("gateway.protocol.HEADERS_S", 0.5)
    await running.post()  # its connection stays open in the client's pool
    assert await running.raw(said) == b""
    (resting,) = [len(pool) for pool in cast(Any, running.http.connector)._conns.values()]
    assert resting == 1
    assert (await running.post())[0] == 200


async def test_stop_lets_a_call_end(running: Running) -> None:
    """A call in flight is answered, then the server is gone."""
    is_asked = asyncio.Event()

    async def slow() -> pb.PingResponse:
        is_asked.set()
        await asyncio.sleep(0.3)
        return pb.PingResponse(status=pb.PING_STATUS_ACCEPTED, ping_id="PING-9")

    running.stub.answer = slow
    async with asyncio.TaskGroup() as group:
        call = group.create_task(running.post())
        await is_asked.wait()
        await running.server.stop(5)
    assert call.result()[1]["ping_id"] == "PING-9"
    with pytest.raises(aiohttp.ClientError):
        await running.post()
