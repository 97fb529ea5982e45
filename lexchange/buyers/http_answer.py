"""What comes back from a buyer: an answer or a failure, and the reading of answers from bytes within limits.

Pure: it holds no connection and no clock. Nothing that a buyer sends is quoted in a failure, because a buyer may echo
the lead.
"""

import re
from enum import StrEnum
from typing import NamedTuple, NoReturn

import httptools

from lexchange.frozen import frozen, maker


class FailureKind(StrEnum):
    """Why there is no answer."""

    REFUSED_REQUEST = "refused_request"  # a method, header or query that may not be sent
    REFUSED_ADDRESS = "refused_address"
    NO_ACCESS = "no_access"  # no OAuth 2 token to call with
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    RESET = "reset"  # the connection ended before an answer, or was reset within one
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    POOL_FULL = "pool_full"  # too many wait for a connection already
    CLIENT_CLOSED = "client_closed"


@frozen
class BuyerAnswer:
    """A complete HTTP answer of any status; redirects are answers too. `content_type` is as sent, "" when absent."""

    status: int
    content_type: str
    body: bytes


make_answer = maker(BuyerAnswer)


@frozen
class BuyerFailure:
    """No answer. `is_sent`: a byte of the request may have left this machine. `detail` holds no lead data."""

    kind: FailureKind
    is_sent: bool
    detail: str


Outcome = BuyerAnswer | BuyerFailure


def not_sent(kind: FailureKind, detail: str) -> BuyerFailure:
    """A failure before any byte of the request can have left."""
    return BuyerFailure(kind=kind, is_sent=False, detail=detail)


def sent(kind: FailureKind, detail: str) -> BuyerFailure:
    """A failure after the buyer may have seen the request."""
    return BuyerFailure(kind=kind, is_sent=True, detail=detail)


@frozen
class ClientLimits:
    """What a buyer may cost us."""

    max_answer_bytes: int = 262_144
    max_header_bytes: int = 16_384
    max_header_count: int = 100
    max_connections_per_endpoint: int = 64
    max_waiting_per_endpoint: int = 1_024  # calls that wait for a connection
    keepalive_s: float = 30.0  # an unused connection is closed after it
    connect_timeout_s: float = 5.0  # name, TCP and TLS together


# Chunked coding may spend this many bytes on the wire for a byte of answer.
MAX_WIRE_FACTOR = 8
MAX_INTERIM_ANSWERS = 8
KEEPALIVE_RESERVE_S = 1.0
NO_CONTENT = 204
BODILESS = (NO_CONTENT, 304)
MAX_KNOWN_HEADS = 1_024
MAX_KNOWN_HEAD_BYTES = 1_024

_OPENING = b"HTTP/1."
_OPENING_BYTES = 7
_KEEPALIVE_TIMEOUT = re.compile(rb"timeout=([0-9]{1,6})")
# Headers in their usual spelling: two that are read, and those that change nothing. Any other is looked at closely.
_PLAIN_HEADERS = frozenset(
    b"Content-Type Content-Length Server Date Connection Cache-Control Pragma Expires Last-Modified Etag ETag Vary Age"
    b" Via X-Powered-By X-Request-Id X-Request-ID Strict-Transport-Security Access-Control-Allow-Origin CF-RAY".split()
)


class _StopParsing(Exception):
    """Raised through the parser once the outcome is certain."""


class KnownHead(NamedTuple):
    """What the parser made of a head, when it came with the whole body and nothing else."""

    status: int
    content_type: str
    body_bytes: int


# Buyers under load repeat their heads byte by byte (the date changes once a second), so what the parser said of the
# same bytes a moment ago is not asked again. Shared by the connections of a client.
KnownHeads = dict[bytes, KnownHead]


