"""The buyer client over real sockets: what is sent, what each kind of buyer costs a call, and when connections last."""

import asyncio
import socket

import pytest

from lexchange.buyers.client import BuyerFailure
from lexchange.buyers.request import check_headers
from tests.buyers.calls import OK, OK_ANSWER, buyer_client, full_backlog, open_files, result, send, until
from tests.buyers.raw_buyer import Line, answering, answering_always, closing_after, hang, raw_buyer

# --------------------------------------------------------------------------------------------- what is sent


async def sent_for(**parts) -> bytes:
    async with raw_buyer(answering_always(OK)) as buyer, buyer_client() as client:
        path = parts.pop("path", "/ping")
        assert await send(client, f"http://127.0.0.1:{buyer.port}{path}", **parts) == OK_ANSWER
        return buyer.requests[0].replace(b":%d" % buyer.port, b":PORT")


async def test_request_is_exact_when_nothing_is_overridden():
    """The defaults come first, then the given headers, then the length; head and body are one piece."""
    assert await sent_for(headers=(("Content-Type", "application/json"), ("X-Key", "k 1"))) == (
        b"POST /ping HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nUser-Agent: lexchange/0.1\r\nAccept-Encoding: identity\r\n"
        b"Connection: keep-alive\r\nContent-Type: application/json\r\nX-Key: k 1\r\nContent-Length: 15\r\n\r\n"
        b'{"zip":"90210"}'
    )


async def test_request_keeps_given_headers_when_they_override_defaults():
    """User-Agent, Accept-Encoding and Connection are the buyer's to choose, in any spelling."""
    headers = (("user-agent", "acme/1"), ("ACCEPT-ENCODING", "*"), ("connection", "close"))

    assert await sent_for(headers=headers, body=b"") == (
        b"POST /ping HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nuser-agent: acme/1\r\nACCEPT-ENCODING: *\r\n"
        b"connection: close\r\nContent-Length: 0\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("path", "query", "target"),
    [
        ("/ping", "zip=90210&x=%20", b"/ping?zip=90210&x=%20"),
        ("/ping?k=1", "zip=90210", b"/ping?k=1&zip=90210"),
        ("/ping?k=1", "", b"/ping?k=1"),
    ],
)
async def test_query_is_added_when_the_endpoint_has_one_or_not(path, query, target):
    """A GET without a body has its query and no Content-Length."""
    assert await sent_for(path=path, query=query, method="GET", body=b"") == (
        b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nUser-Agent: lexchange/0.1\r\n"
        b"Accept-Encoding: identity\r\nConnection: keep-alive\r\n\r\n"
    )


async def test_large_body_arrives_whole():
    """A body larger than any socket buffer is sent to its last byte."""
    assert (await sent_for(body=b"x" * 5_000_000)).endswith(b"Content-Length: 5000000\r\n\r\n" + b"x" * 5_000_000)


REFUSED = [
    ({"headers": (("X-Key", "a\r\nEvil: 1"),)}, "header X-Key"),
    ({"headers": (("X-Key", "a\nb"),)}, "header X-Key"),
    ({"headers": (("X-Key", "a\x00b"),)}, "header X-Key"),
    ({"headers": (("X-Key", "a\x85b"),)}, "header X-Key"),
    ({"headers": (("X-Key", "x" * 8_193),)}, "header X-Key"),
    ({"headers": (("X Key", "a"),)}, "header 'X Key'"),
    ({"headers": (("X-Key\r\nEvil", "a"),)}, "header 'X-Key"),
    ({"headers": (("X-Key:", "a"),)}, "header 'X-Key:'"),
    ({"headers": (("", "a"),)}, "header ''"),
    ({"headers": (("Host", "evil"),)}, "header Host"),
    ({"headers": (("content-length", "1"),)}, "header content-length"),
    ({"headers": (("Transfer-Encoding", "chunked"),)}, "header Transfer-Encoding"),
    ({"headers": (("Expect", "100-continue"),)}, "header Expect"),
    ({"headers": (("Connection", "upgrade"),)}, "header Connection"),
    ({"query": "a=b c"}, "query"),
    ({"query": "a=b HTTP/1.1\r\nEvil: 1"}, "query"),
    ({"query": "a=ü"}, "query"),
    ({"query": "a#b"}, "query"),
    ({"method": "POST /evil HTTP/1.1\r\n"}, "method"),
    ({"method": "post"}, "method"),
    ({"method": ""}, "method"),
]


