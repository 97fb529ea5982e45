"""Tokens: fetches OAuth 2 access tokens and keeps them until shortly before they end.

One request for a token is under way at a time, and everybody who needs it waits for that one. A token that is about to
end is replaced while it still serves, so that no lead waits for the next.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote_plus, urlencode

import orjson

from lexchange.access import OAuth2Client, SecretIn
from lexchange.buyers.addresses import Endpoint
from lexchange.buyers.connection import CLOSED
from lexchange.buyers.http_answer import BuyerAnswer, BuyerFailure, FailureKind, not_sent

FETCH_TIMEOUT_S = 5.0
LIFE_WHEN_NOT_TOLD_S = 300
EARLY_SHARE = 0.2  # of its life before its end, a token is replaced
FAILURE_KEPT_S = 5.0  # a token server that refused is left alone for so long
MAX_TOKEN_CHARACTERS = 7_168  # with its scheme it fits a header

Fetch: TypeAlias = Callable[
    [Endpoint, tuple[tuple[str, str], ...], bytes, float], Awaitable[BuyerAnswer | BuyerFailure]
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    """Times are on the loop's clock."""

    header: tuple[str, str]
    replace_at: float
    ends_at: float


class Tokens:
    """The access tokens of one process. `fetch` posts to an endpoint: headers, body, deadline."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._tokens: dict[OAuth2Client, _Token] = {}
        self._failures: dict[OAuth2Client, tuple[float, BuyerFailure]] = {}  # until when it counts
        self._fetches: dict[OAuth2Client, asyncio.Task[_Token | BuyerFailure]] = {}

    async def header(self, client: OAuth2Client, deadline: float) -> tuple[str, str] | BuyerFailure:
        """The Authorization header of a call to this client's buyer."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        token = self._tokens.get(client)
        if token is not None and now < token.replace_at:
            return token.header
        failed_until, failure = self._failures.get(client, (now, None))
        is_quiet = failure is not None and now < failed_until
        if token is not None and now < token.ends_at:
            if not is_quiet:
                self._start(client)
            return token.header
        if failure is not None and is_quiet:
            return failure
        fetch = self._start(client)
        await asyncio.wait([fetch], timeout=max(0.0, deadline - now))  # a call that gives up leaves it to the next
        if not fetch.done():
            return not_sent(FailureKind.TIMEOUT, "no access token in time")
        if fetch.cancelled():
            return not_sent(FailureKind.CLIENT_CLOSED, CLOSED)
        fetched = fetch.result()
        return fetched if isinstance(fetched, BuyerFailure) else fetched.header

    def forget(self, client: OAuth2Client, header: tuple[str, str]) -> None:
        """The buyer did not take this token: the next call gets another."""
        token = self._tokens.get(client)
        if token is not None and token.header == header:
            del self._tokens[client]

    async def aclose(self) -> None:
        """Drop the requests under way."""
        fetches = list(self._fetches.values())
        for fetch in fetches:
            fetch.cancel()
        if fetches:
            await asyncio.wait(fetches)

    def _start(self, client: OAuth2Client) -> asyncio.Task[_Token | BuyerFailure]:
        task = self._fetches.get(client)
        if task is None:
            task = self._fetches[client] = asyncio.get_running_loop().create_task(self._fetch_token(client))
            task.add_done_callback(lambda _: self._fetches.pop(client, None))
        return task

    async def _fetch_token(self, client: OAuth2Client) -> _Token | BuyerFailure:
        asked_at = asyncio.get_running_loop().time()
        endpoint = Endpoint.parse(client.token_url, tls=client.tls)
        headers, body = _token_request(client)
        answer = await self._fetch(endpoint, headers, body, asked_at + FETCH_TIMEOUT_S)
        token = _read(answer, asked_at)
        if isinstance(token, BuyerFailure):
            self._failures[client] = asyncio.get_running_loop().time() + FAILURE_KEPT_S, token
        else:
            self._tokens[client] = token
            self._failures.pop(client, None)
        return token


def _token_request(client: OAuth2Client) -> tuple[tuple[tuple[str, str], ...], bytes]:
    form = {"grant_type": "client_credentials", "scope": client.scope, "audience": client.audience}
    headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")]
    if client.secret_in is SecretIn.BODY:
        form |= {"client_id": client.client_id, "client_secret": client.client_secret}
    else:
        pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"  # encoded first: RFC 6749, 2.3.1
        headers.append(basic_header(pair))
    return tuple(headers), urlencode({name: value for name, value in form.items() if value}).encode()


def basic_header(pair: str) -> tuple[str, str]:
    """The Authorization header of `user:password`."""
    return "Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"


def _read(answer: BuyerAnswer | BuyerFailure, asked_at: float) -> _Token | BuyerFailure:
    """A failure names what was expected and quotes nothing: the answer may hold a token."""
    if isinstance(answer, BuyerFailure):
        return not_sent(FailureKind.NO_ACCESS, f"the token server gave none: {answer.kind}, {answer.detail}")
    if answer.status != 200:
        return not_sent(FailureKind.NO_ACCESS, f"the token server answered HTTP {answer.status}")
    try:
        given = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        given = None
    token = given.get("access_token") if isinstance(given, dict) else None
    if not isinstance(token, str) or not (0 < len(token) <= MAX_TOKEN_CHARACTERS and _is_sendable(token)):
        return not_sent(FailureKind.NO_ACCESS, "the token server answered no access_token")
    if str(given.get("token_type", "bearer")).lower() != "bearer":
        return not_sent(FailureKind.NO_ACCESS, "the token server answered a token_type that is not bearer")
    life_s = _life_s(given.get("expires_in"))
    header = "Authorization", f"Bearer {token}"
    return _Token(header=header, replace_at=asked_at + life_s * (1 - EARLY_SHARE), ends_at=asked_at + life_s)


def _is_sendable(token: str) -> bool:
    return token.isascii() and token.isprintable() and " " not in token


def _life_s(expires_in: object) -> int:
    """Some servers write the number as text, some leave it out."""
    if isinstance(expires_in, str) and expires_in.isdecimal() and len(expires_in) < 12:
        return int(expires_in)
    if isinstance(expires_in, int | float) and not isinstance(expires_in, bool):
        return max(int(expires_in), 0)
    return LIFE_WHEN_NOT_TOLD_S
