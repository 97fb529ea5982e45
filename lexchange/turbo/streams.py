"""Streams: one request and its answer on a connection, with the windows that bound both."""

from typing import Protocol

from lexchange.turbo.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAX_WINDOW_BYTES,
    ConnectionFault,
    ErrorCode,
    StreamFault,
    frame,
    pack_head,
    window_frame,
)


class Receiver(Protocol):
    """Who reads a stream."""

    is_patient: bool
    """Whether its client may take his time, as on a stream of many messages."""

    def hear(self, part: bytes) -> None:
        """Some of the body."""
        ...

    def end(self) -> None:
        """The body is whole."""
        ...

    def cancel(self) -> None:
        """Nobody waits for an answer any more."""
        ...

    def expire(self, now_s: float) -> None:
        """Asked each second, on the loop's clock: end what is over its time."""
        ...


class Carrier(Protocol):
    """What a stream needs of its connection."""

    send_window: int
    peer_frame_bytes: int
    blocked: dict[int, "Stream"]

    def send(self, packet: bytes) -> None:
        """Put frames out."""
        ...

    def close_stream(self, stream: "Stream") -> None:
        """The answer is complete."""
        ...


class Stream:
    """One stream. The connection reads into it, its receiver answers through it."""

    __slots__ = (
        "_carrier",
        "_pending",
        "_trailers",
        "began_s",
        "bytes_left",
        "id",
        "is_receiving",
        "receive_window",
        "receiver",
        "send_window",
        "timeout",
        "was_owed_nothing_s",
    )

    receiver: Receiver

    def __init__(self, stream_id: int, carrier: Carrier, windows: tuple[int, int], began_s: float) -> None:
        self.id = stream_id
        self.began_s = began_s
        self.was_owed_nothing_s = began_s
        self.receive_window, self.send_window = windows
        self.is_receiving = True
        self.timeout: bytes | None = None  # as the client has written it
        self.bytes_left: int | None = None  # of the length that the client has announced
        self._carrier = carrier
        self._pending = b""
        self._trailers: bytes | None = None

    # ---- in ----

    def take(self, counted_bytes: int, part: bytes) -> None:
        """A DATA frame; raises StreamFault."""
        self.receive_window -= counted_bytes
        if self.receive_window < 0:
            raise StreamFault(self.id, ErrorCode.FLOW_CONTROL_ERROR)
        if self.bytes_left is not None:
            self.bytes_left -= len(part)
            if self.bytes_left < 0:
                raise StreamFault(self.id, ErrorCode.PROTOCOL_ERROR)
        if part:
            self.receiver.hear(part)

    def take_end(self) -> None:
        """The request is complete; raises StreamFault."""
        self.is_receiving = False
        if self.bytes_left:
            raise StreamFault(self.id, ErrorCode.PROTOCOL_ERROR)
        self.receiver.end()

    def give_back(self, read_bytes: int) -> None:
        """So much of the body has been read: more may come."""
        if self.is_receiving:
            self.receive_window += read_bytes
            self._carrier.send(window_frame(self.id, read_bytes))

    # ---- out ----

    def answer(self, head: bytes, data: bytes, trailers: bytes) -> None:
        """A whole answer: header block, body, trailer block; the stream is closed when it is out."""
        size, carrier = len(data), self._carrier
        if size > self.send_window or size > carrier.send_window or size > carrier.peer_frame_bytes:
            self.start(head)
            self.write(data)
            self.finish(trailers)
            return
        self.send_window -= size
        carrier.send_window -= size
        stream_id = self.id
        head_frame = pack_head(len(head) << 8 | HEADERS, END_HEADERS, stream_id) + head
        data_frame = pack_head(size << 8 | DATA, 0, stream_id) + data
        last_frame = pack_head(len(trailers) << 8 | HEADERS, END_HEADERS | END_STREAM, stream_id) + trailers
        carrier.send(head_frame + data_frame + last_frame)
        carrier.close_stream(self)

    def start(self, head: bytes) -> None:
        """The header block of an answer that comes in parts."""
        self._carrier.send(frame(HEADERS, END_HEADERS, self.id, head))

    def write(self, data: bytes) -> None:
        """A part of the body; what the windows do not let out waits for them."""
        self._pending += data
        self.pump()

    def finish(self, trailers: bytes) -> None:
        """The trailer block, behind all that waits; alone it is the whole answer."""
        self._trailers = trailers
        self.pump()

    @property
    def is_waiting(self) -> bool:
        """Whether the peer's windows hold something back."""
        return bool(self._pending)

    def owed_s(self, now_s: float) -> float:
        """For how long its client has owed the rest of it, or room for its answer; asked each second."""
        if not (self.is_waiting or (self.is_receiving and not self.receiver.is_patient)):
            self.was_owed_nothing_s = now_s
        return now_s - self.was_owed_nothing_s

    def pump(self) -> None:
        """Put out what the windows allow."""
        carrier = self._carrier
        while self._pending:
            size = min(len(self._pending), self.send_window, carrier.send_window, carrier.peer_frame_bytes)
            if size <= 0:
                carrier.blocked[self.id] = self
                return
            carrier.send(frame(DATA, 0, self.id, self._pending[:size]))
            self._pending = self._pending[size:]
            self.send_window -= size
            carrier.send_window -= size
        carrier.blocked.pop(self.id, None)
        if self._trailers is not None:
            carrier.send(frame(HEADERS, END_HEADERS | END_STREAM, self.id, self._trailers))
            carrier.close_stream(self)

    def widen(self, add_bytes: int) -> None:
        """The peer takes more; raises StreamFault where that is no window any more."""
        if not add_bytes:
            raise StreamFault(self.id, ErrorCode.PROTOCOL_ERROR)
        self.send_window += add_bytes
        if self.send_window > MAX_WINDOW_BYTES:
            raise StreamFault(self.id, ErrorCode.FLOW_CONTROL_ERROR)
        if self._pending:
            self.pump()

    def shift(self, by_bytes: int) -> None:
        """The peer has changed what every window begins with."""
        self.send_window += by_bytes
        if self.send_window > MAX_WINDOW_BYTES:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window of more than 2^31 - 1 bytes")
        if self._pending:
            self.pump()
