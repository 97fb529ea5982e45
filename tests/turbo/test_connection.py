"""HTTP/2 as peers may and may not speak it. What h2spec asks besides is asked by `make h2spec`."""

import asyncio
import random
import socket
from typing import Any, cast

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexchange.turbo import connection as limits
from lexchange.turbo import frames
from lexchange.turbo.connection import Connection
from lexchange.turbo.frames import ErrorCode, Setting
from tests.turbo.peers import FIRST_IDS, GRPC_FIELDS, PING, fields_of, greeted, message, running


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


async def test_streams_beyond_the_limit_are_refused() -> None:
    """As many as were announced are open; the next may be tried elsewhere."""
    async with running() as server, server.peer() as peer:
        peer.say(*(peer.headers(each, fields_of("Wait")) for each in FIRST_IDS[: limits.STREAMS + 1]))
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


async def test_request_of_large_headers_is_reset() -> None:
    """Behind a proxy its connection is that of others, too: their calls go on, and the header table stays right."""
    noise = random.Random(1).randbytes(20_000).hex()
    async with running() as server, server.peer() as peer:
        peer.say(peer.call(1, fields=fields_of("Wait")))
        large = peer.encoder.encode(fields_of("Say", ("x-kept", "1"), ("x", noise)))
        cuts = [large[at : at + 16_000] for at in range(0, len(large), 16_000)]
        rest = [frames.frame(frames.CONTINUATION, 0, 3, cut) for cut in cuts[1:]]
        end = frames.frame(frames.CONTINUATION, frames.END_HEADERS, 3)
        peer.say(frames.frame(frames.HEADERS, 0, 3, cuts[0]), *rest, end)
        reset = await peer.find(frames.RST_STREAM)
        assert (reset.stream_id, reset.payload[-1]) == (3, ErrorCode.ENHANCE_YOUR_CALM)
        peer.say(frames.frame(frames.DATA, frames.END_STREAM, 3, message(b"a")))
        peer.say(peer.call(5, fields=fields_of("Say", ("x-kept", "1"))))
        assert (await peer.status(5))[0]["grpc-status"] == "0"
        server.echo.waits.set()
        assert (await peer.status(1))[0]["grpc-status"] == "0"


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
                greeted(frames.window_frame(0, 2**30)), frames.settings_frame({Setting.INITIAL_WINDOW_SIZE: 2**30})
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


async def test_many_who_do_not_get_on_stop_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of so many late requests that it is ended is not the end of the server's looking after others."""
    monkeypatch.setattr(limits, "REQUEST_S", 0.2)
    async with running() as server, server.peer() as peer, server.peer() as other:
        peer.say(*(peer.headers(each) for each in FIRST_IDS[:900]))
        assert await peer.fault() is ErrorCode.ENHANCE_YOUR_CALM
        other.say(other.headers(1))
        assert (await other.find(frames.RST_STREAM)).payload[-1] == ErrorCode.CANCEL


async def test_fault_of_ours_ends_one_connection_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever we have overlooked on one connection: the deadlines of the others are kept."""
    async with running() as server, server.peer() as broken:
        await broken.find(frames.SETTINGS)
        (connection,) = server.server._connections
        monkeypatch.setattr(connection, "look_after", lambda now_s: 1 / 0)
        async with server.peer() as other:
            other.say(other.call(1, fields=fields_of("Wait", ("grpc-timeout", "2500m"))))
            assert (await other.status(1))[0]["grpc-status"] == "4"
        assert connection not in server.server._connections


async def test_answer_of_a_long_call_waits_for_its_window() -> None:
    """Its client's time to take the answer begins with the answer, however long the call took."""
    async with running() as server, server.peer(is_greeting=False) as peer:
        peer.say(frames.PREFACE, frames.settings_frame({Setting.INITIAL_WINDOW_SIZE: 0}))
        peer.say(peer.call(1, fields=fields_of("Wait")))
        await asyncio.sleep(0.1)
        assert server.server._tick is not None
        server.server._tick.cancel()
        (connection,) = server.server._connections
        now_s = asyncio.get_running_loop().time()
        connection.look_after(now_s + limits.REQUEST_S * 2)
        server.echo.waits.set()
        await peer.find(frames.HEADERS)
        connection.look_after(now_s + limits.REQUEST_S * 2.9)
        peer.say(frames.window_frame(1, 100))
        assert (await peer.status(1))[0]["grpc-status"] == "0"


