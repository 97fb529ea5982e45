"""The buyers of a simulation and the lines to them: HTTP over pretended connections, with a seeded fate for each.

Bytes that have left a node arrive, whatever becomes of the node.
"""

import asyncio
import socket
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from tests.simulation.history import Heard, History
from tests.simulation.plan import BUYERS, Plan

PING_FATES = {
    "bid": 62,
    "no_bid": 8,
    "late_bid": 8,
    "hang": 5,
    "reset": 5,
    "garbage": 4,
    "error": 4,
    "close": 4,
}
POST_FATES = {
    "accept": 52,
    "reject": 18,
    "accept_late": 5,
    "reject_late": 4,
    "accept_reset": 5,
    "reset": 4,
    "accept_hang": 3,
    "hang": 2,
    "accept_garbage": 4,
    "error": 3,
}
REFUSED, UNANSWERED = 0.03, 0.01  # of connections
TAKEN = frozenset({"accept", "accept_late", "accept_reset", "accept_hang", "accept_garbage"})
LATE_S = 2.5  # longer than any time-out of a buyer


class Line(asyncio.Transport):
    """One connection, as the buyer client sees it."""

    def __init__(self, buyers: "Buyers", buyer: str, sock: socket.socket, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._buyers = buyers
        self._buyer = buyer
        self._sock = sock
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self.is_cut = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The socket, as far as it is asked for: one that is always quiet."""
        return self._buyers.quiet if name == "socket" else default

    def get_write_buffer_size(self) -> int:
        """Everything leaves at once."""
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send; nothing of it can be called back."""
        self._loop.call_later(self._buyers.random.uniform(0.0005, 0.02), self._arrive, bytes(data))

    def abort(self) -> None:
        """Close our end."""
        if not self.is_cut:
            self.is_cut = True
            self._sock.close()
            self._loop.call_soon(self._protocol.connection_lost, None)

    def answer(self, data: bytes, *, then_close: bool = False) -> None:
        """What the buyer sends, in two pieces."""
        middle = len(data) // 2
        self._give(data[:middle])
        self._loop.call_later(0.001, self._give, data[middle:])
        if then_close:
            self._loop.call_later(0.002, self.reset)

    def reset(self) -> None:
        """The buyer breaks the line."""
        if not self.is_cut:
            self.is_cut = True
            self._sock.close()
            self._protocol.connection_lost(ConnectionResetError())

    def _give(self, data: bytes) -> None:
        if not self.is_cut:
            self._protocol.data_received(data)

    def _arrive(self, data: bytes) -> None:
        self._received += data
        head, mark, body = self._received.partition(b"\r\n\r\n")
        if not mark:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._received = b""
            self._buyers.receive(self._buyer, self, head.split(b" ")[1].decode(), orjson.loads(body))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a buyer has made of a delivery, for when it comes again."""

    fate: str


class Buyers:
    """All buyers, behind the ports 1, 2 and 3. A Network."""

    def __init__(self, plan: Plan, history: History) -> None:
        self._plan = plan
        self._history = history
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._reached: dict[socket.socket, str] = {}
        self._connects = dict.fromkeys(BUYERS, 0)
        self._decided: dict[tuple[str, str], Decision] = {}
        self._times: dict[tuple[str, str, str], int] = {}
        self.down_until = dict.fromkeys(BUYERS, 0.0)
        self.is_healed = False
        self.random = Random(f"lines:{plan.seed}")
        self.quiet, self._other_end = socket.socketpair()

    def close(self) -> None:
        """Give the sockets back, those of killed nodes too."""
        for sock in self._sockets:
            sock.close()
        self.quiet.close()
        self._other_end.close()

    async def connect(self, sock: socket.socket, address: tuple[str, int]) -> None:
        """Connect, be refused, or wait for ever."""
        buyer = BUYERS[address[1] - 1]
        self._sockets.append(sock)
        self._connects[buyer] += 1
        chance = Random(f"connect:{self._plan.seed}:{buyer}:{self._connects[buyer]}").random()
        await asyncio.sleep(0.002)
        if self._loop.time() < self.down_until[buyer] or chance < REFUSED:
            raise ConnectionRefusedError(111, "refused")
        if chance < REFUSED + UNANSWERED:
            await asyncio.sleep(1_000)
        self._reached[sock] = buyer

    def attach(self, sock: socket.socket, protocol: asyncio.Protocol) -> Line:
        """The line of a connected socket."""
        return Line(self, self._reached.pop(sock), sock, protocol)

    def receive(self, buyer: str, line: Line, path: str, body: dict[str, Any]) -> None:
        """A request has arrived whole: decide, note it, answer."""
        endpoint, email = path.removeprefix("/"), str(body["email"])
        key = (buyer, endpoint, email)
        times = self._times[key] = self._times.get(key, 0) + 1
        random = Random(f"fate:{self._plan.seed}:{buyer}:{endpoint}:{email}:{times}")
        fates = PING_FATES if endpoint == "ping" else POST_FATES
        fate = random.choices(list(fates), list(fates.values()))[0]
        delivery_id = str(body.get("delivery", ""))
        known = self._decided.get((buyer, delivery_id))
        is_repeat = known is not None and bool(delivery_id)
        if known is not None and buyer in self._plan.rules.idempotent:
            fate = "accept" if known.fate in TAKEN else "reject" if known.fate.startswith("reject") else fate
        if endpoint == "post" and (known is None or known.fate not in TAKEN):
            self._decided[(buyer, delivery_id)] = Decision(fate=fate)
        bid_micros = Random(f"bid:{self._plan.seed}:{buyer}:{email}").randrange(200, 900) * 10_000
        self._history.hear(
            Heard(
                at_s=self._loop.time(),
                buyer=buyer,
                endpoint=endpoint,
                email=email,
                delivery_id=delivery_id,
                fate=fate,
                has_taken=endpoint == "post" and fate in TAKEN,
                has_refused=endpoint == "post" and fate == "reject",
                bid_micros=bid_micros,
                is_repeat=is_repeat,
            )
        )
        self._loop.call_later(random.uniform(0.005, 0.3), self._act, line, fate, bid_micros, buyer)

    def _act(self, line: Line, fate: str, bid_micros: int, buyer: str) -> None:
        if fate in ("hang", "accept_hang"):
            return
        if fate in ("reset", "accept_reset"):
            line.reset()
        elif fate.endswith("late") or fate == "late_bid":
            self._loop.call_later(LATE_S, line.answer, _http(200, _said(fate, bid_micros, buyer)))
        elif fate in ("garbage", "accept_garbage"):
            line.answer(_http(200, b"<html>thank you</html>"))
        elif fate == "error":
            line.answer(_http(500, b"{}"))
        else:
            line.answer(_http(200, _said(fate, bid_micros, buyer)), then_close=fate == "close")


def _said(fate: str, bid_micros: int, buyer: str) -> bytes:
    if fate.startswith("accept"):
        return b'{"result":"sold"}'
    if fate.startswith("reject"):
        return b'{"result":"rejected"}'
    if fate == "no_bid":
        return b'{"status":"no"}'
    return b'{"status":"ok","bid":%d.%02d,"token":"%b"}' % (
        *divmod(bid_micros // 10_000, 100),
        f"promise of {buyer}".encode(),
    )


def _http(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )
