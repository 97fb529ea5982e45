"""Body: a request's body, whole, within its size and its time."""

import asyncio

from starlette.types import Receive, Scope

from gateway.errors import Refused

BODY_BYTES = 65_536
BODY_S = 10  # a client that sends slower is not waited for
DISCARDED_BYTES = 16 * BODY_BYTES  # read over the limit so that an honest client hears why


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The body; raises Refused when it is too large, comes too slowly or breaks off."""
    if _announced_bytes(scope) > DISCARDED_BYTES:
        raise _too_large()
    try:
        async with asyncio.timeout(BODY_S):
            return await _read(receive)
    except TimeoutError:
        raise _incomplete() from None


async def _read(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body = await _read_rest(receive, body)
    elif message["type"] == "http.disconnect":
        raise _incomplete()
    if len(body) > BODY_BYTES:
        raise _too_large()
    return body


async def _read_rest(receive: Receive, first: bytes) -> bytes:
    """What follows the first part; beyond the limit it is read and dropped."""
    parts, size = [first], len(first)
    while size <= DISCARDED_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _incomplete()
        size += len(message.get("body", b""))
        if size <= BODY_BYTES:
            parts.append(message["body"])
        if not message.get("more_body"):
            break
    if size > BODY_BYTES:
        raise _too_large()
    return b"".join(parts)


def _announced_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value)  # the HTTP parser has checked that it is a number
    return 0


def _too_large() -> Refused:
    return Refused("payload_too_large", f"the body is too large: expected at most {BODY_BYTES} bytes")


def _incomplete() -> Refused:
    return Refused("invalid_payload_shape", f"the body did not arrive: expected all of it within {BODY_S} s")
