"""Calls to buyers without an exchange around them: our client alone, and the ceiling of the machine under Python.

    python -m bench.outbound client|raw --seconds 3 http://127.0.0.1:18081 …

The ceiling is a bare asyncio.Protocol with httptools' parser: the same bytes out, the answer's body in, one future for
each call; no deadline, no limit, no pool, no check. Both send from the same number of tasks.
"""

import argparse
import asyncio
import json
import resource
import time
from urllib.parse import urlsplit

import httptools
import uvloop

from lexchange.buyers.addresses import AddressRule, Endpoint
from lexchange.buyers.client import BuyerClient, BuyerRequest
from lexchange.buyers.http_answer import BuyerAnswer, ClientLimits

IN_FLIGHT = 50
DEADLINE_S = 5.0
WARM_UP_S = 0.3
BODY = b'{"lead":{"zip":"90210","state":"CA"},"vendor":"bench","ref":"PING-01JDXF3V0ZK8W6QH"}'
HEADERS = (("Content-Type", "application/json"),)


class RawConnection(asyncio.Protocol):
    """One call at a time over one connection."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._answered: asyncio.Future[bytes] = self._loop.create_future()
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # uvloop's do not derive from Transport

    def call(self, request: bytes) -> asyncio.Future[bytes]:
        """Send; the future gets the body."""
        self._answered = self._loop.create_future()
        self.transport.write(request)
        return self._answered

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body = body

    def on_message_complete(self) -> None:
        self._answered.set_result(self._body)


async def call_raw(urls: list[str], seconds: float) -> dict[str, float]:
    """The ceiling."""
    loop = asyncio.get_running_loop()
    connections: list[tuple[RawConnection, bytes]] = []
    for index in range(IN_FLIGHT):
        at = urlsplit(urls[index % len(urls)])
        _, connection = await loop.create_connection(RawConnection, at.hostname or "", at.port or 80)
        head = (
            f"POST /ping HTTP/1.1\r\nHost: {at.netloc}\r\nUser-Agent: lexchange/0.1\r\nAccept-Encoding: identity\r\n"
            f"Connection: keep-alive\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
        )
        connections.append((connection, head.encode() + BODY))
    count = 0

    async def call_on(connection: RawConnection, request: bytes, until: float) -> None:
        nonlocal count
        while loop.time() < until:
            await connection.call(request)
            count += 1

    async def run_for(duration_s: float) -> int:
        nonlocal count
        count = 0
        until = loop.time() + duration_s
        async with asyncio.TaskGroup() as group:
            for connection, request in connections:
                group.create_task(call_on(connection, request, until))
        return count

    return await _timed(run_for, seconds)


async def call_client(urls: list[str], seconds: float) -> dict[str, float]:
    """Our client, as the exchange uses it."""
    loop = asyncio.get_running_loop()
    client = BuyerClient(limits=ClientLimits(), address_rule=AddressRule(allow_loopback_and_private=True))
    requests = [
        BuyerRequest(endpoint=Endpoint.parse(f"{url}/ping"), method="POST", headers=HEADERS, body=BODY) for url in urls
    ]
    count = 0

    async def call_on(request: BuyerRequest, until: float) -> None:
        nonlocal count
        while loop.time() < until:
            answer = await client.send(request, deadline=loop.time() + DEADLINE_S)
            if not isinstance(answer, BuyerAnswer) or not answer.body:
                raise SystemExit(f"no answer: {answer}")
            count += 1

    async def run_for(duration_s: float) -> int:
        nonlocal count
        count = 0
        until = loop.time() + duration_s
        async with asyncio.TaskGroup() as group:
            for index in range(IN_FLIGHT):
                group.create_task(call_on(requests[index % len(requests)], until))
        return count

    found = await _timed(run_for, seconds)
    await client.aclose()
    return found


async def _timed(run_for, seconds: float) -> dict[str, float]:
    await run_for(WARM_UP_S)
    started, cpu_before_s = time.perf_counter(), _cpu_seconds()
    count = await run_for(seconds)
    return {
        "calls": count,
        "elapsed_s": time.perf_counter() - started,
        "cpu_s": _cpu_seconds() - cpu_before_s,
        "resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Read the options and call."""
    parser = argparse.ArgumentParser(prog="bench.outbound", description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["client", "raw"])
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    call = call_client if options.what == "client" else call_raw
    print(json.dumps(uvloop.run(call(options.urls, options.seconds))))


if __name__ == "__main__":
    main()
