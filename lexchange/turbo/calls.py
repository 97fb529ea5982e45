"""Calls: a stream becomes a message, a message a call of a servicer, and its answer or refusal goes back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import grpc

from lexchange.telemetry import log_event
from lexchange.turbo.messages import (
    HEAD,
    OK_TRAILERS,
    PREFIX_BYTES,
    MetadataItem,
    Refusal,
    packed,
    read_message,
    read_metadata,
    read_timeout_s,
    refusal_trailers,
    too_large,
)
from lexchange.turbo.requests import Request
from lexchange.turbo.streams import Stream

TIMED_S = 2.0  # a deadline nearer than this has a timer of its own, which costs a tenth of a call


class Method(Protocol):
    """A method as generated code describes it; of the last four, the one that fits both flags is there."""

    request_streaming: bool
    response_streaming: bool
    request_deserializer: Callable[[bytes], Any]
    response_serializer: Callable[[Any], bytes]
    unary_unary: Callable[[Any, Any], Awaitable[Any]]
    unary_stream: Callable[[Any, Any], Any]
    stream_stream: Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calling:
    """What the calls of a server share: their loop, their limit, and the tasks of those under way."""

    loop: asyncio.AbstractEventLoop
    message_bytes: int
    tasks: "set[asyncio.Task[None]]" = field(default_factory=set)


class Call:
    """One call: the receiver of its stream, the task that answers it, and what its servicer may ask and say of it.

    That is the part of grpc.aio's ServicerContext that our servicers use.
    """

    __slots__ = (
        "_body",
        "_calling",
        "_deadline",
        "_has_started",
        "_is_over",
        "_method",
        "_more",
        "_request",
        "_stream",
        "_task",
        "_timer",
        "is_patient",
    )

    def __init__(self, stream: Stream, request: Request, method: Method, calling: Calling) -> None:
        """Raises Refusal. A call with a stream of messages begins before they are there."""
        self.is_patient = method.request_streaming
        self._stream = stream
        self._request = request
        self._method = method
        self._calling = calling
        self._body: bytes | bytearray = b""  # the second where it comes in parts
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_over = False
        self._has_started = False
        self._more: asyncio.Event | None = None  # of a stream of messages has come, or its end
        if stream.timeout is not None:
            timeout_s = read_timeout_s(stream.timeout)
            self._deadline = stream.began_s + timeout_s
            if timeout_s < TIMED_S:
                self._timer = calling.loop.call_at(self._deadline, self.expire, self._deadline)
        if method.request_streaming:
            self._body, self._more = bytearray(), asyncio.Event()
            self._begin(None)

    # ---- the stream's side ----

    def hear(self, part: bytes) -> None:
        """Some of the request."""
        body = self._body
        if isinstance(body, bytearray):
            body += part
        else:
            self._body = bytearray(body + part) if body else part
        if self._more is not None:
            self._more.set()
        elif len(self._body) > PREFIX_BYTES + self._calling.message_bytes:
            self._refuse(too_large(self._calling.message_bytes))

    def end(self) -> None:
        """The request is whole."""
        if self._is_over:
            return
        if self._more is not None:
            self._more.set()
            return
        try:
            found = read_message(self._body, self._request.encoding, self._calling.message_bytes)
            if found is None or found[1] != len(self._body):
                raise Refusal(grpc.StatusCode.INTERNAL, "expected one message")
        except Refusal as refusal:
            self._refuse(refusal)
            return
        self._begin(found[0])

    def cancel(self) -> None:
        """The caller has gone."""
        self._is_over = True
        self._stop()

    def expire(self, now_s: float) -> None:
        """End it where its deadline is over. Short ones have a timer; a server asks each second for the others."""
        if self._deadline is not None and now_s >= self._deadline:
            self._refuse(Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline is over"))
            self._stop()

    # ---- what the servicer asks and says ----

    def time_remaining(self) -> float | None:
        """Seconds that the caller's deadline leaves; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - self._calling.loop.time())

    def invocation_metadata(self) -> tuple[MetadataItem, ...]:
        """What the caller sent besides his message."""
        return read_metadata(self._request.fields)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Iterable[MetadataItem] = ()
    ) -> NoReturn:
        """End the call with a status; raises."""
        raise Refusal(code, details, trailing_metadata)

    async def write(self, message: Any) -> None:
        """Send one of several answers."""
        self._write(message)

    # ---- the servicer's side ----

    def _begin(self, message: bytes | None) -> None:
        self._task = self._calling.loop.create_task(self._run(message))
        self._calling.tasks.add(self._task)

    async def _run(self, message: bytes | None) -> None:
        """Whatever comes of it, the caller gets a status."""
        method = self._method
        try:
            if method.request_streaming or method.response_streaming:
                await self._stream_answers(message)
                return
            response = await method.unary_unary(self._read(message), self)
            if not self._is_over:
                self._is_over = True
                self._stream.answer(HEAD, packed(method.response_serializer(response)), OK_TRAILERS)
        except Refusal as refusal:
            self._refuse(refusal)
        except asyncio.CancelledError:  # by us, then it is over; or something that it waited for
            self._refuse(Refusal(grpc.StatusCode.UNKNOWN, "something broke on our side"))
            raise
        except Exception as error:  # noqa: BLE001 - a caller gets a status and no inside
            log_event("grpc_call_failed", error=type(error).__name__)
            self._refuse(Refusal(grpc.StatusCode.UNKNOWN, "something broke on our side"))
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._task is not None:
                self._calling.tasks.discard(self._task)

    async def _stream_answers(self, message: Any) -> None:
        """Servicers of several answers yield them, or write them to their context."""
        method = self._method
        asked = self._requests() if method.request_streaming else self._read(message)
        answers = (method.stream_stream if method.request_streaming else method.unary_stream)(asked, self)
        if hasattr(answers, "__aiter__"):
            async for answer in answers:
                self._write(answer)
        else:
            await answers
        if not self._is_over:
            self._is_over = True
            self._start()
            self._stream.finish(OK_TRAILERS)

    async def _requests(self) -> AsyncIterator[Any]:
        """Each is unpacked when it is asked for, so that what waits takes no more room than its window."""
        body, more = self._body, self._more
        assert isinstance(body, bytearray)
        assert more is not None
        while True:
            while found := read_message(body, self._request.encoding, self._calling.message_bytes):
                message, taken_bytes = found
                del body[:taken_bytes]
                self._stream.give_back(taken_bytes)
                yield self._read(message)
            if not self._stream.is_receiving:
                break
            more.clear()
            await more.wait()
        if body:
            raise Refusal(grpc.StatusCode.INTERNAL, "a message that is cut off")

    def _read(self, message: Any) -> Any:
        try:
            return self._method.request_deserializer(message)
        except Exception as error:  # of protobuf, whichever it is
            raise Refusal(grpc.StatusCode.INTERNAL, "a message that cannot be read") from error

    def _write(self, answer: Any) -> None:
        if self._is_over:
            return
        if self._stream.is_waiting:
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "the caller does not read his answers")
        self._start()
        self._stream.write(packed(self._method.response_serializer(answer)))

    # ---- both ----

    def _start(self) -> None:
        if not self._has_started:
            self._has_started = True
            self._stream.start(HEAD)

    def _refuse(self, refusal: Refusal) -> None:
        if not self._is_over:
            self._is_over = True
            trailers = refusal_trailers(refusal)
            self._stream.finish(trailers if self._has_started else HEAD + trailers)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            self._task.add_done_callback(self._calling.tasks.discard)  # it may never have begun
