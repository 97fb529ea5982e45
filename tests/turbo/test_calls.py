"""gRPC as its own client, grpcio, speaks it. The exchange's calls are in tests/exchange, over both engines."""

import asyncio
import gzip
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from lexchange.health import Health
from lexchange.reflection import add_reflection
from lexchange.turbo import frames
from lexchange.watches import Watches
from tests.turbo.peers import GRPC_FIELDS, Running, fields_of, message, running

ECHO = "/bench.v1.Echo/"


@asynccontextmanager
async def called(**options: Any) -> AsyncIterator[tuple[Running, Any]]:
    async with running(**options) as server, grpc.aio.insecure_channel(server.address) as channel:
        yield server, channel


async def test_call_is_answered() -> None:
    """One message there, one back, metadata beside it."""
    async with called() as (server, channel):
        metadata = (("idempotency-key", "order-17"), ("x-bin", b"\x00\x01"))
        assert await channel.unary_unary(ECHO + "Say")(b"hello", metadata=metadata) == b"hello"
        assert set(metadata) <= set(server.echo.metadata[0])


async def test_compressed_message_is_read() -> None:
    """gzip in; a bomb is refused as what it would become."""
    async with called() as (_, channel):
        say = channel.unary_unary(ECHO + "Say")
        assert await say(b"x" * 5_000, compression=grpc.Compression.Gzip) == b"x" * 5_000
        assert len(await say(b"x" * 65_536, compression=grpc.Compression.Gzip)) == 65_536
        for size in (65_537, 10_000_000):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await say(b"x" * size, compression=grpc.Compression.Gzip)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await say(b"x" * 5_000, compression=grpc.Compression.Deflate)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_size_of_a_message() -> None:
    """The limit fits, one byte more does not; the connection lives on."""
    async with called(message_bytes=1_000) as (_, channel):
        say = channel.unary_unary(ECHO + "Say")
        assert len(await say(b"x" * 1_000)) == 1_000
        for size in (1_001, 200_000):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await say(b"x" * size)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await say(b"hello") == b"hello"


async def test_refusal_reaches_the_caller_whole() -> None:
    """Code, text in any letters, and trailing metadata."""
    async with called() as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(ECHO + "Say")(b"abort")
    assert refused.value.code() is grpc.StatusCode.ABORTED
    assert refused.value.details() == "nö, 100 %"
    assert ("x-bin", b"\x00\xff") in tuple(refused.value.trailing_metadata() or ())


async def test_broken_servicer_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The inside stays inside."""
    async with called() as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(ECHO + "Say")(b"break")
    assert refused.value.code() is grpc.StatusCode.UNKNOWN
    assert "sam" not in str(refused.value.details())


async def test_call_whose_inside_was_cancelled_is_answered() -> None:
    """What it waited for was given up, not the call: its caller does not wait in vain."""
    async with running() as server, server.peer() as peer:
        peer.say(peer.call(1, b"cancel"))
        assert (await peer.status(1))[0]["grpc-status"] == str(grpc.StatusCode.UNKNOWN.value[0])


@pytest.mark.parametrize("field", [":path", "grpc-timeout"])
async def test_refusal_that_quotes_its_caller_fits_a_frame(field: str) -> None:
    """However much he has sent: a longer frame would end the connection, which may be a proxy's, for all."""
    fields = [*(each for each in GRPC_FIELDS if each[0] != field), (field, b"\xff" * 4_000)]
    fields.sort(key=lambda each: not each[0].startswith(":"))
    async with running() as server, server.peer() as peer:
        peer.say(peer.call(1, fields=fields))
        refused = await peer.find(frames.HEADERS)
        assert refused.flags & frames.END_STREAM
        assert len(refused.payload) <= frames.FRAME_BYTES


