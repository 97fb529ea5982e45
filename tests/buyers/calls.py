"""Shorthand for tests of the buyer client: a client on loopback, one call, and what became of it."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from lexchange.buyers.client import (
    AddressRule,
    BuyerAnswer,
    BuyerClient,
    BuyerFailure,
    BuyerRequest,
    ClientLimits,
    Endpoint,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OK_ANSWER = BuyerAnswer(status=200, content_type="", body=b"ok")
DEV = AddressRule(allow_loopback_and_private=True)


@asynccontextmanager
async def buyer_client(rule=DEV, *, tls=None, resolve=None, **limits: Any) -> AsyncIterator[BuyerClient]:
    """A client with default limits but for `limits`; nothing of it is left afterwards."""
    client = BuyerClient(limits=ClientLimits(**limits), address_rule=rule, default_tls=tls, resolve=resolve)
    try:
        yield client
    finally:
        await client.aclose()


def request(url: str, *, method="POST", headers=(), body=b'{"zip":"90210"}', query="", tls=None) -> BuyerRequest:
    """A small post to `url`."""
    endpoint = Endpoint.parse(url, tls=tls)
    return BuyerRequest(endpoint=endpoint, method=method, headers=headers, body=body, query=query)


async def send(client: BuyerClient, url: str, *, within_s=2.0, **parts) -> Any:
    """The outcome of a call that has `within_s` seconds; which kind it is, each test states."""
    deadline = asyncio.get_running_loop().time() + within_s
    return await client.send(request(url, **parts), deadline=deadline)


def result(outcome: BuyerAnswer | BuyerFailure) -> tuple[str, bool] | bytes:
    """What a table states: a failure's kind and whether the request may have left, or the body of an answer."""
    return outcome.body if isinstance(outcome, BuyerAnswer) else (outcome.kind.value, outcome.is_sent)


def open_files() -> int:
    """How many file descriptors this process holds."""
    return len(os.listdir("/dev/fd"))


async def until(condition: Callable[[], object]) -> None:
    """Wait for what happens in a buyer's script."""
    async with asyncio.timeout(2):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the buyer's script
            await asyncio.sleep(0.001)


async def cancelled(call: asyncio.Task[object]) -> None:
    """Cancel a call and wait for its end."""
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()


@asynccontextmanager
async def full_backlog() -> AsyncIterator[int]:
    """A port that answers no SYN any more, because its queue of unaccepted connections is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(listening.getsockname())
            waiting.append(sock)
        await asyncio.sleep(0.01)
        try:
            yield listening.getsockname()[1]
        finally:
            for sock in waiting:
                sock.close()
