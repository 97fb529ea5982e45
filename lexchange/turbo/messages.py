"""Messages, deadlines and statuses of gRPC as they stand on the wire. Pure.

Source: the protocol's description, "gRPC over HTTP2".
"""

import base64
import zlib
from collections.abc import Iterable
from struct import Struct
from urllib.parse import quote_from_bytes

import grpc

from lexchange.turbo.header_blocks import STATUS_200, Field, encode

PREFIX_BYTES = 5
TEXT_CHARACTERS = 1_000  # of a refusal, which may quote its caller: a frame holds them also where each takes 12 bytes
TIMEOUT_UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
GZIP_WINDOW = 31  # of zlib: a gzip header is expected
_prefix = Struct(">BI")

HEAD = STATUS_200 + encode([(b"content-type", b"application/grpc"), (b"grpc-accept-encoding", b"identity,gzip")])
OK_TRAILERS = encode([(b"grpc-status", b"0")])
NO_GRPC = encode([(b":status", b"415")])
NO_POST = encode([(b":status", b"405")])
NO_TRAILERS = encode([(b"grpc-status", b"13")])  # for whoever is no gRPC client and reads this

MetadataItem = tuple[str, str | bytes]


class Refusal(Exception):
    """A call that ends with a status other than OK."""

    def __init__(self, code: grpc.StatusCode, text: str, metadata: Iterable[MetadataItem] = ()) -> None:
        super().__init__(f"{code.name}: {text}")
        self.code = code
        self.text = text
        self.metadata = metadata


def packed(message: bytes) -> bytes:
    """A message with its prefix."""
    return _prefix.pack(0, len(message)) + message


def read_message(body: bytes | bytearray, encoding: bytes, most_bytes: int) -> tuple[bytes, int] | None:
    """The first message of a body and the bytes it takes; None while it is not whole. Raises Refusal."""
    if len(body) < PREFIX_BYTES:
        return None
    is_compressed, size = _prefix.unpack_from(body)
    if size > most_bytes:
        raise too_large(most_bytes)
    if len(body) < PREFIX_BYTES + size:
        return None
    message = bytes(body[PREFIX_BYTES : PREFIX_BYTES + size])
    if is_compressed:
        message = _unpacked(message, encoding, most_bytes)
    return message, PREFIX_BYTES + size


def _unpacked(message: bytes, encoding: bytes, most_bytes: int) -> bytes:
    if encoding != b"gzip":
        text = f"a compressed message of encoding {encoding.decode('latin-1')!r}: expected gzip"
        raise Refusal(grpc.StatusCode.UNIMPLEMENTED, text)
    unzip = zlib.decompressobj(GZIP_WINDOW)
    try:
        whole = unzip.decompress(message, most_bytes)
    except zlib.error as error:
        raise Refusal(grpc.StatusCode.INTERNAL, "a message that gzip cannot read") from error
    if unzip.unconsumed_tail:
        raise too_large(most_bytes)
    if not unzip.eof:
        raise Refusal(grpc.StatusCode.INTERNAL, "a message that gzip cannot read")
    return whole


def too_large(most_bytes: int) -> Refusal:
    """What a caller hears whose message is longer."""
    return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, f"a message of more than {most_bytes} bytes")


def read_timeout_s(value: bytes) -> float:
    """Seconds of a grpc-timeout; raises Refusal."""
    digits, unit_s = value[:-1], TIMEOUT_UNITS_S.get(value[-1:])
    if unit_s is not None and len(digits) <= 8 and digits.isdigit():
        return int(digits) * unit_s
    text = value.decode("latin-1")
    raise Refusal(grpc.StatusCode.INTERNAL, f"a grpc-timeout of {text!r}: expected digits and one of H M S m u n")


def refusal_trailers(refusal: Refusal) -> bytes:
    """The trailer block of a status."""
    text = quote_from_bytes(
        refusal.text[:TEXT_CHARACTERS].encode(), safe=b" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
    ).encode()
    fields: list[Field] = [(b"grpc-status", b"%d" % refusal.code.value[0]), (b"grpc-message", text)]
    return encode(fields + [(name.encode(), _field_value(value)) for name, value in refusal.metadata])


def _field_value(value: str | bytes) -> bytes:
    """Bytes go out in base 64, as `…-bin` fields have to."""
    return base64.b64encode(value).rstrip(b"=") if isinstance(value, bytes) else value.encode()


def read_metadata(fields: Iterable[Field]) -> tuple[MetadataItem, ...]:
    """A call's metadata as its servicer sees it."""
    return tuple(
        (name.decode(), _bytes_of(value) if name.endswith(b"-bin") else value.decode("latin-1"))
        for name, value in fields
    )


def _bytes_of(value: bytes) -> bytes:
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except ValueError:
        return b""