class AnswerReader:
    """Reads answers from bytes, one `start` each; `is_reusable` is read after an outcome.

    The parser is strict llhttp, which calls what is named `on_…`; headers and pieces of the body go straight into a
    dict and a list, because a Python function called for each would cost more than the parsing.
    """

    __slots__ = (
        "_body",
        "_content_type",
        "_failure",
        "_has_length",
        "_has_parser",
        "_headers",
        "_interim_count",
        "_is_complete",
        "_is_head",
        "_is_in_body",
        "_is_last",
        "_known_heads",
        "_limit_digits",
        "_limits",
        "_max_header_bytes",
        "_parser",
        "_pieces",
        "_status",
        "_wire_bytes",
        "is_reusable",
        "keepalive_s",
        "on_body",
        "on_header",
    )

    def __init__(self, limits: ClientLimits, known_heads: KnownHeads) -> None:
        self._limits = limits
        self._known_heads = known_heads
        self._max_header_bytes = limits.max_header_bytes
        self._limit_digits = len(str(limits.max_answer_bytes))
        self._has_parser = False
        self.keepalive_s = limits.keepalive_s

    def start(self, is_head: bool, is_last: bool) -> None:
        """Expect the next answer: to a HEAD request, or to one that asks the buyer to close."""
        self._is_head = is_head
        self._is_last = is_last
        self._wire_bytes = 0
        self.is_reusable = False

    def feed(self, data: bytes) -> Outcome | None:
        """Take what arrived; returns the outcome once it is certain."""
        if self._wire_bytes:
            return self._read(data)
        head, end, body = data.partition(b"\r\n\r\n")
        known = self._known_heads.get(head) if end else None
        if known is not None and known.body_bytes == len(body) and not self._is_head:
            self.is_reusable = not self._is_last
            return make_answer(status=known.status, content_type=known.content_type, body=body)
        self._clear()
        outcome = self._read(data)
        if self.is_reusable and isinstance(outcome, BuyerAnswer) and len(outcome.body) == len(body):
            self._remember(head, outcome)
        return outcome

    def _remember(self, head: bytes, answer: BuyerAnswer) -> None:
        """Whoever asks this reader again for the same head gets the same answer, except for its keep-alive time."""
        if len(head) > MAX_KNOWN_HEAD_BYTES or self.keepalive_s != self._limits.keepalive_s:
            return
        if len(self._known_heads) >= MAX_KNOWN_HEADS:
            self._known_heads.clear()
        self._known_heads[head] = KnownHead(answer.status, answer.content_type, len(answer.body))

    def _make_parser(self) -> None:
        """Not before it is needed: it takes a kilobyte, and buyers under load repeat their heads."""
        self._has_parser = True
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._body = bytearray()
        self.on_header = self._headers.__setitem__
        self.on_body = self._pieces.append
        self._parser = httptools.HttpResponseParser(self)

    def _clear(self) -> None:
        if not self._has_parser:
            self._make_parser()
        self._is_complete = self._is_in_body = self._has_length = False
        self._failure: BuyerFailure | None = None
        self._content_type = b""
        self._status = self._interim_count = 0
        self._headers.clear()
        self._pieces.clear()
        self._body.clear()

    def _read(self, data: bytes) -> Outcome | None:
        before = self._wire_bytes
        self._wire_bytes = before + len(data)
        if before < _OPENING_BYTES and not data.startswith(_OPENING) and not _continues_opening(data, before):
            return _malformed("the answer does not start as HTTP/1")
        try:
            if self._wire_bytes > self._max_header_bytes and not self._is_in_body:
                data = self._feed_head(data, before)
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, _StopParsing) as error:
            self.is_reusable = False
            if not self._is_complete:
                return self._failure or _malformed(f"not HTTP: {error}")
        return self._answer() if self._is_complete else self._keep()

    def _feed_head(self, data: bytes, before: int) -> bytes:
        """Feed no more than headers may take; returns the rest, for the body."""
        allowed = max(0, self._max_header_bytes - before)
        self._parser.feed_data(data[:allowed])
        if not self._is_in_body:
            self._refuse(_malformed(f"the headers exceed {self._max_header_bytes} bytes"))
        return data[allowed:]

    def end(self) -> Outcome:
        """The buyer has orderly closed: the end of an answer without a length, otherwise a failure."""
        if self._wire_bytes == 0:
            return sent(FailureKind.RESET, "the buyer closed the connection without an answer")
        if self._is_in_body and not self._has_length:
            return self._answer()
        return _malformed("the answer is cut off")

    def _keep(self) -> BuyerFailure | None:
        """Put the pieces of an unfinished body together, within the limits."""
        limit = self._limits.max_answer_bytes
        self._body += b"".join(self._pieces)
        self._pieces.clear()
        if len(self._body) > limit or self._wire_bytes > self._max_header_bytes + MAX_WIRE_FACTOR * limit:
            return _too_large(limit)
        return None

    def _answer(self) -> Outcome:
        body = self._pieces[0] if len(self._pieces) == 1 and not self._body else self._joined_body()
        if len(body) > self._limits.max_answer_bytes:
            self.is_reusable = False
            return _too_large(self._limits.max_answer_bytes)
        content_type = self._content_type.decode("latin-1").rstrip()
        return make_answer(status=self._status, content_type=content_type, body=body)

    def _joined_body(self) -> bytes:
        return bytes(self._body) + b"".join(self._pieces)

    def on_message_begin(self) -> None:
        if self._is_complete:
            raise _StopParsing  # more than was asked for: the answer stands, the connection does not

    def on_headers_complete(self) -> None:
        status = self._status = self._parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101:
                self._refuse(_malformed(f"status {status}"))
            return
        headers = self._headers
        if not _PLAIN_HEADERS.issuperset(headers):
            headers = self._examine()
        self._is_in_body = True
        self._content_type = headers.get(b"Content-Type", b"")
        length = headers.get(b"Content-Length")
        if length is not None:
            self._has_length = True  # llhttp has refused what is no number or comes twice
            if status == NO_CONTENT and length != b"0":
                self._is_last = True  # a body may come all the same, where the next answer should begin
            if len(length) >= self._limit_digits and not self._is_head:
                self._check_length(int(length))
        if self._is_head:
            self._is_complete = True
            raise _StopParsing  # the parser would wait for the body that HEAD only announces

    def _check_length(self, length: int) -> None:
        if length > self._limits.max_answer_bytes:
            self._refuse(_too_large(self._limits.max_answer_bytes))

    def _examine(self) -> dict[bytes, bytes]:
        """Check the headers that change the reading; returns the headers in the usual spelling."""
        if len(self._headers) > self._limits.max_header_count:
            self._refuse(_malformed(f"more than {self._limits.max_header_count} headers"))
        headers = {name.title(): value.strip() for name, value in self._headers.items()}
        if headers.get(b"Content-Encoding", b"identity").lower() not in (b"identity", b""):
            self._refuse(_malformed("an encoded body, although identity was asked for"))
        if (coding := headers.get(b"Transfer-Encoding")) is not None:
            self._has_length = True
            if coding.lower() != b"chunked" or b"Content-Length" in headers:
                self._refuse(_malformed("a Transfer-Encoding other than chunked"))
            if self._status in BODILESS:
                self._is_last = True  # as with a length
        if timeout := _KEEPALIVE_TIMEOUT.search(headers.get(b"Keep-Alive", b"")):
            # Leave an idle connection before the buyer does: a request on its way to a closing one is lost.
            self.keepalive_s = min(self._limits.keepalive_s, int(timeout[1]) - KEEPALIVE_RESERVE_S)
        return headers

    def on_message_complete(self) -> None:
        if self._status >= 200:
            self._is_complete = True
            self.is_reusable = not self._is_last and self._parser.should_keep_alive()
            return
        self._headers.clear()
        self._interim_count += 1
        if self._interim_count > MAX_INTERIM_ANSWERS:
            self._refuse(_malformed(f"more than {MAX_INTERIM_ANSWERS} interim answers"))

    def _refuse(self, failure: BuyerFailure) -> NoReturn:
        self._failure = failure
        raise _StopParsing


def _continues_opening(data: bytes, before: int) -> bool:
    """llhttp takes RTSP/, HTTP/2.0 and leading line breaks too; a buyer who speaks HTTP/1 sends none of them."""
    return data[: _OPENING_BYTES - before] == _OPENING[before : before + len(data)]


def _malformed(detail: str) -> BuyerFailure:
    return sent(FailureKind.MALFORMED, detail)


def _too_large(limit: int) -> BuyerFailure:
    return sent(FailureKind.TOO_LARGE, f"the answer exceeds {limit} bytes")