@pytest.mark.parametrize(("parts", "named"), REFUSED)
async def test_request_is_refused_when_it_could_be_read_as_another(parts, named):
    """No line break and no framing header leaves, wherever it comes from; the refusal does not repeat the value."""
    async with raw_buyer(answering_always(OK)) as buyer, buyer_client() as client:
        outcome = await send(client, buyer.url, **parts)

    assert result(outcome) == ("refused_request", False)
    assert outcome.detail.startswith(named)
    assert "Evil: 1" not in outcome.detail
    assert buyer.connection_count == 0


def test_headers_are_refused_at_configuration_load_when_they_may_not_be_sent():
    """check_headers gives the configuration the same refusal before anything runs."""
    check_headers([("X-Key", "Bearer …\xe9\tx"), ("Connection", "close")])
    with pytest.raises(ValueError, match="header X-Key: expected at most 8192"):
        check_headers([("X-Ok", "1"), ("X-Key", "secret\r\n")])


# ------------------------------------------------------------------------------------------- garbage buyers


async def reset_at_once(line: Line) -> None:
    await line.read()
    line.reset()


async def reset_in_head(line: Line) -> None:
    await line.read()
    await line.send(b"HTTP/1.1 200 OK\r\nContent-")
    await asyncio.sleep(0.02)
    line.reset()


async def reset_in_body(line: Line) -> None:
    await line.read()
    await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    await asyncio.sleep(0.02)
    line.reset()


async def reset_in_endless_body(line: Line) -> None:
    await line.read()
    await line.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
    await asyncio.sleep(0.02)
    line.reset()


async def drip(line: Line) -> None:
    await line.read()
    for place in range(len(OK)):
        await line.send(OK[place : place + 1])
        await asyncio.sleep(0.1)


async def never_read(line: Line) -> None:
    await hang()


async def stream_forever(line: Line) -> None:
    await line.read()
    await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await line.send(b"10000\r\n" + b"x" * 65_536 + b"\r\n")


async def interim_forever(line: Line) -> None:
    await line.read()
    while True:
        await line.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


async def headers_forever(line: Line) -> None:
    await line.read()
    await line.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await line.send(b"X-More: and more\r\n" * 100)


HEAD = b"HTTP/1.1 200 OK\r\n"
TIMEOUT, RESET = ("timeout", True), ("reset", True)
MALFORMED, TOO_LARGE = ("malformed", True), ("too_large", True)

