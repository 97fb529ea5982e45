"""HTTP/2 as peers may and may not speak it. What h2spec asks besides is asked by `make h2spec`."""

import asyncio
import random
from typing import Any, cast

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexchange.turbo import connection as limits
from lexchange.turbo import frames
from lexchange.turbo.connection import Connection
from lexchange.turbo.frames import ErrorCode, Setting
from tests.turbo.peers import GRPC_FIELDS, Peer, message, running

FIRST_IDS = range(1, 10_000_000, 2)
PING = frames.frame(frames.PING, 0, 0, b"12345678")


async def test_many_calls_on_one_connection() -> None:
    """All are answered, in whatever order their parts come."""
    async with running() as server, server.peer() as peer:
        ids = FIRST_IDS[:50]
        packets = [peer.headers(stream_id) for stream_id in ids]
        parts = [frames.frame(frames.DATA, frames.END_STREAM, each, message(b"%d" % each)) for each in ids]
        random.Random(1).shuffle(parts)
        peer.say(*packets, *parts)
        for _ in ids:
            await peer.find(frames.DATA)
        assert sorted(server.echo.heard) == sorted(b"%d" % each for each in ids)


async def test_message_in_many_small_frames() -> None:
    """A frame of every size, padded ones and empty ones, and bytes that come one by one."""
    async with running() as server, server.peer() as peer:
        padded = frames.frame(frames.DATA, frames.PADDED, 1, b"\x03" + message(b"hello")[:4] + b"\0\0\0")
        rest = [frames.frame(frames.DATA, 0, 1, bytes([byte])) for byte in message(b"hello")[4:]]
        end = frames.frame(frames.DATA, frames.END_STREAM, 1)
        for byte in b"".join([peer.headers(1), padded, *rest, end]):
            peer.say(bytes([byte]))
            await asyncio.sleep(0)
        assert (await peer.status(1))[1] == message(b"hello")


async def test_answer_waits_for_the_windows() -> None:
    """A client that takes ten bytes at a time gets ten at a time, and all of them."""
    async with running() as server, server.peer(is_greeting=False) as peer:
        peer.say(frames.PREFACE, frames.settings_frame({Setting.INITIAL_WINDOW_SIZE: 10}), peer.call(1, b"x" * 95))
        sizes = []
        for _ in range(10):
            sizes.append(len((await peer.find(frames.DATA)).payload))
            peer.say(frames.window_frame(1, 10))
        assert sizes == [10] * 10
        assert "grpc-status" in (await peer.status(1))[0]


async def test_connection_window_is_shared() -> None:
    """Streams get on when the connection's window is widened, and when the first window of all is."""
    async with running() as server, server.peer(is_greeting=False) as peer:
        peer.say(frames.PREFACE, frames.settings_frame({Setting.INITIAL_WINDOW_SIZE: 0}))
        peer.say(peer.call(1, b"a" * 60_000), peer.call(3, b"b" * 60_000))
        await peer.find(frames.SETTINGS)
        peer.say(frames.settings_frame({Setting.INITIAL_WINDOW_SIZE: 100_000}))
        got = 0
        while got < frames.WINDOW_BYTES:
            got += len((await peer.find(frames.DATA)).payload)
        assert got == frames.WINDOW_BYTES
        peer.say(frames.window_frame(0, 100_000))
        while got < 2 * len(message(b"a" * 60_000)):
            got += len((await peer.find(frames.DATA)).payload)


async def test_large_requests_never_wait() -> None:
    """The connection's window is given back as it is used."""
    async with running() as server, server.peer() as peer:
        payload = b"x" * 65_000
        for stream_id in FIRST_IDS[:40]:
            peer.say(peer.call(stream_id, payload), frames.window_frame(0, len(message(payload))))
            assert len((await peer.status(stream_id))[1]) == len(message(payload))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("no preface", ErrorCode.PROTOCOL_ERROR),
        ("http/1.1", ErrorCode.PROTOCOL_ERROR),
        ("no settings first", ErrorCode.PROTOCOL_ERROR),
        ("rapid reset", ErrorCode.ENHANCE_YOUR_CALM),
        ("ping flood", ErrorCode.ENHANCE_YOUR_CALM),
        ("settings flood", ErrorCode.ENHANCE_YOUR_CALM),
        ("priority flood", ErrorCode.ENHANCE_YOUR_CALM),
        ("empty data flood", ErrorCode.ENHANCE_YOUR_CALM),
        ("unknown frames", ErrorCode.ENHANCE_YOUR_CALM),
        ("window flood", ErrorCode.ENHANCE_YOUR_CALM),
        ("window flood on a stream", ErrorCode.ENHANCE_YOUR_CALM),
        ("data flood on a stream of the past", ErrorCode.ENHANCE_YOUR_CALM),
        ("headers flood on a stream of the past", ErrorCode.ENHANCE_YOUR_CALM),
        ("headers without their priority", ErrorCode.FRAME_SIZE_ERROR),
        ("headers that wait for themselves", ErrorCode.PROTOCOL_ERROR),
        ("continuation flood", ErrorCode.ENHANCE_YOUR_CALM),
        ("continuation of nothing inside", ErrorCode.ENHANCE_YOUR_CALM),
        ("hpack bomb", ErrorCode.ENHANCE_YOUR_CALM),
        ("bad requests", ErrorCode.ENHANCE_YOUR_CALM),
        ("large frame", ErrorCode.FRAME_SIZE_ERROR),
    ],
)
async def test_who_only_keeps_us_busy_is_sent_away(name: str, code: ErrorCode) -> None:
    """With the reason, and the connection is closed; another one is served meanwhile."""
    async with running() as server, server.peer(is_greeting=False) as peer, server.peer() as other:
        peer.say(ABUSES[name](peer))
        assert await peer.fault() is code
        other.say(other.call(1))
        assert (await other.status(1))[0]["grpc-status"] == "0"


