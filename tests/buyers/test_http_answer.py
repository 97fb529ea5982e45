"""Reading answers from bytes: every table row is read in one piece, byte by byte, and cut at every place."""

import pytest

from lexchange.buyers.http_answer import AnswerReader, BuyerAnswer, BuyerFailure, ClientLimits, FailureKind, KnownHeads

LIMITS = ClientLimits(max_answer_bytes=1_000, max_header_bytes=2_000, max_header_count=10)
OK = b"HTTP/1.1 200 OK\r\n"


def read(*pieces: bytes, is_head: bool = False, is_last: bool = False, known=None) -> tuple[object, bool]:
    """The outcome of an answer that arrives in `pieces` (b"" = the buyer closes), and whether the line is reusable."""
    reader = AnswerReader(LIMITS, {} if known is None else known)
    reader.start(is_head, is_last)
    for piece in pieces:
        outcome = reader.feed(piece) if piece else reader.end()
        if outcome is not None:
            return outcome, reader.is_reusable
    return None, reader.is_reusable


def answer(status: int, body: bytes, content_type: str = "") -> BuyerAnswer:
    return BuyerAnswer(status=status, content_type=content_type, body=body)


# name, what arrives (b"" at the end: the buyer closes), the answer, whether the connection carries another call
ANSWERS: list[tuple[str, list[bytes], BuyerAnswer, bool]] = [
    ("a length", [OK + b"Content-Length: 2\r\n\r\nok"], answer(200, b"ok"), True),
    (
        "a content type in any spelling",
        [OK + b"CONTENT-TYPE:  application/json; charset=utf-8 \r\ncontent-length:2\r\n\r\nok"],
        answer(200, b"ok", "application/json; charset=utf-8"),
        True,
    ),
    (
        "a content type in the usual spelling",
        [OK + b"Content-Type: text/xml \r\nContent-Length: 2\r\n\r\nok"],
        answer(200, b"ok", "text/xml"),
        True,
    ),
    ("an empty body", [OK + b"Content-Length: 0\r\n\r\n"], answer(200, b""), True),
    ("no reason phrase", [b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"], answer(200, b"ok"), True),
    (
        "chunks",
        [OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nContent-Type: trailer\r\n\r\n"],
        answer(200, b"abcde"),
        True,
    ),
    ("Chunked in capitals", [OK + b"transfer-encoding: CHUNKED\r\n\r\n1\r\na\r\n0\r\n\r\n"], answer(200, b"a"), True),
    ("identity", [OK + b"Content-Encoding: identity\r\nContent-Length: 2\r\n\r\nok"], answer(200, b"ok"), True),
    ("chunks that should not be", [b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n"], answer(204, b""), False),
    ("no length, then the end", [OK + b"\r\nuntil the end", b""], answer(200, b"until the end"), False),
    ("no body, then the end", [OK + b"\r\n", b""], answer(200, b""), False),
    ("HTTP/1.0", [b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"], answer(200, b"ok"), False),
    (
        "HTTP/1.0 that keeps alive",
        [b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"],
        answer(200, b"ok"),
        True,
    ),
    ("a farewell", [OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok"], answer(200, b"ok"), False),
    (
        "100 and 103 before it",
        [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nX: y\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok"],
        answer(200, b"ok"),
        True,
    ),
    (
        "hints with a type before it",
        [b"HTTP/1.1 103 Hints\r\nContent-Type: a/b\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok"],
        answer(200, b"ok"),
        True,
    ),
    ("204 with a length", [b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"], answer(204, b""), False),
    ("204 with the length 0", [b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"], answer(204, b""), True),
    (
        "an interim answer with chunks that should not be",
        [b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n" + OK + b"\r\nuntil the end", b""],
        answer(200, b"until the end"),
        False,
    ),
    ("304 with a length", [b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"], answer(304, b""), True),
    (
        "a redirect",
        [b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"],
        answer(302, b""),
        True,
    ),
    ("an error", [b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nlate"], answer(503, b"late"), True),
    ("a strange status", [b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n"], answer(999, b""), True),
    ("the largest body", [OK + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000], answer(200, b"x" * 1000), True),
    (
        "the most headers",
        [OK + b"".join(b"X-%d: y\r\n" % n for n in range(9)) + b"Content-Length: 0\r\n\r\n"],
        answer(200, b""),
        True,
    ),
    ("no UTF-8", [OK + b"Content-Length: 2\r\n\r\n\xff\xfe"], answer(200, b"\xff\xfe"), True),
]

GARBAGE: list[tuple[str, list[bytes], FailureKind]] = [
    ("nothing", [b""], FailureKind.RESET),
    ("an HTTP/0.9 body", [b"hello, this is a buyer\r\n"], FailureKind.MALFORMED),
    ("a line break first", [b"\r\n" + OK + b"Content-Length: 0\r\n\r\n"], FailureKind.MALFORMED),
    ("HTTP/2.0", [b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"], FailureKind.MALFORMED),
    ("HTTP/0.9 by name", [b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n"], FailureKind.MALFORMED),
    ("HTTP/1.2", [b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n"], FailureKind.MALFORMED),
    ("RTSP", [b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"], FailureKind.MALFORMED),
    ("an HTTP/2 preface", [b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"], FailureKind.MALFORMED),
    ("a TLS alert", [b"\x15\x03\x01\x00\x02\x02\x46"], FailureKind.MALFORMED),
    ("no status", [b"HTTP/1.1 OK\r\n\r\n"], FailureKind.MALFORMED),
    ("a status of two digits", [b"HTTP/1.1 20 OK\r\n\r\n"], FailureKind.MALFORMED),
    ("a status of four digits", [b"HTTP/1.1 2000 OK\r\n\r\n"], FailureKind.MALFORMED),
    ("status 000", [b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n"], FailureKind.MALFORMED),
    ("101", [b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"], FailureKind.MALFORMED),
    ("bare line feeds", [b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"], FailureKind.MALFORMED),
    ("NUL in a header", [OK + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n"], FailureKind.MALFORMED),
    ("NUL in a name", [OK + b"X\x00: a\r\nContent-Length: 0\r\n\r\n"], FailureKind.MALFORMED),
    ("a space before the colon", [OK + b"Content-Length : 0\r\n\r\n"], FailureKind.MALFORMED),
    ("a folded header", [OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n"], FailureKind.MALFORMED),
    ("two lengths", [OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!"], FailureKind.MALFORMED),
    ("one length twice", [OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"], FailureKind.MALFORMED),
    ("a list of lengths", [OK + b"Content-Length: 2, 2\r\n\r\nok"], FailureKind.MALFORMED),
    ("a negative length", [OK + b"Content-Length: -2\r\n\r\nok"], FailureKind.MALFORMED),
    ("a signed length", [OK + b"Content-Length: +2\r\n\r\nok"], FailureKind.MALFORMED),
    ("a length in hex", [OK + b"Content-Length: 0x2\r\n\r\nok"], FailureKind.MALFORMED),
    ("a length of 2**64", [OK + b"Content-Length: 18446744073709551616\r\n\r\n"], FailureKind.MALFORMED),
    (
        "a length and chunks",
        [OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
        FailureKind.MALFORMED,
    ),
    (
        "chunks and a length",
        [OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n"],
        FailureKind.MALFORMED,
    ),
    ("gzip chunks", [OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"], FailureKind.MALFORMED),
    ("gzip transfer", [OK + b"Transfer-Encoding: gzip\r\n\r\nx", b""], FailureKind.MALFORMED),
    ("a bad chunk size", [OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"], FailureKind.MALFORMED),
    ("a huge chunk size", [OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n"], FailureKind.MALFORMED),
    ("a cut chunk", [OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc", b""], FailureKind.MALFORMED),
    ("no last chunk", [OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b""], FailureKind.MALFORMED),
    ("a cut body", [OK + b"Content-Length: 9\r\n\r\nabc", b""], FailureKind.MALFORMED),
    ("a cut head", [OK + b"Content-Le", b""], FailureKind.MALFORMED),
    ("an end after 100", [b"HTTP/1.1 100 Continue\r\n\r\n", b""], FailureKind.MALFORMED),
    ("gzip", [OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b"], FailureKind.MALFORMED),
    ("two encodings", [OK + b"content-encoding: identity, br\r\nContent-Length: 0\r\n\r\n"], FailureKind.MALFORMED),
    ("a flood of 100", [b"HTTP/1.1 100 Continue\r\n\r\n" * 9], FailureKind.MALFORMED),
    ("a flood of headers", [OK + b"".join(b"X-%d: y\r\n" % n for n in range(11)) + b"\r\n"], FailureKind.MALFORMED),
    ("a huge header", [OK + b"X: " + b"y" * 2_000], FailureKind.MALFORMED),
    ("a huge reason", [b"HTTP/1.1 200 " + b"y" * 2_000], FailureKind.MALFORMED),
    ("a flood of one header", [OK + b"X: y\r\n" * 400], FailureKind.MALFORMED),
    ("a body one too large", [OK + b"Content-Length: 1001\r\n\r\n"], FailureKind.TOO_LARGE),
    ("a body much too large", [OK + b"Content-Length: 104857600\r\n\r\n"], FailureKind.TOO_LARGE),
    ("an endless body", [OK + b"\r\n" + b"x" * 1001], FailureKind.TOO_LARGE),
    ("chunks too large", [OK + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001], FailureKind.TOO_LARGE),
    (
        "many small chunks",
        [OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1001],
        FailureKind.TOO_LARGE,
    ),
    (
        "an endless chunk extension",
        [OK + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 10_000],
        FailureKind.TOO_LARGE,
    ),
    (
        "endless trailers",
        [OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 2_000],
        FailureKind.TOO_LARGE,
    ),
]


def in_bytes(pieces: list[bytes]) -> list[bytes]:
    return [part for piece in pieces for part in ([piece[n : n + 1] for n in range(len(piece))] or [b""])]


@pytest.mark.parametrize(("wire", "expected", "is_reusable"), [row[1:] for row in ANSWERS], ids=[r[0] for r in ANSWERS])
def test_answer_is_read_when_it_is_complete(wire, expected, is_reusable):
    """The same bytes are the same answer, whole, byte by byte, or cut in two anywhere."""
    assert read(*wire) == (expected, is_reusable)
    assert read(*in_bytes(wire)) == (expected, is_reusable)
    for place in range(1, len(wire[0])):
        assert read(wire[0][:place], wire[0][place:], *wire[1:]) == (expected, is_reusable)


@pytest.mark.parametrize(("wire", "kind"), [row[1:] for row in GARBAGE], ids=[row[0] for row in GARBAGE])
def test_answer_is_refused_when_it_is_garbage(wire, kind):
    """Garbage is one kind of failure however it is cut; the request was sent and the connection is not reused."""
    for pieces in (wire, in_bytes(wire)):
        outcome, is_reusable = read(*pieces)

        assert isinstance(outcome, BuyerFailure)
        assert (outcome.kind, outcome.is_sent, is_reusable) == (kind, True, False)


EXTRAS = [b"x", b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", b"\x00", b"\r\n\r\nHTTP/1.1 200"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_connection_is_not_reused_when_more_than_the_answer_came(extra):
    """What comes after the answer is nobody's: the answer counts, the connection does not."""
    assert read(OK + b"Content-Length: 2\r\n\r\nok" + extra) == (answer(200, b"ok"), False)


def test_connection_is_not_reused_when_the_request_asked_to_close():
    """A buyer who was asked to close will, whatever he answers."""
    assert read(OK + b"Content-Length: 2\r\n\r\nok", is_last=True) == (answer(200, b"ok"), False)


@pytest.mark.parametrize("length", [b"0", b"2", b"104857600"])
def test_head_has_no_body_when_a_length_is_announced(length):
    """The answer to HEAD ends with its head, and its connection with it."""
    assert read(OK + b"Content-Length: " + length + b"\r\n\r\n", is_head=True) == (answer(200, b""), False)


def test_known_head_reads_the_same_when_it_comes_again():
    """A head read before gives the same answer with another body of its length, and on another connection."""
    known: KnownHeads = {}
    head = OK + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n"

    assert read(head + b"ok", known=known) == (answer(200, b"ok", "text/plain"), True)
    assert len(known) == 1
    assert read(head + b"no", known=known) == (answer(200, b"no", "text/plain"), True)
    assert read(head + b"no", known=known, is_last=True) == (answer(200, b"no", "text/plain"), False)
    assert read(head + b"n", b"o", known=known) == (answer(200, b"no", "text/plain"), True)
    assert read(head + b"noHTTP", known=known) == (answer(200, b"no", "text/plain"), False)
    assert read(head + b"n", b"", known=known)[0] == BuyerFailure(
        kind=FailureKind.MALFORMED, is_sent=True, detail="the answer is cut off"
    )


@pytest.mark.parametrize(("wire", "expected"), [row[1:3] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_known_head_is_no_answer_before_its_end_has_come(wire, expected):
    """The empty line that ends a head may come by itself, and even an answer without a body has one."""
    known: KnownHeads = {}
    assert read(*wire, known=known)[0] == expected
    for place in range(1, len(wire[0])):
        assert read(wire[0][:place], known=known) == read(wire[0][:place])


@pytest.mark.parametrize(
    "wire",
    [
        OK + b"Content-Length: 2\r\n\r\nok!",
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        OK + b"Keep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok",
        OK + b"X: " + b"y" * 1_024 + b"\r\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_head_is_not_remembered_when_it_says_more_than_its_length(wire):
    """Only a head that is all there is to know about the answer's framing is taken as read."""
    known: KnownHeads = {}

    read(wire, known=known)

    assert known == {}


def test_known_head_does_not_answer_head_requests():
    """A head remembered from a request with a body says nothing about HEAD."""
    known: KnownHeads = {}
    wire = OK + b"Content-Length: 0\r\n\r\n"
    read(wire, known=known)

    assert read(wire, known=known, is_head=True) == (answer(200, b""), False)


@pytest.mark.parametrize(
    ("header", "keepalive_s"),
    [(b"timeout=5", 4.0), (b"timeout=5, max=100", 4.0), (b"timeout=0", -1.0), (b"timeout=600", 30.0), (b"max=9", 30.0)],
)
def test_keep_alive_time_is_heeded_when_the_buyer_names_one(header, keepalive_s):
    """An idle connection is given up a second before the buyer would close it, and after our own limit at most."""
    reader = AnswerReader(LIMITS, {})
    reader.start(False, False)

    reader.feed(OK + b"Keep-Alive: " + header + b"\r\nContent-Length: 0\r\n\r\n")

    assert reader.keepalive_s == keepalive_s


def test_reader_forgets_an_answer_when_the_next_one_starts():
    """Nothing of an answer leaks into the next one on the same connection."""
    reader = AnswerReader(LIMITS, {})
    for wire, expected in [
        (OK + b"Content-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", answer(200, b"a", "a/b")),
        (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", answer(404, b"no")),
        (OK + b"X: y\r\nContent-Length: 0\r\n\r\n", answer(200, b"")),
    ]:
        reader.start(False, False)
        assert reader.feed(wire) == expected
        assert reader.is_reusable
    reader.start(False, False)
    assert reader.end() == BuyerFailure(
        kind=FailureKind.RESET, is_sent=True, detail="the buyer closed the connection without an answer"
    )
    assert not reader.is_reusable
