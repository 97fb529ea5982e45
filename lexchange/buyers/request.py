"""Request: what a buyer is sent, to the byte. Pure.

Its head is checked once, when a configuration is read: no header can bring a line of its own or change the framing.
"""

import re
from collections.abc import Iterable

from lexchange.access import OAuth2Client
from lexchange.buyers.addresses import Endpoint
from lexchange.frozen import frozen, maker

_METHOD = re.compile(r"[A-Z]{1,20}")
_QUERY = re.compile(r"[!-\"$-~]*")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_HEADER_VALUE = re.compile("[\t -~\xa0-\ud7ff\ue000-\U0010ffff]{0,8192}")  # sent as UTF-8
_FRAMING_HEADERS = frozenset(
    ("content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
_DEFAULT_HEADERS = (
    ("User-Agent", "lexchange/0.1"),
    ("Accept-Encoding", "identity"),
    ("Connection", "keep-alive"),
)


def check_headers(headers: Iterable[tuple[str, str]]) -> None:
    """Raise ValueError, naming the header but never its value, unless all of them may be sent."""
    for name, value in headers:
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"header {name!r}: expected a name of letters, digits and hyphens")
        if name.lower() in _FRAMING_HEADERS:
            raise ValueError(f"header {name}: expected none, the client sets it")
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"header {name}: expected at most 8192 characters without line breaks")
        if name.lower() == "connection" and value.lower() not in ("close", "keep-alive"):
            raise ValueError("header Connection: expected close or keep-alive")


@frozen
class Head:
    """A request's head up to the length of its body, cut where a query goes."""

    start: bytes
    rest: bytes
    whole: bytes
    query_mark: bytes
    is_bodiless: bool  # without a body, no length either
    is_head: bool
    is_last: bool

    @classmethod
    def build(cls, endpoint: Endpoint, method: str, headers: tuple[tuple[str, str], ...]) -> "Head":
        """Raises ValueError as check_headers does."""
        if not _METHOD.fullmatch(method):
            raise ValueError("method: expected upper-case letters")
        check_headers(headers)
        given = {name.lower(): value for name, value in headers}
        defaults = [(name, value) for name, value in _DEFAULT_HEADERS if name.lower() not in given]
        lines = [("Host", endpoint.authority), *defaults, *headers]
        start = method.encode("ascii") + b" " + endpoint.target
        rest = (" HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines)).encode()
        return cls(
            start=start,
            rest=rest,
            whole=start + rest,
            query_mark=b"&" if b"?" in endpoint.target else b"?",
            is_bodiless=method in ("GET", "HEAD"),
            is_head=method == "HEAD",
            is_last=given.get("connection", "").lower() == "close",
        )

    def write(self, query: str, body: bytes) -> bytes:
        """The whole request. Raises ValueError for a query that is not encoded."""
        head = self.whole
        if query:
            if not _QUERY.fullmatch(query):
                raise ValueError("query: expected encoded ASCII without spaces and #")
            head = b"".join((self.start, self.query_mark, query.encode("ascii"), self.rest))
        if self.is_bodiless and not body:
            return head + b"\r\n"
        return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


@frozen
class BuyerRequest:
    """What to send, to the byte. `query` comes encoded and is added to the endpoint's own.

    `head` is what `Head.build` makes of method and headers, where somebody has made it before.
    """

    endpoint: Endpoint
    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    query: str = ""
    oauth2: OAuth2Client | None = None  # whose token goes with it
    head: Head | None = None


make_request = maker(BuyerRequest)