def _greeted(packets: bytes) -> bytes:
    return frames.PREFACE + frames.settings_frame({}) + packets


def _rapid_reset(peer: Peer) -> bytes:
    reset = [peer.headers(each) + frames.reset_frame(each, ErrorCode.CANCEL) for each in FIRST_IDS[:2_000]]
    return _greeted(b"".join(reset))


def _continuation(payload: bytes, count: int) -> bytes:
    first = frames.frame(frames.HEADERS, 0, 1, b"")
    return _greeted(first + frames.frame(frames.CONTINUATION, 0, 1, payload) * count)


def _bomb(peer: Peer) -> bytes:
    fields = [*GRPC_FIELDS, ("x", "y" * 3_000)]
    return _greeted(peer.headers(1, fields) + peer.headers(3, [*fields, *fields[-1:] * 10]))


def _past(peer: Peer, packet: bytes) -> bytes:
    """On a stream that we have reset."""
    return _greeted(peer.headers(1, [("a", "b")]) + packet * 3_000)


def _with_priority(payload: bytes) -> bytes:
    return _greeted(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.WITH_PRIORITY, 1, payload))


ABUSES: dict[str, Any] = {
    "no preface": lambda peer: b"\0" * 24,
    "http/1.1": lambda peer: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "no settings first": lambda peer: frames.PREFACE + PING,
    "rapid reset": _rapid_reset,
    "ping flood": lambda peer: _greeted(PING * 3_000),
    "settings flood": lambda peer: _greeted(frames.settings_frame({}) * 3_000),
    "priority flood": lambda peer: _greeted(frames.frame(frames.PRIORITY, 0, 1, bytes(5)) * 3_000),
    "empty data flood": lambda peer: _greeted(peer.headers(1) + frames.frame(frames.DATA, 0, 1) * 3_000),
    "unknown frames": lambda peer: _greeted(frames.frame(99, 0, 0) * 3_000),
    "window flood": lambda peer: _greeted(frames.window_frame(0, 1) * 3_000),
    "window flood on a stream": lambda peer: _greeted(peer.headers(1) + frames.window_frame(1, 1) * 3_000),
    "data flood on a stream of the past": lambda peer: _past(peer, frames.frame(frames.DATA, 0, 1, b"x")),
    "headers flood on a stream of the past": lambda peer: _past(peer, peer.headers(1)),
    "headers without their priority": lambda peer: _with_priority(b"abc"),
    "headers that wait for themselves": lambda peer: _with_priority(
        bytes([0, 0, 0, 1, 0]) + peer.encoder.encode(GRPC_FIELDS)
    ),
    "continuation flood": lambda peer: _continuation(b"x" * 10_000, 5),
    "continuation of nothing inside": lambda peer: _continuation(b"", 50),
    "hpack bomb": _bomb,
    "bad requests": lambda peer: _greeted(b"".join(peer.headers(each, [("a", "b")]) for each in FIRST_IDS[:1_000])),
    "large frame": lambda peer: _greeted(frames.frame(frames.DATA, 0, 1, bytes(16_385))),
}


async def test_streams_beyond_the_limit_are_refused() -> None:
    """As many as were announced are open; the next may be tried elsewhere."""
    async with running() as server, server.peer() as peer:
        fields = [*GRPC_FIELDS[:2], (":path", "/bench.v1.Echo/Wait"), *GRPC_FIELDS[3:]]
        peer.say(*(peer.headers(each, fields) for each in FIRST_IDS[: limits.STREAMS + 1]))
        refused = await peer.find(frames.RST_STREAM)
        assert refused.stream_id == FIRST_IDS[limits.STREAMS]
        assert refused.payload == bytes([0, 0, 0, ErrorCode.REFUSED_STREAM])