GARBAGE = {
    "accepts and hangs": (never_read, TIMEOUT),
    "reads and hangs": (answering(), TIMEOUT),
    "drips": (drip, TIMEOUT),
    "half a head, then hangs": (answering(HEAD), TIMEOUT),
    "half a body, then hangs": (answering(HEAD + b"Content-Length: 9\r\n\r\nabc"), TIMEOUT),
    "no length, then hangs": (answering(HEAD + b"\r\nabc"), TIMEOUT),
    "only 100 Continue": (answering(b"HTTP/1.1 100 Continue\r\n\r\n"), TIMEOUT),
    "closes without an answer": (closing_after(b""), RESET),
    "resets before the answer": (reset_at_once, RESET),
    "resets in the head": (reset_in_head, RESET),
    "resets in the body": (reset_in_body, RESET),
    "resets in a body without length": (reset_in_endless_body, RESET),
    "length too long, closes": (closing_after(HEAD + b"Content-Length: 9\r\n\r\nabc"), MALFORMED),
    "length too short": (answering(HEAD + b"Content-Length: 2\r\n\r\nabc"), b"ab"),
    "chunk cut off": (closing_after(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc"), MALFORMED),
    "bad chunk size": (answering(HEAD + b"Transfer-Encoding: chunked\r\n\r\nfive\r\n"), MALFORMED),
    "announces 100 MB": (answering(HEAD + b"Content-Length: 104857600\r\n\r\nx"), TOO_LARGE),
    "streams without end": (stream_forever, TOO_LARGE),
    "body without length without end": (answering(HEAD + b"\r\n" + b"x" * 300_000), TOO_LARGE),
    "gzip bomb": (answering(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\n"), MALFORMED),
    "redirect inside": (
        answering(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"),
        b"",
    ),
    "1xx flood": (interim_forever, MALFORMED),
    "header flood": (headers_forever, MALFORMED),
    "HTTP/0.9": (closing_after(b"hello\r\n"), MALFORMED),
    "two lengths": (answering(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok"), MALFORMED),
    "invalid status line": (answering(b"HTTP/1.1 twohundred OK\r\n\r\n"), MALFORMED),
    "NUL in a header": (answering(HEAD + b"X: a\x00\r\nContent-Length: 0\r\n\r\n"), MALFORMED),
    "upgrades": (answering(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"), MALFORMED),
    "speaks TLS": (answering(b"\x15\x03\x01\x00\x02\x02\x46"), MALFORMED),
    "speaks HTTP/2": (answering(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"), MALFORMED),
    "HTML": (closing_after(b"HTTP/1.0 500 Oops\r\nContent-Type: text/html\r\n\r\n<h1>Oops"), b"<h1>Oops"),
}


@pytest.mark.parametrize(("script", "expected"), GARBAGE.values(), ids=GARBAGE)
async def test_garbage_costs_its_own_call_only(script, expected):
    """Every garbage buyer is one exact outcome by the deadline; nothing of it stays open or reaches the next call."""
    files = open_files()
    async with raw_buyer(script) as buyer, buyer_client() as client:
        outcome = await send(client, buyer.url, within_s=0.08 if expected == TIMEOUT else 2)
        assert result(outcome) == expected
        await asyncio.sleep(0)
        if isinstance(outcome, BuyerFailure):
            assert "zip" not in outcome.detail
            assert open_files() <= files + 4  # the buyer's two sockets, and what the loop keeps
    assert buyer.connection_count == 1


async def test_call_fails_unsent_when_nobody_listens():
    """A refused connection is known to have carried nothing."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with buyer_client() as client:
            outcome = await send(client, f"http://127.0.0.1:{unused.getsockname()[1]}/")

    assert result(outcome) == ("connect", False)
    assert outcome.detail == "no connection to 127.0.0.1: ECONNREFUSED"


async def test_call_fails_unsent_when_the_connection_is_never_made():
    """The caller's deadline ends the wait for a connection as a time-out, our own limit as a failed connection."""
    async with full_backlog() as port, buyer_client(connect_timeout_s=0.1) as client:
        url = f"http://127.0.0.1:{port}/"

        assert result(await send(client, url, within_s=0.05)) == ("timeout", False)
        assert result(await send(client, url, within_s=2)) == ("connect", False)


# ------------------------------------------------------------------------------------------- keeping alive


async def test_connection_is_reused_when_the_buyer_keeps_it():
    """Calls in turn need one connection, whatever the kind of answer."""
    answers = [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        OK,
    ]
    async with raw_buyer(answering(*answers)) as buyer, buyer_client() as client:
        outcomes = [await send(client, buyer.url) for _ in answers]

    assert [outcome.status for outcome in outcomes] == [204, 200, 302, 200]
    assert buyer.connection_count == 1


async def test_connection_used_last_is_used_next():
    """After a peak the calls keep to one connection, so that the others can expire."""
    lines: list[Line] = []
    release = asyncio.Event()

    async def script(line: Line) -> None:
        while await line.read():
            lines.append(line)
            await release.wait()
            await line.send(OK)

    async with raw_buyer(script) as buyer, buyer_client() as client:
        peak = [asyncio.create_task(send(client, buyer.url)) for _ in range(3)]
        await until(lambda: len(lines) == 3)
        release.set()
        assert [await call for call in peak] == [OK_ANSWER] * 3
        lines.clear()
        for _ in range(4):
            assert await send(client, buyer.url) == OK_ANSWER

    assert len(set(lines)) == 1


@pytest.mark.parametrize(
    ("answer", "parts"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", {}),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", {}),
        (OK + OK, {}),
        (OK + b"x", {}),
        (OK, {"headers": (("Connection", "close"),)}),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", {"method": "HEAD", "body": b""}),
        (b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok", {}),
    ],
)
async def test_connection_is_not_reused_when_it_says_so(answer, parts):
    """A connection with an end announced, or with bytes that nobody asked for, carries no second call."""
    async with raw_buyer(answering_always(answer)) as buyer, buyer_client() as client:
        for _ in range(2):
            outcome = await send(client, buyer.url, **parts)
            assert outcome.status == 200
            await asyncio.sleep(0.005)

    assert buyer.connection_count == 2


async def test_connection_is_not_reused_when_the_answer_came_before_the_whole_request():
    """An early answer counts, but the rest of its request never becomes the start of the next one."""

    async def script(line: Line) -> None:
        await line.read_some()
        await line.send(OK)
        await hang()

    async with raw_buyer(script) as buyer, buyer_client() as client:
        for _ in range(2):
            assert await send(client, buyer.url, body=b"x" * 20_000_000) == OK_ANSWER
    assert buyer.connection_count == 2


async def test_late_bytes_end_an_idle_connection():
    """A buyer who speaks out of turn is not listened to: the next call gets its own answer on a new connection."""
    speak = asyncio.Event()

    async def script(line: Line) -> None:
        for _ in range(2):
            await line.read()
            await line.send(OK)
        await speak.wait()
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
        await hang()

    async with raw_buyer(script) as buyer, buyer_client() as client:
        assert await send(client, buyer.url) == OK_ANSWER
        assert await send(client, buyer.url) == OK_ANSWER
        speak.set()
        await asyncio.sleep(0.02)
        assert await send(client, buyer.url) == OK_ANSWER
    assert buyer.connection_count == 2


async def test_call_may_have_been_sent_when_a_reused_connection_breaks():
    """Nobody knows what a buyer did with a request that he read before closing; the caller decides on a repeat."""

    async def script(line: Line) -> None:
        await line.read()
        await line.send(OK)
        await line.read()
        line.close()

    async with raw_buyer(script) as buyer, buyer_client() as client:
        assert await send(client, buyer.url) == OK_ANSWER
        assert result(await send(client, buyer.url)) == ("reset", True)
        assert await send(client, buyer.url) == OK_ANSWER


@pytest.mark.parametrize("pause_s", [0, 0.02])
async def test_restart_of_a_buyer_costs_no_call(pause_s):
    """A connection that ended while nobody used it is found out before a request is entrusted to it."""
    async with raw_buyer(answering_always(OK)) as buyer, buyer_client() as client:
        for _ in range(3):
            assert await send(client, buyer.url) == OK_ANSWER
            await buyer.stop()
            buyer.start()
            await asyncio.sleep(pause_s)
    assert buyer.connection_count == 3


async def test_end_of_an_idle_connection_is_seen_before_the_loop_hears_of_it():
    """The kernel is asked: a loop that was busy while the buyer closed does not lose the next call."""
    async with raw_buyer(answering_always(OK)) as buyer, buyer_client() as client:
        assert await send(client, buyer.url) == OK_ANSWER
        await asyncio.sleep(0.02)
        for _, sock in buyer.lines:
            sock.shutdown(socket.SHUT_RDWR)
        outcome = await send(client, buyer.url)

    assert outcome == OK_ANSWER
    assert buyer.connection_count == 2


async def test_idle_connection_is_closed_when_its_time_is_over():
    """An unused connection lives keepalive_s after its last use, not after its first."""
    closed_at = []
    loop = asyncio.get_running_loop()

    async def script(line: Line) -> None:
        while await line.read():
            await line.send(OK)
        closed_at.append(loop.time())

    async with raw_buyer(script) as buyer, buyer_client(keepalive_s=0.15) as client:
        await send(client, buyer.url)
        await asyncio.sleep(0.1)
        await send(client, buyer.url)
        last_use = loop.time()
        await until(lambda: closed_at)

    assert 0.145 <= closed_at[0] - last_use <= 0.35
    assert buyer.connection_count == 1