async def test_requests_behind_the_farewell_are_let_be() -> None:
    """However many come before their client hears it: the call under way is answered."""
    async with running() as server, server.peer() as peer:
        peer.say(peer.call(1, fields=fields_of("Wait")))
        await asyncio.sleep(0.1)
        stopping = asyncio.create_task(server.server.stop(5))
        await peer.find(frames.GOAWAY)
        late = FIRST_IDS[1:500]
        peer.say(*(peer.headers(each) for each in late))
        peer.say(*(frames.frame(frames.DATA, frames.END_STREAM, each, message(b"a")) for each in late))
        await asyncio.sleep(0.1)
        server.echo.waits.set()
        assert (await peer.status(1))[0]["grpc-status"] == "0"
        await stopping
        assert server.echo.heard == []


async def test_peer_who_says_farewell_gets_his_answers() -> None:
    """Then the connection is closed, and not before."""
    async with running() as server, server.peer() as peer:
        peer.say(peer.call(1, fields=fields_of("Wait")), frames.goaway_frame(0, ErrorCode.NO_ERROR))
        await peer.find(frames.GOAWAY)
        server.echo.waits.set()
        assert (await peer.status(1))[0]["grpc-status"] == "0"
        assert await peer.next() is None


async def test_padding_does_not_use_up_the_window() -> None:
    """A stream of padded messages goes on beyond it, though nobody reads what fills them."""
    padded = frames.frame(frames.DATA, frames.PADDED, 1, b"\xff" + message(b"a") + bytes(255))
    count = 2 * 131_072 // len(padded)
    async with running() as server, server.peer() as peer:
        peer.say(peer.headers(1, fields_of("Talk")))
        for _ in range(count):
            peer.say(padded)
            assert (await peer.find(frames.DATA)).payload == message(b"A")
        peer.say(frames.frame(frames.DATA, frames.END_STREAM, 1))
        assert (await peer.status(1))[0]["grpc-status"] == "0"


async def test_who_reads_no_farewell_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is to be closed waits no longer for its peer than any other."""
    monkeypatch.setattr(limits, "UNREAD_S", 0.2)
    async with running() as server, server.peer(is_greeting=False) as peer:
        cast(Any, peer.reader)._transport.pause_reading()
        peer.say(greeted(frames.window_frame(0, 2**30)), frames.settings_frame({Setting.INITIAL_WINDOW_SIZE: 2**30}))
        await asyncio.sleep(0.1)
        (connection,) = server.server._connections
        connection._transport.set_write_buffer_limits(high=100_000_000)
        for each in FIRST_IDS[:900]:
            peer.say(peer.call(each, b"x" * 10_000))
        peer.say(frames.frame(frames.DATA, 0, 0))
        async with asyncio.timeout(10):
            await server.server._all_gone.wait()


async def test_who_comes_with_many_others_is_not_dropped() -> None:
    """All clients of a node that ended come to the others at once; who is dropped tries again a second later."""
    async with running() as server:
        host, _, port = server.address.rpartition(":")
        came = [socket.create_connection((host, int(port)), timeout=0.5) for _ in range(400)]  # while we take none
        for each in came:
            each.close()


async def test_peer_who_is_gone_without_a_word_is_found_out() -> None:
    """A client may rest for ever; one whose machine has vanished is no client, and the kernel asks which he is."""
    async with running() as server, server.peer() as peer:
        await peer.find(frames.SETTINGS)
        (connection,) = server.server._connections
        accepted = connection._transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


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


async def test_who_comes_while_the_server_stops_is_told_so() -> None:
    """He was accepted, or at his TLS handshake, when the others were told: nobody would wait for his calls."""
    async with running() as server:
        await server.server.stop(0)
        wire, late = Wire(), server.server._connection()
        late.connection_made(cast(Any, wire))
        assert wire.written.endswith(frames.goaway_frame(0, ErrorCode.NO_ERROR))
        assert wire.is_closed
        late.connection_lost(None)


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
    said = greeted(b"".join(packets))
    whole = hear([said])
    cut = hear([said[at : at + size] for at in range(0, len(said), size)])
    assert (cut.written, cut.is_closed) == (whole.written, whole.is_closed)


@given(st.binary(max_size=200))
def test_any_bytes_are_answered_by_the_rules(said: bytes) -> None:
    """Behind a greeting anything may come."""
    hear([greeted(said)])