async def test_what_was_on_its_way_to_a_reset_stream_is_let_be() -> None:
    """Its client hears of the reset once, and of nothing that he had sent before he heard (RFC 9113, 5.1)."""
    async with running() as server, server.peer() as peer:
        trailers = peer.headers(1, [("x", "y")], ends=True)
        data = frames.frame(frames.DATA, 0, 1, b"x")
        peer.say(peer.headers(1, [("a", "b")]), data * 5, trailers, PING)
        told = [await peer.next() for _ in range(5)]
        assert [each.kind for each in told if each][2:] == [frames.SETTINGS, frames.RST_STREAM, frames.PING]


async def test_stream_beyond_its_window_is_reset() -> None:
    """Who sends more than he may loses the stream, not the connection."""
    fields = [*GRPC_FIELDS[:4], ("content-type", "text/plain")]  # whose body nobody looks at
    async with running() as server, server.peer() as peer:
        peer.say(peer.headers(1, fields), frames.frame(frames.DATA, 0, 1, bytes(16_384)) * 9, peer.call(3))
        reset = await peer.find(frames.RST_STREAM)
        assert (reset.stream_id, reset.payload[-1]) == (1, ErrorCode.FLOW_CONTROL_ERROR)
        assert (await peer.status(3))[0]["grpc-status"] == "0"


@pytest.mark.parametrize("name", ["never greets", "half a request", "takes no answer", "reads nothing"])
async def test_who_does_not_get_on_is_let_go(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The greeting, a request, the reading of an answer: each has its time."""
    for limit in ("GREETING_S", "REQUEST_S", "UNREAD_S"):
        monkeypatch.setattr(limits, limit, 0.2)
    async with running() as server, server.peer(is_greeting=False) as peer:
        if name == "never greets":
            assert await peer.fault() is ErrorCode.SETTINGS_TIMEOUT
            return
        if name == "reads nothing":
            cast(Any, peer.reader)._transport.pause_reading()
            peer.say(
                _greeted(frames.window_frame(0, 2**30)), frames.settings_frame({Setting.INITIAL_WINDOW_SIZE: 2**30})
            )
            for each in FIRST_IDS[:900]:
                peer.say(peer.call(each, b"x" * 10_000))
            async with asyncio.timeout(10):
                await server.server._all_gone.wait()
            return
        window = {Setting.INITIAL_WINDOW_SIZE: 0} if name == "takes no answer" else {}
        peer.say(frames.PREFACE, frames.settings_frame(window))
        peer.say(peer.call(1) if window else peer.headers(1))
        reset = await peer.find(frames.RST_STREAM)
        assert (reset.stream_id, reset.payload[-1]) == (1, ErrorCode.CANCEL)


# ---- without a socket ----


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def set_write_buffer_limits(self, high: int) -> None:
        pass


class Mute:
    is_patient = False

    def hear(self, part: bytes) -> None:
        pass

    def end(self) -> None:
        pass

    def cancel(self) -> None:
        pass

    def expire(self, now_s: float) -> None:
        pass


def hear(chunks: list[bytes]) -> Wire:
    """What a connection says to these bytes, in a loop of their own."""

    async def listen() -> Wire:
        wire = Wire()
        heard = Connection(lambda *request: Mute(), lambda *note: None, window_bytes=131_072)
        heard.connection_made(cast(Any, wire))
        for chunk in chunks:
            if not wire.is_closed:
                heard.data_received(chunk)
        await asyncio.sleep(0)
        return wire

    return asyncio.run(listen())


FRAMES = st.builds(
    frames.frame,
    st.integers(0, 12),
    st.integers(0, 255),
    st.sampled_from([0, 1, 2, 3, 5]),
    st.one_of(
        st.binary(max_size=12),
        st.just(hpack.Encoder().encode(GRPC_FIELDS, huffman=False)),
        st.just(bytes(4)),
        st.just(bytes(6)),
        st.just(bytes(8)),
    ),
)


@given(st.lists(FRAMES, max_size=12), st.integers(1, 40))
def test_any_frames_are_answered_by_the_rules(packets: list[bytes], size: int) -> None:
    """No frame raises anything into the loop, and how the bytes are cut makes no difference."""
    said = _greeted(b"".join(packets))
    whole = hear([said])
    cut = hear([said[at : at + size] for at in range(0, len(said), size)])
    assert (cut.written, cut.is_closed) == (whole.written, whole.is_closed)


@given(st.binary(max_size=200))
def test_any_bytes_are_answered_by_the_rules(said: bytes) -> None:
    """Behind a greeting anything may come."""
    hear([_greeted(said)])