async def test_unknown_method() -> None:
    """Named, so that a typo is found."""
    async with called() as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(ECHO + "Nothing")(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert refused.value.details() == "no method /bench.v1.Echo/Nothing"


async def test_unknown_method_of_a_stream_is_told_at_once() -> None:
    """Its caller waits for an answer before he says more, as clients do who look for a newer kind of reflection."""
    async with running() as server, server.peer() as peer:
        peer.say(peer.headers(1, fields_of("Nothing")))
        assert (await peer.status(1))[0]["grpc-status"] == str(grpc.StatusCode.UNIMPLEMENTED.value[0])
        peer.say(frames.frame(frames.DATA, 0, 1, message(b"a")) * 3)
        assert (await peer.find(frames.RST_STREAM)).payload[-1] == frames.ErrorCode.NO_ERROR
        peer.say(peer.call(3))
        assert (await peer.status(3))[0]["grpc-status"] == "0"


async def test_deadline_ends_a_call() -> None:
    """At the caller and here: what runs for nobody is cut."""
    async with called() as (server, channel):
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await channel.unary_unary(ECHO + "Wait")(b"", timeout=0.2)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.sleep(0.2)
        assert server.echo.cancelled == 1


async def test_deadline_is_told_to_a_caller_who_waits() -> None:
    """A client that keeps no clock of its own hears of it."""
    async with running() as server, server.peer() as peer:
        peer.say(peer.call(1, fields=fields_of("Wait", ("grpc-timeout", "200m"))))
        assert (await peer.status(1))[0]["grpc-status"] == str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
        assert server.echo.cancelled == 1


@pytest.mark.parametrize("timeout", ["", "5", "m", "123456789S", "-1S", "1x"])
async def test_timeout_that_is_none(timeout: str) -> None:
    """It is refused: a call without an end is not what was asked for."""
    async with running() as server, server.peer() as peer:
        peer.say(peer.call(1, fields=fields_of("Say", ("grpc-timeout", timeout))))
        fields, _ = await peer.status(1)
    assert fields["grpc-status"] == str(grpc.StatusCode.INTERNAL.value[0])
    assert server.echo.heard == []


async def test_caller_who_leaves_ends_his_call() -> None:
    """By cancelling it, or by losing his connection."""
    async with called() as (server, channel):
        call = channel.unary_unary(ECHO + "Wait")(b"")
        await asyncio.sleep(0.2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        other = channel.unary_unary(ECHO + "Wait")(b"")
        await asyncio.sleep(0.2)
        await channel.close()
        assert other.done()
        await asyncio.sleep(0.2)
        assert server.echo.cancelled == 2


@pytest.mark.parametrize(
    "body",
    [b"", b"\0\0\0\0", message(b"a") + b"x", message(b"a") * 2, message(b"abc")[:-1], b"\x01" + message(b"a")[1:]],
    ids=["none", "half a prefix", "too long", "two", "cut off", "compressed without saying how"],
)
async def test_body_that_is_no_message(body: bytes) -> None:
    """One message, whole, or the servicer never hears of it."""
    async with running() as server, server.peer() as peer:
        peer.say(peer.headers(1), frames.frame(frames.DATA, frames.END_STREAM, 1, body))
        fields, _ = await peer.status(1)
    assert fields["grpc-status"] not in ("0", None)
    assert server.echo.heard == []


@pytest.mark.parametrize(
    ("changed", "status"),
    [((":method", "GET"), "405"), (("content-type", "application/json"), "415"), (("content-type", ""), "415")],
)
async def test_what_is_no_grpc_is_told_so(changed: tuple[str, str], status: str) -> None:
    """In HTTP's words, since it is no gRPC client that asks."""
    fields = [changed if name == changed[0] else (name, value) for name, value in GRPC_FIELDS]
    async with running() as server, server.peer() as peer:
        peer.say(peer.call(1, fields=fields))
        found, body = await peer.status(1)
    assert found[":status"] == status
    assert body.startswith(b"expected ")


async def test_several_answers() -> None:
    """A stream from the servicer, and one both ways."""

    async def words() -> AsyncIterator[bytes]:
        for word in (b"a", b"b" * 60_000, b"c"):
            yield word

    async with called() as (_, channel):
        assert [each async for each in channel.unary_stream(ECHO + "Count")(b"3")] == [b"0", b"1", b"2"]
        talk = channel.stream_stream(ECHO + "Talk")(words())
        assert [len(each) async for each in talk] == [1, 60_000, 1]
        many = channel.stream_stream(ECHO + "Talk")
        assert len([each async for each in many(iter([b"x" * 30_000] * 40))]) == 40


async def test_message_of_a_stream_that_is_cut_off() -> None:
    """It is no end like any other: its caller would take what is missing for said."""
    async with running() as server, server.peer() as peer:
        cut_off = frames.frame(frames.DATA, frames.END_STREAM, 1, message(b"a") + message(b"bc")[:-1])
        peer.say(peer.headers(1, fields_of("Talk")), cut_off)
        fields, body = await peer.status(1)
        assert (fields["grpc-status"], body) == (str(grpc.StatusCode.INTERNAL.value[0]), message(b"A"))


async def test_messages_of_a_stream_are_unpacked_one_by_one() -> None:
    """A packet of small bombs takes the room of one at a time."""
    bomb = gzip.compress(bytes(65_536))
    bombs = (b"\1" + len(bomb).to_bytes(4, "big") + bomb) * 1_000
    cuts = [bombs[at : at + frames.FRAME_BYTES] for at in range(0, len(bombs), frames.FRAME_BYTES)]
    async with running() as server, server.peer() as peer:
        tracemalloc.start()
        peer.say(peer.headers(1, fields_of("Talk", ("grpc-encoding", "gzip"))))
        peer.say(*(frames.frame(frames.DATA, 0, 1, cut) for cut in cuts))
        await peer.find(frames.DATA)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak_bytes < 10_000_000


async def test_health_and_reflection() -> None:
    """The stock servicers, watch and stream; both are let go, and whoever comes later too."""
    async with called() as (server, channel):
        watches, adds = Watches(), cast(Any, server.server)
        health = Health(watches)
        health_pb2_grpc.add_HealthServicer_to_server(health, adds)
        add_reflection(["grpc.health.v1.Health"], watches, adds)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        serving, away = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == serving
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == serving
        await health.enter_graceful_shutdown()
        assert (await watch.read()).status == away
        stream = cast(Any, reflection_pb2_grpc.ServerReflectionStub)(channel).ServerReflectionInfo()
        await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert (await stream.read()).list_services_response.service[0].name == "grpc.health.v1.Health"
        watches.let_go()
        async with asyncio.timeout(5):
            assert await watch.read() is grpc.aio.EOF
            assert await stream.read() is grpc.aio.EOF
            late = stub.Watch(health_pb2.HealthCheckRequest())
            assert (await late.read()).status == away
            assert await late.read() is grpc.aio.EOF


async def test_stop_lets_calls_end() -> None:
    """A call in flight is answered, new ones are not taken; then the connection is closed."""
    async with called() as (server, channel):
        waiting = asyncio.ensure_future(channel.unary_unary(ECHO + "Wait")(b"", timeout=30))
        await asyncio.sleep(0.2)
        stopping = asyncio.create_task(server.server.stop(10))
        await asyncio.sleep(0.2)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(ECHO + "Say")(b"", timeout=1)
        assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        assert not stopping.done()
        server.echo.waits.set()
        assert int(await waiting) in (28, 29, 30)
        async with asyncio.timeout(5):
            await stopping


async def test_stop_cuts_what_takes_too_long() -> None:
    """Beyond the grace nobody is waited for."""
    async with called() as (server, channel):
        waiting = asyncio.ensure_future(channel.unary_unary(ECHO + "Wait")(b""))
        await asyncio.sleep(0.2)
        async with asyncio.timeout(5):
            await server.server.stop(0.2)
        with pytest.raises(grpc.aio.AioRpcError):
            await waiting
        assert server.echo.cancelled == 1


async def test_call_that_is_reset_before_it_began_is_forgotten() -> None:
    """Request and reset in one packet: the task never runs, and yet the server does not keep it."""
    async with running() as served, served.peer() as peer:
        peer.say(peer.call(1), frames.reset_frame(1, frames.ErrorCode.CANCEL), peer.call(3))
        assert (await peer.status(3))[0]["grpc-status"] == "0"
        assert not served.server._calling.tasks
        assert served.echo.heard == [b"hello"]
