"""Past: streams that are no more, as long as their peers may still speak of them. Pure."""

from collections import deque

from lexchange.turbo.frames import ConnectionFault, ErrorCode, StreamFault

REMEMBERED = 200  # of each kind


class Past:
    """One connection's."""

    def __init__(self) -> None:
        self._ended: deque[int] = deque(maxlen=REMEMBERED)
        self._let_go: deque[int] = deque(maxlen=REMEMBERED)
        self._stopped: deque[int] = deque(maxlen=REMEMBERED)

    def end(self, stream_id: int) -> None:
        """Both sides have said all."""
        self._ended.append(stream_id)

    def let_go(self, stream_id: int) -> None:
        """Answered before its client had sent all: what still comes is his right."""
        self._let_go.append(stream_id)

    def stop(self, stream_id: int) -> None:
        """Reset by us: its client may have sent more before he heard of it."""
        if stream_id not in self._stopped:
            self._let_go.append(stream_id)
            self._stopped.append(stream_id)

    def is_let_go(self, stream_id: int) -> bool:
        """Whether what comes is not looked at."""
        return stream_id in self._let_go

    def has_to_stop(self, stream_id: int) -> bool:
        """Data has come: whether its sender is to be told, once, that he may spare it. Raises StreamFault."""
        if stream_id not in self._let_go:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED)
        if stream_id in self._stopped:
            return False
        self._stopped.append(stream_id)
        return True

    def headers(self, stream_id: int) -> ConnectionFault:
        """What headers break that come on a stream of the past."""
        code = ErrorCode.STREAM_CLOSED if stream_id in self._ended else ErrorCode.PROTOCOL_ERROR
        return ConnectionFault(code, "headers on a stream that is closed")
