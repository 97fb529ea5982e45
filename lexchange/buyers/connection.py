"""Keep-alive connections to buyers: each carries one call at a time, and a pool lends out those to one origin.

They know neither addresses nor how a connection is opened, which is `client.py`, nor HTTP, which is `http_answer.py`.
"""

import asyncio
import select
import ssl
from collections import deque
from collections.abc import Callable
from math import inf
from typing import cast

from lexchange.buyers.http_answer import (
    AnswerReader,
    BuyerFailure,
    ClientLimits,
    FailureKind,
    Outcome,
    not_sent,
    sent,
)

# A connection that has been reused before, and was used so recently, is not asked whether it is quiet: under load this
# saves a system call for each request. Before its first reuse every one is asked, since some buyers close unannounced.
TRUSTED_S = 0.010
ASKING_TRUSTED_S = 0.5  # by who only asks for a bid: what a lost lead costs, a lost bid does not
CLOCK_TICK_S = 0.001  # of uvloop's timers

CLOSED = "the client is closed"

Hear = Callable[[Outcome], None]  # told once what came of a call; raises nothing

# What a waiting call gets: a connection, a place to open one in (None), or why it waits no longer.
Turn = asyncio.Future["Connection | BuyerFailure | None"]


class Connection(asyncio.Protocol):
    """A connection that carries one call at a time.

    One timer serves deadlines and idle expiry: it is armed for the earlier of them and, when it rings early because
    calls have come and gone, armed again. A call therefore costs no timer of its own.
    """

    __slots__ = (
        "_give_back",
        "_hear",
        "_is_proven",
        "_loop",
        "_on_closed",
        "_poller",
        "_reader",
        "_rings_at",
        "_timer",
        "_transport",
        "_until",
        "is_closed",
        "lost",
        "used_at",
    )
    _transport: asyncio.Transport

    def __init__(self, reader: AnswerReader, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._reader = reader
        self._hear: Hear | None = None  # of the call under way
        self._give_back: Callable[[Connection], None] | None = None
        self._on_closed: Callable[[Connection], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._until = self._rings_at = inf
        self._poller: select.poll | None = None  # made when the connection is first used again
        self._is_proven = False
        self.used_at = -inf  # the last time, once it has been used again
        self.is_closed = False
        self.lost: asyncio.Future[None] = loop.create_future()  # done once the socket is given back

    def adopt(self, give_back: Callable[["Connection"], None], on_closed: Callable[["Connection"], None]) -> None:
        """Tell whom to give the connection back to after an answer, and whom to tell, once, that it is closed."""
        self._give_back = give_back
        self._on_closed = on_closed

    def is_quiet(self) -> bool:
        """Whether the buyer still keeps an idle line open; the kernel hears of an end before the loop does."""
        if self._poller is None:
            self._poller = select.poll()
            self._poller.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not self._poller.poll(0)

    def start(self, request: bytes, hear: Hear, deadline: float, is_head: bool, is_last: bool) -> None:
        """Send `request` in one write; `hear` is told the outcome in a later turn, at the deadline at the latest.

        `is_last`: the request asks the buyer to close, so the connection carries no other.
        """
        self._hear = hear
        self._reader.start(is_head, is_last)
        self._until = deadline
        if deadline < self._rings_at:
            self._arm(deadline)
        self._transport.write(request)

    def abandon(self, hear: Hear) -> None:
        """Close, if the call with that `hear` is still under way: nobody wants its answer any more."""
        if self._hear is hear:
            self._hear = None
            self.close()

    def fail(self, failure: BuyerFailure) -> None:
        """Close; the call under way, if any, gets `failure`."""
        hear, self._hear = self._hear, None
        self.close()
        if hear is not None:
            hear(failure)

    def close(self) -> None:
        """Close at once, without TLS's farewell, for which a buyer could keep us waiting."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._transport.abort()
        if self._on_closed is not None:
            self._on_closed(self)

    # ------------------------------------------------------------------------------------------------- the loop's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not derive from it

    def data_received(self, data: bytes) -> None:
        if self._hear is None:
            self.close()  # nothing was asked
            return
        outcome = self._reader.feed(data)
        if outcome is not None:
            self._finish(outcome)

    def eof_received(self) -> None:
        if self._hear is None:
            self.close()
        elif self._is_cut():
            self.fail(sent(FailureKind.RESET, "the connection was cut within TLS"))
        else:
            self._finish(self._reader.end())

    def connection_lost(self, error: Exception | None) -> None:
        kind = FailureKind.TLS if isinstance(error, ssl.SSLError) else FailureKind.RESET
        self.fail(sent(kind, "the connection was lost before the answer was complete"))
        self.lost.set_result(None)

    # ----------------------------------------------------------------------------------------------------------- inside

    def _is_cut(self) -> bool:
        """Whether TLS ended without its farewell: then not only the buyer can have ended the answer."""
        tls = self._transport.get_extra_info("ssl_object")
        if tls is None:
            return False
        try:
            tls.read(1)
        except ssl.SSLZeroReturnError:
            return False
        except ssl.SSLError:
            return True
        return False

    def _finish(self, outcome: Outcome) -> None:
        hear, self._hear = self._hear, None
        reader = self._reader
        if reader.is_reusable and self._give_back is not None and not self._transport.get_write_buffer_size():
            now = self._loop.time()
            if self._is_proven:
                self.used_at = now
            self._is_proven = True
            self._until = until = now + reader.keepalive_s
            if until < self._rings_at:
                self._arm(until)
            self._give_back(self)
        else:
            self.close()
        if hear is not None:
            hear(outcome)

    def _arm(self, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = until
        self._timer = self._loop.call_at(until, self._ring)

    def _ring(self) -> None:
        if self._loop.time() < self._until - CLOCK_TICK_S:
            self._arm(self._until)
        else:
            self.fail(sent(FailureKind.TIMEOUT, "no complete answer by the deadline"))


class Pool:
    """The connections to one origin: at most `connection_limit`, and calls that wait in line for one.

    A place is counted from before a connection is opened until it is closed. While anybody waits, none is idle.
    """

    def __init__(self, limits: ClientLimits, connection_limit: int | None = None) -> None:
        self.connections: set[Connection] = set()
        self._limits = limits
        self._connection_limit = connection_limit or limits.max_connections_per_endpoint
        self._idle: list[Connection] = []
        self._place_count = 0
        self._is_closed = False
        self._line: deque[Turn] = deque()

    def take_idle(self, now: float, trusted_s: float = TRUSTED_S) -> Connection | None:
        """The connection used last, so that the others may expire."""
        while self._idle:
            connection = self._idle.pop()
            if now < connection.used_at + trusted_s or connection.is_quiet():
                return connection
            connection.close()
        return None

    async def take(self, deadline: float) -> Connection | BuyerFailure | None:
        """A connection, or None: a place to open one in, which the caller gives back with `free_place`."""
        loop = asyncio.get_running_loop()
        while True:
            if connection := self.take_idle(loop.time()):
                return connection
            if self._place_count < self._connection_limit:
                self._place_count += 1
                return None
            turn = await self._wait(deadline)
            if not isinstance(turn, Connection) or not turn.is_closed:
                return turn

    async def _wait(self, deadline: float) -> Connection | BuyerFailure | None:
        if len(self._line) >= self._limits.max_waiting_per_endpoint:
            return not_sent(FailureKind.POOL_FULL, "too many calls wait for a connection")
        loop = asyncio.get_running_loop()
        turn: Turn = loop.create_future()
        self._line.append(turn)
        timer = loop.call_at(deadline, self._leave, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._drop(turn)
            elif isinstance(given := turn.result(), Connection):
                if not given.is_closed:
                    self.give_back(given)
            elif given is None:
                self.free_place()
            raise
        finally:
            timer.cancel()

    def _leave(self, turn: Turn) -> None:
        if not turn.done():
            self._drop(turn)
            turn.set_result(not_sent(FailureKind.TIMEOUT, "no connection became free before the deadline"))

    def _drop(self, turn: Turn) -> None:
        if turn in self._line:
            self._line.remove(turn)

    def add(self, connection: Connection) -> None:
        """Take in a connection opened in a place taken before; it may have ended already."""
        self.connections.add(connection)
        connection.adopt(self.give_back, self._forget)
        if connection.is_closed:
            self._forget(connection)
        elif self._is_closed:
            connection.close()

    def give_back(self, connection: Connection) -> None:
        """Lend a connection that carries no call to who waits longest, or keep it."""
        if not self._line:
            self._idle.append(connection)
        elif not connection.is_quiet():
            connection.close()  # its place goes to who waits longest
        elif turn := self._next_in_line():
            turn.set_result(connection)
        else:
            self._idle.append(connection)

    def free_place(self) -> None:
        """Give a place back: to who waits longest, or to nobody."""
        if turn := self._next_in_line():
            turn.set_result(None)
        else:
            self._place_count -= 1

    def close(self) -> None:
        """Close everything; calls under way and calls in line end as failures."""
        self._is_closed = True
        while turn := self._next_in_line():
            turn.set_result(not_sent(FailureKind.CLIENT_CLOSED, CLOSED))
        for connection in list(self.connections):
            connection.fail(sent(FailureKind.CLIENT_CLOSED, CLOSED))

    def _forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self.free_place()

    def _next_in_line(self) -> Turn | None:
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                return turn
        return None
