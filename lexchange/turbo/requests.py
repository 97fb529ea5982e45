"""Requests: the fields of a header block as a request, or as what makes it none (RFC 9113, 8.2 and 8.3). Pure."""

import re
from dataclasses import dataclass

from lexchange.turbo.frames import ErrorCode, StreamFault
from lexchange.turbo.header_blocks import Field

TIMEOUT = b"grpc-timeout"
REMEMBERED = 8  # requests of a connection: a few methods, and a bound
PSEUDO = frozenset([b":method", b":scheme", b":authority", b":path"])
NEEDED = (b":method", b":scheme", b":path")
OF_ONE_CONNECTION = frozenset([b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"])
_name = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_bad_value = re.compile(rb"[\x00\r\n]|\A[ \t]|[ \t]\Z")
# What every gRPC client sends.
_KNOWN = frozenset([b"content-type", b"user-agent", b"te", TIMEOUT, b"grpc-accept-encoding", b"grpc-encoding"])


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks. `fields` are those that are no pseudo ones, in their order, without its deadline."""

    method: bytes
    path: bytes
    fields: tuple[Field, ...]
    content_type: bytes
    content_bytes: int | None  # what it says it sends
    encoding: bytes  # of its messages
    is_usual: bool  # no field but those that every gRPC client sends


class RequestReader:
    """One connection's. A client says the same again in each call but for its deadline, so that is read apart."""

    def __init__(self) -> None:
        self._seen: dict[tuple[Field, ...], Request] = {}
        self._timeout_at = 0

    def read(self, stream_id: int, fields: list[Field]) -> tuple[Request, bytes | None]:
        """The request, and its grpc-timeout, if it has one; raises StreamFault for a malformed one."""
        timeout = self._take_timeout(fields)
        key = tuple(fields)
        request = self._seen.get(key)
        if request is None:
            request = read_request(stream_id, fields)
            if request.is_usual and len(self._seen) < REMEMBERED:
                self._seen[key] = request
        return request, timeout

    def _take_timeout(self, fields: list[Field]) -> bytes | None:
        at = self._timeout_at
        if at >= len(fields) or fields[at][0] != TIMEOUT:  # not where it was the last time
            at = next((place for place, field in enumerate(fields) if field[0] == TIMEOUT), -1)
            if at < 0:
                return None
            self._timeout_at = at
        return fields.pop(at)[1]


def read_request(stream_id: int, fields: list[Field]) -> Request:
    """Raises StreamFault for a malformed one."""
    pseudo: dict[bytes, bytes] = {}
    rest: list[Field] = []
    content_type, content_bytes, encoding, is_usual = b"", None, b"identity", True
    for field in fields:
        name, value = field
        if name[:1] == b":":
            if rest or name in pseudo or name not in PSEUDO:
                raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
            pseudo[name] = value
            continue
        if name not in _KNOWN:
            is_usual = False
            _check(stream_id, name, value)
            if name == b"content-length":
                content_bytes = _whole_number(stream_id, value)
        elif name == b"content-type":
            content_type = value
        elif name == b"grpc-encoding":
            encoding = value
        elif name == b"te" and value != b"trailers":
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
        rest.append(field)
    for name in NEEDED:
        if not pseudo.get(name):
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
    return Request(
        method=pseudo[b":method"],
        path=pseudo[b":path"],
        fields=tuple(rest),
        content_type=content_type,
        content_bytes=content_bytes,
        encoding=encoding,
        is_usual=is_usual,
    )


def check_trailers(stream_id: int, fields: list[Field]) -> None:
    """Trailers are not read, but have to be some; raises StreamFault."""
    for name, value in fields:
        _check(stream_id, name, value)


def _check(stream_id: int, name: bytes, value: bytes) -> None:
    if name in OF_ONE_CONNECTION or not _name.fullmatch(name) or _bad_value.search(value):
        raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)


def _whole_number(stream_id: int, value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
    return int(value)
