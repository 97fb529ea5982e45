"""OAuth 2 towards buyers: a real token server and a real API on loopback, and what reaches each."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from urllib.parse import parse_qs

import orjson
import pytest

from lexchange.access import OAuth2Client, SecretIn
from lexchange.buyers import tokens
from lexchange.buyers.client import BuyerAnswer, BuyerClient, BuyerFailure, BuyerRequest, Endpoint, FailureKind
from tests.buyers.calls import OK, OK_ANSWER, buyer_client
from tests.buyers.raw_buyer import Line, RawBuyer, hang, raw_buyer

UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"


def token_answer(body: object, status: str = "200 OK") -> bytes:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


@dataclass
class World:
    """A token server that numbers its tokens, and an API; both note what they hear."""

    client: BuyerClient
    server: RawBuyer
    api: RawBuyer
    secret_in: SecretIn = SecretIn.HEADER

    def oauth2(self, **changes: str) -> OAuth2Client:
        url = f"http://127.0.0.1:{self.server.port}/token"
        oauth2 = OAuth2Client(token_url=url, client_id="calarax", client_secret="s3cret", secret_in=self.secret_in)
        return replace(oauth2, **changes)  # type: ignore[arg-type]  # of texts alone

    async def call(self, oauth2: OAuth2Client | None = None, within_s: float = 2.0) -> BuyerAnswer | BuyerFailure:
        request = BuyerRequest(
            endpoint=Endpoint.parse(self.api.url),
            method="POST",
            headers=(("X-Partner", "calarax"),),
            body=b"{}",
            oauth2=oauth2 or self.oauth2(),
        )
        return await self.client.send(request, deadline=asyncio.get_running_loop().time() + within_s)

    @property
    def tokens_heard(self) -> list[str]:
        """What stood in the Authorization header of each call."""
        heads = (request.partition(b"\r\n\r\n")[0].decode() for request in self.api.requests)
        return [line.partition(": ")[2] for head in heads for line in head.split("\r\n") if line.startswith("Auth")]


Answer = Callable[[int], bytes]


@asynccontextmanager
async def world(answer: Answer | None = None, api: Callable[[bytes], bytes] = lambda _: OK) -> AsyncIterator[World]:
    """`answer` makes what the token server says to its n-th request; b"" hangs."""
    count = 0

    async def serve_tokens(line: Line) -> None:
        nonlocal count
        while await line.read():
            count += 1
            said = answer(count) if answer else token_answer({"access_token": f"T{count}", "expires_in": 3600})
            if not said:
                await hang()
            await line.send(said)

    async def serve_api(line: Line) -> None:
        while request := await line.read():
            await line.send(api(request))

    async with raw_buyer(serve_tokens) as server, raw_buyer(serve_api) as buyer, buyer_client() as client:
        yield World(client, server, buyer)


async def test_token_is_fetched_once_and_goes_with_every_call():
    """The first call fetches it, however many come at once; other clients of the server have their own."""
    async with world() as here:
        outcomes = await asyncio.gather(*(here.call() for _ in range(20)))
        assert outcomes == [OK_ANSWER] * 20
        assert await here.call(here.oauth2(scope="leads")) == OK_ANSWER
        assert here.tokens_heard == ["Bearer T1"] * 20 + ["Bearer T2"]
        assert all(b"X-Partner: calarax\r\n" in request for request in here.api.requests)


@pytest.mark.parametrize("secret_in", SecretIn)
async def test_token_request_is_what_the_standard_says(secret_in):
    """RFC 6749, 4.4.2: a form, and the client in Basic or in the body."""
    async with world() as here:
        here.secret_in = secret_in
        await here.call(here.oauth2(client_id="cala rax", client_secret="s:3/é", scope="a b", audience="https://x/"))
        head, _, body = here.server.requests[0].decode().partition("\r\n\r\n")
    assert head.startswith("POST /token HTTP/1.1\r\n")
    assert "Content-Type: application/x-www-form-urlencoded\r\n" in f"{head}\r\n"
    form = {"grant_type": ["client_credentials"], "scope": ["a b"], "audience": ["https://x/"]}
    if secret_in is SecretIn.BODY:
        assert parse_qs(body) == form | {"client_id": ["cala rax"], "client_secret": ["s:3/é"]}
        assert "Authorization" not in head
    else:
        assert parse_qs(body) == form
        pair = base64.b64encode(b"cala+rax:s%3A3%2F%C3%A9").decode()
        assert f"Authorization: Basic {pair}\r\n" in f"{head}\r\n"


REFUSED = [
    (token_answer({"error": "invalid_client"}, "401 Unauthorized"), "the token server answered HTTP 401"),
    (token_answer(b"<html>"), "the token server answered no access_token"),
    (token_answer([]), "the token server answered no access_token"),
    (token_answer({}), "the token server answered no access_token"),
    (token_answer({"access_token": ""}), "the token server answered no access_token"),
    (token_answer({"access_token": 7}), "the token server answered no access_token"),
    (token_answer({"access_token": "a\r\nX-Evil: 1"}), "the token server answered no access_token"),
    (token_answer({"access_token": "a b"}), "the token server answered no access_token"),
    (token_answer({"access_token": "x" * 7_169}), "the token server answered no access_token"),
    (
        token_answer({"access_token": "T", "token_type": "mac"}),
        "the token server answered a token_type that is not bearer",
    ),
    (b"garbage\r\n\r\n", "the token server gave none: malformed, "),
]


@pytest.mark.parametrize(("said", "detail"), REFUSED)
async def test_nothing_is_sent_when_there_is_no_token(said, detail):
    """The failure names what was expected and repeats nothing; the server is then left alone for a while."""
    async with world(lambda _: said) as here:
        for _ in range(3):
            outcome = await here.call()
            assert isinstance(outcome, BuyerFailure)
            assert (outcome.kind, outcome.is_sent) == (FailureKind.NO_ACCESS, False)
            assert outcome.detail.startswith(detail)
            assert "Evil" not in outcome.detail
        assert (len(here.server.requests), here.api.connection_count) == (1, 0)


async def test_fetch_counts_against_the_call_but_goes_on():
    """Who has no time left fails unsent; the token is there for the next."""
    released = asyncio.Event()

    async def slow(line: Line) -> None:
        while await line.read():
            await released.wait()
            await line.send(token_answer({"access_token": "T1"}))

    async with world() as here, raw_buyer(slow) as server:
        oauth2 = here.oauth2(token_url=server.url)
        outcome = await here.call(oauth2, within_s=0.05)
        assert isinstance(outcome, BuyerFailure)
        assert (outcome.kind, outcome.detail) == (FailureKind.TIMEOUT, "no access token in time")
        released.set()
        assert await here.call(oauth2) == OK_ANSWER
        assert len(server.requests) == 1


async def test_token_is_replaced_while_it_serves(monkeypatch):
    """After four fifths of its life a new one is fetched; the call that notices does not wait for it."""
    monkeypatch.setattr(tokens, "EARLY_SHARE", 0.9999)  # of an hour: at once
    async with world() as here:
        for _ in range(3):
            await here.call()
            await asyncio.sleep(0.4)
        assert here.tokens_heard == ["Bearer T1", "Bearer T1", "Bearer T2"]
        assert len(here.server.requests) == 3


async def test_token_serves_to_its_end_when_no_other_can_be_had(monkeypatch):
    """A token server that is down hurts nobody whose token is still good; it is asked again, but not by every call."""
    monkeypatch.setattr(tokens, "EARLY_SHARE", 0.9999)
    said = [token_answer({"access_token": "T1", "expires_in": "3600"}), token_answer({}, "503 Down")]
    async with world(lambda count: said[min(count, 2) - 1]) as here:
        await here.call()
        await asyncio.sleep(0.4)
        for _ in range(5):
            assert await here.call() == OK_ANSWER
            await asyncio.sleep(0.02)
        assert set(here.tokens_heard) == {"Bearer T1"}
        assert len(here.server.requests) == 2


async def test_token_that_has_ended_is_not_sent():
    """`expires_in: 0` is one that serves the calls that waited for it, and no other."""
    async with world(lambda count: token_answer({"access_token": f"T{count}", "expires_in": 0})) as here:
        await here.call()
        await here.call()
        assert here.tokens_heard == ["Bearer T1", "Bearer T2"]


async def test_token_that_the_buyer_does_not_take_is_not_used_again():
    """A call that heard 401 is not repeated; the next one has a new token."""

    def api(request: bytes) -> bytes:
        return UNAUTHORIZED if b"Bearer T1\r\n" in request else OK

    async with world(api=api) as here:
        refused = await here.call()
        assert isinstance(refused, BuyerAnswer)
        assert refused.status == 401
        assert await here.call() == OK_ANSWER
        assert here.tokens_heard == ["Bearer T1", "Bearer T2"]


async def test_client_closes_while_a_token_is_awaited():
    """Nothing is left behind."""
    async with world(lambda _: b"") as here:
        call = asyncio.create_task(here.call())
        async with asyncio.timeout(2):
            while not here.server.requests:  # noqa: ASYNC110 - what is waited for happens in the server's script
                await asyncio.sleep(0.001)
        await here.client.aclose()
        outcome = await call
        assert isinstance(outcome, BuyerFailure)
        assert (outcome.kind, outcome.is_sent) == (FailureKind.CLIENT_CLOSED, False)
