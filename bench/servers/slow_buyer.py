"""A buyer that takes its time: it bids after three seconds, so that many pings can be held in flight at once."""

import asyncio
import signal

import uvloop

DELAY_S = 3.0
PORTS = 5
_BODY = b'{"status":"ok","data":{"bid":5.00,"token":"T-1"}}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)


class SlowBuyer(asyncio.Protocol):
    """Answers whatever comes; a request of ours arrives in one piece."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # uvloop's do not derive from Transport

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(DELAY_S, self._answer)

    def _answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(_ANSWER)


async def serve() -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    servers = [await loop.create_server(SlowBuyer, "127.0.0.1", 0, backlog=4096) for _ in range(PORTS)]
    addresses = [f"127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
    print("ready " + " ".join(f"buyer_{index}={each}" for index, each in enumerate(addresses)), flush=True)
    await stop.wait()


if __name__ == "__main__":
    uvloop.run(serve())
