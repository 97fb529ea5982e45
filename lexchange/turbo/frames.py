"""Frames of HTTP/2 (RFC 9113): their layout, their numbers, and what breaks the rules. Pure."""

from enum import IntEnum
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
FRAME_BYTES = 16_384  # of a payload, at most: what every peer takes, and all that we take
WINDOW_BYTES = 65_535  # where every window begins
MAX_WINDOW_BYTES = 2**31 - 1
STREAM_ID = 2**31 - 1  # its bits; the highest is reserved

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_BYTES = 5
KINDS = 256  # that a frame can name

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

# Length and kind share the first four bytes.
_head = Struct(">IBI")
_word = Struct(">I")
_setting = Struct(">HI")
read_head = _head.unpack_from
pack_head = _head.pack  # length << 8 | kind, flags, stream


class Setting(IntEnum):
    """Parameters of SETTINGS."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ErrorCode(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):
    """The peer broke a rule that the whole connection ends for."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(f"{code.name}: {text}")
        self.code = code
        self.text = text


class StreamFault(Exception):
    """The peer broke a rule that one stream ends for."""

    def __init__(self, stream_id: int, code: ErrorCode) -> None:
        super().__init__(f"stream {stream_id}: {code.name}")
        self.stream_id = stream_id
        self.code = code


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame."""
    return pack_head(len(payload) << 8 | kind, flags, stream_id) + payload


def settings_frame(values: dict[Setting, int]) -> bytes:
    """SETTINGS."""
    return frame(SETTINGS, 0, 0, b"".join(_setting.pack(name, value) for name, value in values.items()))


def window_frame(stream_id: int, add_bytes: int) -> bytes:
    """WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, 0, stream_id, _word.pack(add_bytes))


def reset_frame(stream_id: int, code: ErrorCode) -> bytes:
    """RST_STREAM."""
    return frame(RST_STREAM, 0, stream_id, _word.pack(code))


def goaway_frame(last_stream_id: int, code: ErrorCode, text: str = "") -> bytes:
    """GOAWAY."""
    return frame(GOAWAY, 0, 0, _word.pack(last_stream_id) + _word.pack(code) + text.encode())


def read_word(payload: bytes) -> int:
    """The 32 bits of a RST_STREAM or a WINDOW_UPDATE; raises ConnectionFault for another length."""
    if len(payload) != 4:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"expected 4 bytes, got {len(payload)}")
    word: int = _word.unpack(payload)[0]
    return word


def read_settings(flags: int, payload: bytes) -> dict[int, int]:
    """What SETTINGS says, checked; an acknowledgement says nothing."""
    if flags & ACK and payload:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement that says something")
    if len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"expected settings of 6 bytes each, got {len(payload)}")
    found = dict(_setting.iter_unpack(payload))
    if found.get(Setting.ENABLE_PUSH, 0) > 1:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "expected ENABLE_PUSH of 0 or 1")
    if found.get(Setting.INITIAL_WINDOW_SIZE, 0) > MAX_WINDOW_BYTES:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "expected INITIAL_WINDOW_SIZE below 2^31")
    if not FRAME_BYTES <= found.get(Setting.MAX_FRAME_SIZE, FRAME_BYTES) < 2**24:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "expected MAX_FRAME_SIZE from 2^14 to 2^24 - 1")
    return found


def without_padding(flags: int, payload: bytes) -> bytes:
    """What a DATA or HEADERS frame carries."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the padding is longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def without_priority(stream_id: int, flags: int, payload: bytes) -> bytes:
    """The header block of a HEADERS frame without padding. Without it the next block cannot be read: no StreamFault."""
    if not flags & WITH_PRIORITY:
        return payload
    try:
        check_priority(stream_id, payload[:PRIORITY_BYTES])
    except StreamFault as fault:
        raise ConnectionFault(fault.code, "headers with a priority that is none") from None
    return payload[PRIORITY_BYTES:]


def check_priority(stream_id: int, payload: bytes) -> None:
    """Priorities are read and not heeded, as RFC 9113 lets us; raises what is wrong with one."""
    if len(payload) != PRIORITY_BYTES:
        raise StreamFault(stream_id, ErrorCode.FRAME_SIZE_ERROR)
    if _word.unpack_from(payload)[0] & STREAM_ID == stream_id:
        raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
