"""Three buyers as real HTTP servers, each with its own answer shape: nested JSON, form, XML.

They remember what they got, so that a demo, a test and a curious reader can ask them: `GET /seen`.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs
from xml.etree import ElementTree

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.server import HttpServer, open_socket
from lexchange.errors import ConfigError

Answer = Callable[[dict[str, str]], tuple[bytes, str]]


@dataclass(slots=True, kw_only=True)
class DemoBuyer:
    """One buyer: how it reads a request, how it answers, what it has seen."""

    name: str
    port: int
    read: Callable[[bytes], dict[str, str]]
    answer_ping: Answer
    answer_post: Answer
    connections: set[tuple[str, int]] = field(default_factory=set)
    pings: list[dict[str, str]] = field(default_factory=list)
    posts: list[dict[str, str]] = field(default_factory=list)

    def app(self) -> Starlette:
        """Its HTTP interface."""
        return Starlette(
            routes=[
                Route("/ping", self._take(self.pings, self.answer_ping), methods=["POST"]),
                Route("/post", self._take(self.posts, self.answer_post), methods=["POST"]),
                Route("/seen", self._seen, methods=["GET"]),
            ]
        )

    def _take(self, log: list[dict[str, str]], answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            if request.client:
                self.connections.add((request.client.host, request.client.port))
            fields = self.read(await request.body())
            log.append(fields)
            body, media_type = answer(fields)
            return Response(body, media_type=media_type)

        return endpoint

    async def _seen(self, request: Request) -> Response:
        """What arrived so far; the lead's fields by name only."""
        seen = {
            "buyer": self.name,
            "connections": len(self.connections),
            "pings": len(self.pings),
            "posts": len(self.posts),
            "last_post_fields": sorted(self.posts[-1]) if self.posts else [],
        }
        return Response(orjson.dumps(seen), media_type="application/json")


def demo_buyers(first_port: int = 18081) -> list[DemoBuyer]:
    """acme bids 7.00, bright 6.10, summit 5.25; each accepts every post."""
    return [
        DemoBuyer(name="acme", port=first_port, read=_read_json, answer_ping=_acme_ping, answer_post=_acme_post),
        DemoBuyer(
            name="bright",
            port=first_port + 1 if first_port else 0,
            read=_read_form,
            answer_ping=lambda fields: (f"accepted=1&bid=6.10&token={_token()}".encode(), "text/plain"),
            answer_post=lambda fields: (b"OK thank you", "text/plain"),
        ),
        DemoBuyer(
            name="summit",
            port=first_port + 2 if first_port else 0,
            read=_read_xml,
            answer_ping=lambda fields: (
                b"<response><decision>accept</decision>"
                b'<price currency="USD">5.25</price><promise id="' + _token().encode() + b'"/></response>',
                "application/xml",
            ),
            answer_post=lambda fields: (b"<response><decision>accept</decision></response>", "application/xml"),
        ),
    ]


@asynccontextmanager
async def buyers_running(buyers: list[DemoBuyer], host: str = "127.0.0.1") -> AsyncIterator[None]:
    """Serve all buyers until the block ends; a port of 0 is replaced by the one picked. Raises ConfigError."""
    servers = []
    try:
        for buyer in buyers:
            try:
                opened = open_socket(f"{host}:{buyer.port}")
            except OSError as error:
                where = f"the demo's buyer {buyer.name}: cannot listen on {host}:{buyer.port}"
                raise ConfigError(f"{where}: {error.strerror}. Is another demo running?") from error
            buyer.port = opened.getsockname()[1]
            server = HttpServer()
            await server.start(buyer.app(), opened)
            servers.append(server)
        yield
    finally:
        for server in servers:
            await server.stop(1)


def _token() -> str:
    return uuid.uuid4().hex[:16]


def _acme_ping(fields: dict[str, str]) -> tuple[bytes, str]:
    answer = {"status": "ok", "data": {"bids": [{"price": 7.0}], "token": _token()}}
    return orjson.dumps(answer), "application/json"


def _acme_post(fields: dict[str, str]) -> tuple[bytes, str]:
    return orjson.dumps({"result": "sold", "price": 7.0, "message": "thank you"}), "application/json"


def _read_json(body: bytes) -> dict[str, str]:
    return {str(name): str(value) for name, value in orjson.loads(body).items()}


def _read_form(body: bytes) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}


def _read_xml(body: bytes) -> dict[str, str]:
    return {each.tag: each.text or "" for each in ElementTree.fromstring(body).iter()}  # noqa: S314 - a demo's own lead
