"""Requests: the fields of a header block as a request, or as what makes it none (RFC 9113, 8.2 and 8.3). Pure."""

import re
from dataclasses import dataclass

from lexchange.turbo.frames import ErrorCode, StreamFault
from lexchange.turbo.header_blocks import Field

PSEUDO = frozenset([b":method", b":scheme", b":authority", b":path"])
NEEDED = (b":method", b":scheme", b":path")
OF_ONE_CONNECTION = frozenset([b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"])
_name = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_bad_value = re.compile(rb"[\x00\r\n]|\A[ \t]|[ \t]\Z")
# What every gRPC client sends, checked once and for all.
_KNOWN = frozenset([b"content-type", b"user-agent", b"te", b"grpc-timeout", b"grpc-accept-encoding", b"grpc-encoding"])


@dataclass(slots=True)  # made for every call, and frozen would cost three times as much
class Request:
    """What a client asks. `fields` are those that are no pseudo ones, in their order."""

    method: bytes
    path: bytes
    fields: list[Field]
    content_type: bytes
    content_bytes: int | None  # what it says it sends


def read_request(stream_id: int, fields: list[Field]) -> Request:
    """Raises StreamFault for a malformed one."""
    pseudo: dict[bytes, bytes] = {}
    rest: list[Field] = []
    content_type, content_bytes = b"", None
    for field in fields:
        name, value = field
        if name[:1] == b":":
            if rest or name in pseudo or name not in PSEUDO:
                raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
            pseudo[name] = value
            continue
        if name not in _KNOWN:
            _check(stream_id, name, value)
            if name == b"content-length":
                content_bytes = _whole_number(stream_id, value)
        elif name == b"content-type":
            content_type = value
        elif name == b"te" and value != b"trailers":
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
        rest.append(field)
    for name in NEEDED:
        if not pseudo.get(name):
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
    return Request(pseudo[b":method"], pseudo[b":path"], rest, content_type, content_bytes)


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
