"""Connection: HTTP/2 as a server speaks it, over one transport: frames in, streams, frames out.

What a peer may cost is bounded: streams, headers, windows, unread answers, and frames that only keep us busy. Such a
frame costs credit, a completed answer earns some, and who has none left is told to calm down.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from lexchange.turbo import frames
from lexchange.turbo.credit import A_SECOND, AN_ANSWER, RESET_COSTS, Credit
from lexchange.turbo.frames import END_HEADERS, END_STREAM, ConnectionFault, ErrorCode, StreamFault, read_head
from lexchange.turbo.header_blocks import LIST_BYTES, Field, HeaderDecoder
from lexchange.turbo.past import Past
from lexchange.turbo.requests import Request, RequestReader, check_trailers
from lexchange.turbo.streams import Receiver, Stream

STREAMS = 1_000  # at once
RECEIVED_BYTES = 1_048_576  # the connection's window; half of it is given back at a time
BLOCK_BYTES, CONTINUATIONS = 65_536, 8  # a header block, with its continuations
UNREAD_BYTES = 262_144  # of answers, before no further request is read
GREETING_S, REQUEST_S, UNREAD_S = 10, 10, 20  # until the peer's settings, a request's end, a read answer

Accept = Callable[["Connection", Stream, Request], Receiver]


class Connection(asyncio.Protocol):
    """One peer. `accept` makes the receiver of each request; a stream may bring `window_bytes` at once."""

    def __init__(self, accept: Accept, note: "Callable[[Connection, bool], None]", *, window_bytes: int) -> None:
        self._accept = accept
        self._note = note  # when it opens, and when it is lost
        self._window_bytes = window_bytes
        self._loop = asyncio.get_running_loop()
        self._decoder = HeaderDecoder()
        self._requests = RequestReader()
        self._streams: dict[int, Stream] = {}
        self.blocked: dict[int, Stream] = {}
        self._last_id = 0
        self._past = Past()
        self._rest = b""
        self._is_greeted = False  # by its preface
        self._readers = _BEFORE_SETTINGS  # of frames, by kind
        self._block: tuple[int, int, bytearray, int] | None = None  # stream, flags, so far, continuations
        self._out: list[bytes] = []
        self._receive_window = RECEIVED_BYTES
        self._stream_window = frames.WINDOW_BYTES
        self.send_window = frames.WINDOW_BYTES
        self.peer_frame_bytes = frames.FRAME_BYTES
        self._credit = Credit()
        self._since_s = self._loop.time()
        self._unread_since_s: float | None = None
        self._is_leaving = False
        self._is_over = False

    # ---- the transport's side ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not derive from it
        self._transport.set_write_buffer_limits(high=UNREAD_BYTES)
        ours = {
            frames.Setting.MAX_CONCURRENT_STREAMS: STREAMS,
            frames.Setting.INITIAL_WINDOW_SIZE: self._window_bytes,
            frames.Setting.MAX_HEADER_LIST_SIZE: LIST_BYTES,
        }
        self.send(frames.settings_frame(ours) + frames.window_frame(0, RECEIVED_BYTES - frames.WINDOW_BYTES))
        self._note(self, True)

    def connection_lost(self, error: Exception | None) -> None:
        """Nobody waits for any answer."""
        self._is_over = True
        self._note(self, False)
        for stream in list(self._streams.values()):
            stream.receiver.cancel()
        self._streams.clear()
        self.blocked.clear()

    def data_received(self, data: bytes) -> None:
        """Read all frames that are whole."""
        if self._is_over:
            return
        try:
            self._read(self._rest + data if self._rest else data)
        except ConnectionFault as fault:
            self._end(fault.code, fault.text)

    def pause_writing(self) -> None:
        """The peer does not read its answers: it gets no further ones."""
        self._unread_since_s = self._loop.time()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It does again."""
        self._unread_since_s = None
        self._transport.resume_reading()

    # ---- the server's side ----

    def look_after(self, now_s: float) -> None:
        """Each second: earn credit, and end what takes too long."""
        self._credit.earn(A_SECOND)
        if self._unread_since_s is None:
            self._unread_since_s = now_s if self._is_over else None  # what was still to be said
        elif now_s - self._unread_since_s > UNREAD_S:
            self._transport.abort()
        try:
            self._end_late(now_s)
        except ConnectionFault as fault:
            self._end(fault.code, fault.text)

    def leave(self, *, and_close: bool = True) -> None:
        """Say that no further request is read, let those under way end, then close."""
        if not self._is_leaving:
            self._is_leaving = True
            self.send(frames.goaway_frame(self._last_id, ErrorCode.NO_ERROR))
            if and_close:
                self._close_when_done()

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()

    # ---- the streams' side ----

    def send(self, packet: bytes) -> None:
        """Put out frames, together with all others of this turn of the loop."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(packet)

    def close_stream(self, stream: Stream) -> None:
        """Its answer is complete. A client that has not sent everything by now mostly ends by itself."""
        if self._streams.pop(stream.id, None) is None:
            return
        del stream.receiver  # which holds the stream: the two would be garbage only for the collector
        if stream.is_receiving:
            stream.is_receiving = False
            self._past.let_go(stream.id)
        else:
            self._past.end(stream.id)
            self._credit.earn(AN_ANSWER)
        if self._is_leaving:
            self._close_when_done()

    # ---- frames ----

    def _read(self, data: bytes) -> None:
        place = 0
        if not self._is_greeted:
            if data[: len(frames.PREFACE)] != frames.PREFACE[: len(data)]:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "expected the preface of HTTP/2")
            if len(data) < len(frames.PREFACE):
                self._rest = data
                return
            self._is_greeted, place = True, len(frames.PREFACE)
        size = len(data)
        while size - place >= frames.HEADER_BYTES and not self._is_over:
            word, flags, stream_id = read_head(data, place)
            begin = place + frames.HEADER_BYTES
            end = begin + (word >> 8)
            if end - begin > frames.FRAME_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of more than {frames.FRAME_BYTES} bytes")
            if end > size:
                break
            try:
                self._readers[word & 0xFF](self, flags, stream_id & frames.STREAM_ID, data[begin:end])
            except StreamFault as fault:
                self._reset(fault.stream_id, fault.code)
            place = end
        self._rest = data[place:]

    def _on_body(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._receive_window -= len(payload)
        if self._receive_window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the window")
        if self._receive_window < RECEIVED_BYTES // 2:
            self.send(frames.window_frame(0, RECEIVED_BYTES - self._receive_window))
            self._receive_window = RECEIVED_BYTES
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_known(stream_id)
            self._credit.spend()
            if stream_id <= self._last_id and self._past.has_to_stop(stream_id):
                self.send(frames.reset_frame(stream_id, ErrorCode.NO_ERROR))
            return
        if not stream.is_receiving:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED)
        part = payload
        if flags & frames.PADDED:
            part = frames.without_padding(flags, payload)
            stream.give_back(len(payload) - len(part))  # nobody will read it
        if not part and not flags & END_STREAM:
            self._credit.spend()
        stream.take(len(payload), part)
        if flags & END_STREAM and stream_id in self._streams:
            stream.take_end()

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "expected a request on an odd stream")
        if flags & (frames.PADDED | frames.WITH_PRIORITY):
            payload = frames.without_priority(stream_id, flags, frames.without_padding(flags, payload))
        if flags & END_HEADERS:
            self._on_block(stream_id, flags, payload)
        else:
            self._block = (stream_id, flags, bytearray(payload), 0)
            self._readers = _WITHIN_BLOCK

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a continuation of nothing")
        begun_id, first_flags, block, count = self._block
        if stream_id != begun_id:
            _STRAY(self, flags, stream_id, payload)
        block += payload
        if len(block) > BLOCK_BYTES or count >= CONTINUATIONS:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"a header block of more than {BLOCK_BYTES} bytes")
        self._block = (stream_id, first_flags, block, count + 1)
        if flags & END_HEADERS:
            self._block, self._readers = None, _READERS
            self._on_block(stream_id, first_flags, bytes(block))

    def _on_block(self, stream_id: int, flags: int, block: bytes) -> None:
        fields = self._decoder.decode(block)  # in any case: the next block builds on it
        if fields is None:
            self._last_id = max(self._last_id, stream_id)
            raise StreamFault(stream_id, ErrorCode.ENHANCE_YOUR_CALM)
        stream = self._streams.get(stream_id)
        if stream is not None:
            if not stream.is_receiving:
                raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED)
            if not flags & END_STREAM:
                raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
            check_trailers(stream_id, fields)
        elif stream_id <= self._last_id and not self._past.is_let_go(stream_id):
            raise self._past.headers(stream_id)
        elif stream_id <= self._last_id or self._is_leaving:
            self._credit.spend()
            return  # it has its answer; or it is told by our farewell to ask elsewhere
        else:
            self._last_id = stream_id
            if len(self._streams) >= STREAMS:
                raise StreamFault(stream_id, ErrorCode.REFUSED_STREAM)
            stream = self._open(stream_id, fields)
        if flags & END_STREAM and stream_id in self._streams:
            stream.take_end()

    def _open(self, stream_id: int, fields: list[Field]) -> Stream:
        request, timeout = self._requests.read(stream_id, fields)
        stream = Stream(stream_id, self, (self._window_bytes, self._stream_window), self._loop.time())
        stream.timeout = timeout
        stream.bytes_left = request.content_bytes
        self._streams[stream_id] = stream
        stream.receiver = self._accept(self, stream, request)
        return stream

    def _on_reset(self, flags: int, stream_id: int, payload: bytes) -> None:
        frames.read_word(payload)
        self._check_known(stream_id)
        self._credit.spend(RESET_COSTS)
        self._drop(stream_id)

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "settings of a stream")
        self._credit.spend()
        found = frames.read_settings(flags, payload)
        if flags & frames.ACK:
            return
        self._readers = _READERS
        self.peer_frame_bytes = min(found.get(frames.Setting.MAX_FRAME_SIZE, self.peer_frame_bytes), frames.FRAME_BYTES)
        window = found.get(frames.Setting.INITIAL_WINDOW_SIZE, self._stream_window)
        by_bytes, self._stream_window = window - self._stream_window, window
        self.send(frames.frame(frames.SETTINGS, frames.ACK, 0))
        if by_bytes:
            for stream in list(self._streams.values()):
                stream.shift(by_bytes)

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a ping on a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "expected a ping of 8 bytes")
        self._credit.spend()
        if not flags & frames.ACK:
            self.send(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _on_window(self, flags: int, stream_id: int, payload: bytes) -> None:
        add_bytes = frames.read_word(payload) & frames.MAX_WINDOW_BYTES
        if stream_id:
            self._check_known(stream_id)
            stream = self._streams.get(stream_id)
            if stream is None or not stream.is_waiting:
                self._credit.spend()
            if stream is not None:
                stream.widen(add_bytes)
            return
        self.send_window += add_bytes
        if not add_bytes or self.send_window > frames.MAX_WINDOW_BYTES:
            code = ErrorCode.FLOW_CONTROL_ERROR if add_bytes else ErrorCode.PROTOCOL_ERROR
            raise ConnectionFault(code, "expected a window of 1 to 2^31 - 1 bytes more")
        if not self.blocked:
            self._credit.spend()
        for stream in list(self.blocked.values()):
            stream.pump()

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a priority of no stream")
        self._credit.spend()
        frames.check_priority(stream_id, payload)

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a farewell on a stream")
        self._credit.spend()
        self.leave(and_close=False)  # look_after does: what the peer still says would cut a line that is closed

    def _on_unknown(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._credit.spend()

    # ---- ends ----

    def _end_late(self, now_s: float) -> None:
        if self._readers is _BEFORE_SETTINGS and now_s - self._since_s > GREETING_S:
            raise ConnectionFault(ErrorCode.SETTINGS_TIMEOUT, f"expected settings within {GREETING_S} s")
        for stream in list(self._streams.values()):
            stream.receiver.expire(now_s)
            if stream.id in self._streams and stream.owed_s(now_s) > REQUEST_S:
                self._reset(stream.id, ErrorCode.CANCEL)
        self._close_when_done()

    def _check_known(self, stream_id: int) -> None:
        if not stream_id & 1 or (stream_id > self._last_id and not self._is_leaving):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} has not begun")

    def _reset(self, stream_id: int, code: ErrorCode) -> None:
        self._credit.spend(RESET_COSTS)
        self.send(frames.reset_frame(stream_id, code))
        self._past.stop(stream_id)
        self._drop(stream_id)

    def _drop(self, stream_id: int) -> None:
        if stream := self._streams.pop(stream_id, None):
            self.blocked.pop(stream_id, None)
            self._past.end(stream_id)
            stream.receiver.cancel()
            del stream.receiver
            self._close_when_done()

    def _end(self, code: ErrorCode, text: str) -> None:
        self.send(frames.goaway_frame(self._last_id, code, text))
        self._close()

    def _close_when_done(self) -> None:
        if self._is_leaving and not self._streams and not self._is_over:
            self._close()

    def _close(self) -> None:
        self._flush()
        self._is_over = True
        self._transport.close()

    def _flush(self) -> None:
        if self._out and not self._is_over:
            self._transport.write(b"".join(self._out))
        self._out.clear()


_Reader = Callable[[Connection, int, int, bytes], None]


def _fault(text: str) -> _Reader:
    def read(connection: Connection, flags: int, stream_id: int, payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, text)

    return read


# By kind, in the order of their numbers.
_READERS: list[_Reader] = [
    Connection._on_body,
    Connection._on_headers,
    Connection._on_priority,
    Connection._on_reset,
    Connection._on_settings,
    _fault("clients do not push"),
    Connection._on_ping,
    Connection._on_goaway,
    Connection._on_window,
    Connection._on_continuation,
    *[Connection._on_unknown] * (frames.KINDS - frames.CONTINUATION - 1),
]
_STRAY = _fault("a frame within a header block")
_BEFORE_SETTINGS = [_fault("expected settings first")] * frames.KINDS
_BEFORE_SETTINGS[frames.SETTINGS] = Connection._on_settings
_WITHIN_BLOCK = [_STRAY] * frames.KINDS
_WITHIN_BLOCK[frames.CONTINUATION] = Connection._on_continuation
