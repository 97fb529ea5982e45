"""Peers who only keep us busy, in all the ways that HTTP/2 has for it."""

from typing import Any

import pytest

from lexchange.turbo import frames
from lexchange.turbo.frames import ErrorCode
from tests.turbo.peers import FIRST_IDS, GRPC_FIELDS, PING, Peer, greeted, running


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
        ("padded empty data flood", ErrorCode.ENHANCE_YOUR_CALM),
        ("flood of acknowledged settings", ErrorCode.ENHANCE_YOUR_CALM),
        ("flood of answered pings", ErrorCode.ENHANCE_YOUR_CALM),
        ("flood of farewells", ErrorCode.ENHANCE_YOUR_CALM),
        ("flood of requests behind a farewell", ErrorCode.ENHANCE_YOUR_CALM),
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


def _rapid_reset(peer: Peer) -> bytes:
    reset = [peer.headers(each) + frames.reset_frame(each, ErrorCode.CANCEL) for each in FIRST_IDS[:2_000]]
    return greeted(b"".join(reset))


def _continuation(payload: bytes, count: int) -> bytes:
    first = frames.frame(frames.HEADERS, 0, 1, b"")
    return greeted(first + frames.frame(frames.CONTINUATION, 0, 1, payload) * count)


def _bomb(peer: Peer) -> bytes:
    fields = [*GRPC_FIELDS, ("x", "y" * 3_000)]
    first = peer.headers(1, fields)
    bombs = [peer.headers(each, [*fields, *fields[-1:] * 10]) for each in FIRST_IDS[1:1_000]]
    return greeted(first + b"".join(bombs))


def _past(peer: Peer, packet: bytes) -> bytes:
    """On a stream that we have reset."""
    return greeted(peer.headers(1, [("a", "b")]) + packet * 3_000)


def _with_priority(payload: bytes) -> bytes:
    return greeted(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.WITH_PRIORITY, 1, payload))


ABUSES: dict[str, Any] = {
    "no preface": lambda peer: b"\0" * 24,
    "http/1.1": lambda peer: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "no settings first": lambda peer: frames.PREFACE + PING,
    "rapid reset": _rapid_reset,
    "ping flood": lambda peer: greeted(PING * 3_000),
    "settings flood": lambda peer: greeted(frames.settings_frame({}) * 3_000),
    "priority flood": lambda peer: greeted(frames.frame(frames.PRIORITY, 0, 1, bytes(5)) * 3_000),
    "empty data flood": lambda peer: greeted(peer.headers(1) + frames.frame(frames.DATA, 0, 1) * 3_000),
    "padded empty data flood": lambda peer: greeted(
        peer.headers(1) + frames.frame(frames.DATA, frames.PADDED, 1, b"\0") * 3_000
    ),
    "flood of acknowledged settings": lambda peer: greeted(frames.frame(frames.SETTINGS, frames.ACK, 0) * 3_000),
    "flood of answered pings": lambda peer: greeted(frames.frame(frames.PING, frames.ACK, 0, bytes(8)) * 3_000),
    "flood of farewells": lambda peer: greeted(peer.headers(1) + frames.goaway_frame(0, ErrorCode.NO_ERROR) * 3_000),
    "flood of requests behind a farewell": lambda peer: greeted(
        peer.headers(1)
        + frames.goaway_frame(0, ErrorCode.NO_ERROR)
        + b"".join(peer.headers(each) for each in FIRST_IDS[1:3_000])
    ),
    "unknown frames": lambda peer: greeted(frames.frame(99, 0, 0) * 3_000),
    "window flood": lambda peer: greeted(frames.window_frame(0, 1) * 3_000),
    "window flood on a stream": lambda peer: greeted(peer.headers(1) + frames.window_frame(1, 1) * 3_000),
    "data flood on a stream of the past": lambda peer: _past(peer, frames.frame(frames.DATA, 0, 1, b"x")),
    "headers flood on a stream of the past": lambda peer: _past(peer, peer.headers(1)),
    "headers without their priority": lambda peer: _with_priority(b"abc"),
    "headers that wait for themselves": lambda peer: _with_priority(
        bytes([0, 0, 0, 1, 0]) + peer.encoder.encode(GRPC_FIELDS)
    ),
    "continuation flood": lambda peer: _continuation(b"x" * 10_000, 7),
    "continuation of nothing inside": lambda peer: _continuation(b"", 50),
    "hpack bomb": _bomb,
    "bad requests": lambda peer: greeted(b"".join(peer.headers(each, [("a", "b")]) for each in FIRST_IDS[:1_000])),
    "large frame": lambda peer: greeted(frames.frame(frames.DATA, 0, 1, bytes(16_385))),
}
