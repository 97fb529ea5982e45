"""Protocol: HTTP on one connection. A call that comes whole goes straight to its endpoint; all else is uvicorn's ASGI.

Both ways answer alike, byte for byte: tests/gateway/test_both_ways.py sends the same requests along both.

What a connection is at, while calls that came before may still run (`cycle` is the last, `pipeline` who has not begun):

    it rests, or says nothing yet   is_between, due_s set   all before is answered
    reads a head                    due_s set
    reads a body                    due_s None              `_endpoint` set: it may go straight; else `cycle` is its own
    reads what is shed              is_refused, due_s set   `cycle` knows nothing of it
    has read a call                 is_between, due_s None  it runs, or waits its turn
    has read the last               likewise                `cycle.keep_alive` is off: by the client's end, or by ours
    hears no more                   farewell                said once all before is answered
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sized
from typing import Any, cast

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.body import BODY_BYTES
from gateway.errors import RETRY_AFTER_S, error_body
from gateway.routes import CLOSE, FURTHER_HEADERS, Endpoint, Headers, Reply

KEEP_ALIVE_S = 75
HEADER_BYTES = 32_768  # all headers of a request
UNREAD_BYTES = 2 * HEADER_BYTES  # of a request, that are no header yet and no body: an endless one, or a path
WAITING_CALLS = 1_000  # of one connection, for their turn
HEADERS_S = 10  # their arrival: who connects and says nothing, or says it drop by drop, is hung up on
UNREAD_S = 20  # so is who leaves his answers unread until the line is full, and for so long then

# With the headers that `headers_of` gives to ASGI, of which the further ones come in one piece.
ANSWER = b"%bdate: %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b"

SHED_PATHS = frozenset([b"/ping", b"/direct_post"])  # a post is a promise and always gets through
_TOO_MANY = error_body("overloaded", "too many calls wait already; try again")
OVERLOADED_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: %d\r\n"
    b"content-length: %d\r\n%%b\r\n%b" % (RETRY_AFTER_S, len(_TOO_MANY), _TOO_MANY)
)
LAST = b"%b: %b\r\n" % CLOSE
OVERLOADED, OVERLOADED_LAST = OVERLOADED_ANSWER % b"", OVERLOADED_ANSWER % LAST
SHED_STARTS = tuple(b"POST %b HTTP/1.1\r\n" % path for path in sorted(SHED_PATHS))
_length = re.compile(rb"(?i)\r\ncontent-length: *(\d{1,5})(?=\r\n|\Z)")
_unusual = re.compile(rb"(?i)\r\n(connection|expect|transfer-encoding|upgrade):")


def _plain_length(head: bytes) -> int | None:
    """The length of a body that a keep-alive call sends in one piece; None where the parser should look."""
    found = _length.findall(head)
    return int(found[0]) if len(found) == 1 and not _unusual.search(head) else None


class JsonErrorProtocol(HttpToolsProtocol):
    """uvicorn's, with bounds: what is no HTTP is told so in JSON, and what is too much is refused without a task."""

    header_bytes = 0
    is_between = True  # two calls: nothing of the next has come
    is_refused = False  # the request that is being read
    unread_bytes = 0  # since something was read of it
    unread_due_s: float | None = None  # when who does not read is hung up on
    farewell = b""  # the last answer, once all that are owed before it are given; nothing is heard meanwhile

    def __init__(self, *, endpoints: Mapping[str, Endpoint], is_full: Callable[[], bool], **named: Any) -> None:
        super().__init__(**named)
        self._endpoints = {path.encode(): endpoint for path, endpoint in endpoints.items()}
        self._is_full = is_full
        self.due_s: float | None = self.loop.time() + HEADERS_S  # when who owes the rest of a request is hung up on
        self._endpoint: Endpoint | None = None  # of the request that is being read, if it may go there straight
        self._parts: list[bytes] = []  # of its body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's is
        """Begin, with a flow of our own."""
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)

    def data_received(self, data: bytes) -> None:
        """Parse; but a whole call that would be refused is refused as it lies there, at a third of the cost."""
        if self.farewell:
            return
        if self.is_between and data.startswith(SHED_STARTS) and self._is_shedding() and self._is_idle():
            head, _, body = data.partition(b"\r\n\r\n")
            if _plain_length(head) == len(body):
                self.transport.write(OVERLOADED)
                self.on_response_complete()
                return
        self.unread_bytes += len(data)
        self._parse(data)
        if not self.is_between and not self.farewell:
            self._wait_for_rest()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's says None, which is no
        """Who has said all may still listen: his calls are answered, then the connection ends."""
        if self.farewell:
            return True
        if self.is_between:
            self.shutdown()
        else:
            self.send_400_response("it ends before it is whole")
        return True

    def on_message_begin(self) -> None:
        """Begin counting. What uvicorn does here waits until it is known to be needed."""
        self.header_bytes = 0
        self.is_between = False
        self.unread_bytes = 0
        self.due_s = self.loop.time() + HEADERS_S
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take note of a header, as uvicorn would, and count it; too many end the connection."""
        self.header_bytes += len(name) + len(value)
        if self.header_bytes > HEADER_BYTES:
            raise ValueError(f"headers of more than {HEADER_BYTES} bytes")
        if self.due_s is None:
            return  # a trailer: it comes behind the body, and is no header of the call (RFC 9110, 6.5.1)
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = self.parser.get_http_version() != "1.0"  # which knows no 100 (RFC 9110, 10.1.1)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Begin a call, or refuse it with as little work as there can be, so that those in flight do not suffer."""
        if self._asks_upgrade():
            return
        endpoint = self._endpoints.get(self.url) if self._is_next() else None
        self.is_refused = endpoint is not None and self.url in SHED_PATHS and self._is_shedding()
        if self.is_refused:
            return
        self.due_s = None
        if endpoint is not None and self._is_plain():
            self._endpoint = endpoint
        else:
            self._begin_asgi()

    def on_body(self, body: bytes) -> None:
        """Keep some of a body; that of a refused call is not looked at."""
        self.unread_bytes = 0
        if self._endpoint is not None:
            self._parts.append(body)
        elif not self.is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Begin a call that has come whole; a refused one is answered, and its connection lives on."""
        self.is_between = True
        if self._endpoint is not None:
            self._begin_straight(self._endpoint)
        elif self._asks_upgrade():
            return
        elif not self.is_refused:
            super().on_message_complete()
            if self._is_idle():  # it was answered before it was whole
                self.cycle.more_body = False
                self.due_s = self.loop.time() + KEEP_ALIVE_S
        else:
            self.due_s = None
            if self.parser.should_keep_alive():
                self.transport.write(OVERLOADED)
                self.on_response_complete()
            else:
                self.transport.write(OVERLOADED_LAST)
                self.transport.close()

    def on_response_complete(self) -> None:
        """The next of the calls that came in one go, or a rest, whose end `due_s` costs less to note than a timer."""
        if self.pipeline:
            super().on_response_complete()
        elif self.farewell:
            self._say_farewell()
        elif not self.transport.is_closing():
            if self.flow.read_paused:
                self.flow.resume_reading()
            self.due_s = self.loop.time() + (KEEP_ALIVE_S if self.is_between else HEADERS_S)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered, in its turn, and hung up on."""
        if self._is_half_read() and self._is_idle():
            self.transport.close()  # its call has its answer
            return
        self._endpoint = None
        body = error_body("invalid_payload_shape", f"this is no HTTP/1.1 request that can be read: {msg}")
        date = self.server_state.default_headers[0][1]
        self.farewell = ANSWER % (STATUS_LINE[400], date, len(body), LAST, body)
        if self._is_half_read() and self.pipeline:
            self.pipeline.popleft()  # its call waits behind others, and for a rest that will not come
        elif self._is_half_read() or self._is_idle():
            self._say_farewell()

    def pause_writing(self) -> None:
        """The line is full of answers that nobody reads."""
        super().pause_writing()
        self.unread_due_s = self.loop.time() + UNREAD_S

    def resume_writing(self) -> None:
        """They are read again."""
        super().resume_writing()
        self.unread_due_s = None

    def end_if_due(self, now_s: float) -> None:
        """Hang up on who is too slow, once his calls are answered: at once where that would wait for him."""
        if self.unread_due_s is None and self.transport.is_closing():
            self.unread_due_s = now_s + UNREAD_S  # what was still to be said
        if self.unread_due_s is not None and self.unread_due_s < now_s:
            self.transport.abort()
        elif self.due_s is not None and self.due_s < now_s and self._is_idle():
            self.transport.close()

    # ---- parsing ----

    def _parse(self, data: bytes) -> None:
        """As uvicorn does, but the parser takes the body of a request for another protocol where it asks for one.

        We speak no other, as RFC 9110 (7.8) lets us: its head is read again without the question, then what follows.
        """
        parts: list[bytes | memoryview] = [data]
        while parts:
            part = parts.pop()
            try:
                self.parser.feed_data(part)
            except httptools.HttpParserUpgrade as upgrade:
                parts.append(memoryview(part)[upgrade.args[0] :])
                if self._asks_upgrade():
                    parts.append(self._head_without_upgrade())
                    self.parser = _parser_of(self)
            except httptools.HttpParserError as error:
                self.send_400_response(str(error.__context__ or error))  # the first is ours
                return

    def _wait_for_rest(self) -> None:
        """The rest of a request is on its way, and may take its time; but not all the memory, inside the parser."""
        if self._endpoint is not None:
            self._hand_over()
        if self.unread_bytes > UNREAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"more than {UNREAD_BYTES} bytes of a header or a path")

    def _asks_upgrade(self) -> bool:
        """Whether the request wants another protocol; CONNECT wants none, though the parser says so."""
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _head_without_upgrade(self) -> bytes:
        line = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        kept = [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([line, *kept, b"", b""])

    # ---- which way ----

    def _is_idle(self) -> bool:
        """Whether the connection owes no earlier answer."""
        before: RequestResponseCycle | None = self.cycle  # uvicorn declares it without the None that it starts as
        return before is None or before.response_complete

    def _is_half_read(self) -> bool:
        """Whether the rest of a body is to come for the last call that was begun, through ASGI."""
        before: RequestResponseCycle | None = self.cycle
        return before is not None and before.more_body

    def _say_farewell(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self.farewell)
            self.transport.close()

    def _is_shedding(self) -> bool:
        """Whether calls are refused here; not while earlier answers wait to be read, lest refusals pile up."""
        return self._is_full() and not self.flow.write_paused

    def _is_next(self) -> bool:
        """Whether this call is the next, and its body on its way."""
        return self._is_idle() and not self.expect_100_continue and self.parser.get_method() == b"POST"

    def _is_plain(self) -> bool:
        """Whether its connection lives on as HTTP/1.1."""
        return self.parser.should_keep_alive() and self.parser.get_http_version() == "1.1"

    def _begin_asgi(self) -> None:
        if len(self.pipeline) >= WAITING_CALLS:
            raise ValueError(f"it is one of more than {WAITING_CALLS} that wait for their turn")
        url, headers, is_waiting = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, is_waiting
        self.headers += headers  # in place: they are the scope's
        super().on_headers_complete()

    def _hand_over(self) -> None:
        """Go on as ASGI with a call that could not go straight."""
        self._endpoint, parts, self._parts = None, self._parts, []
        self._begin_asgi()
        for part in parts:
            super().on_body(part)

    def _begin_straight(self, endpoint: Endpoint) -> None:
        body = b"".join(self._parts)
        if len(body) > BODY_BYTES:
            self._hand_over()
            super().on_message_complete()
            return
        self._endpoint, self._parts = None, []
        call = StraightCall()
        self.cycle = cast(RequestResponseCycle, call)
        task = self.loop.create_task(call.run(self, endpoint, self.headers, body))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def _parser_of(protocol: JsonErrorProtocol) -> httptools.HttpRequestParser:
    """A new parser, as lenient as uvicorn's."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


class Flow(FlowControl):
    """uvicorn's, but it reads no more while calls wait for their turn; each call that begins would read on."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Unless calls wait: then the one that is under way has come whole."""
        if not self._waiting:
            super().resume_reading()


class StraightCall:
    """A call that has come whole, in the place of uvicorn's cycle: it has what the protocol asks of one."""

    __slots__ = ("disconnected", "keep_alive", "response_complete")

    message_event = asyncio.Event()  # wakes whoever waits for more of a body: nobody
    more_body = False

    def __init__(self) -> None:
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False

    async def run(self, protocol: JsonErrorProtocol, endpoint: Endpoint, headers: Headers, body: bytes) -> None:
        """Answer it, unless the caller has gone meanwhile."""
        reply = await endpoint.answer(headers, body)
        if protocol.flow.write_paused and not self.disconnected:
            await protocol.flow.drain()
        if protocol.transport.is_closing():  # as `disconnected` does not say where another call waits behind
            return
        date = protocol.server_state.default_headers[0][1]
        protocol.transport.write(self._told(reply, date))
        self.response_complete = True
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()

    def _told(self, reply: Reply, date: bytes) -> bytes:
        """The answer on the wire, as uvicorn would write it."""
        status, body = reply
        further = FURTHER_HEADERS.get(status, ())
        if CLOSE in further:
            self.keep_alive = False
        elif not self.keep_alive:
            further = (*further, CLOSE)
        lines = b"".join([b"%b: %b\r\n" % each for each in further]) if further else b""
        return ANSWER % (STATUS_LINE[status], date, len(body), lines, body)
