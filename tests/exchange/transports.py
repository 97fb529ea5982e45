"""Four roads to the same exchange: gRPC by either engine, REST in its process, REST over a channel.

Each answers as (HTTP status, answer): the answer in REST's words, money as micros, whatever the road.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, cast

import aiohttp
import grpc
import orjson
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from gateway.app import create_app
from gateway.channel import ChannelStub
from gateway.server import HttpServer, address_of, open_socket
from leadexchange.v1 import lead_exchange_pb2 as pb
from leadexchange.v1 import lead_exchange_pb2_grpc as pb_grpc
from lexchange.config import Limits, Settings
from lexchange.engines import AioEngine
from lexchange.server import Server
from lexchange.servicer import LeadExchangeServicer

Answer = dict[str, Any]

# The HTTP status that the contract gives each refusal, for the road that has none.
STATUS_OF_REASON = {
    "invalid_payload_shape": 422,
    "payload_too_large": 413,
    "missing_credentials": 401,
    "invalid_key": 401,
    "credential_disabled": 403,
    "rate_limited": 429,
    "overloaded": 503,
    "idempotency_key_reused": 422,
    "request_in_flight": 409,
    "server_error": 500,
}
CODE_OF_REASON = {
    "invalid_payload_shape": grpc.StatusCode.INVALID_ARGUMENT,
    "payload_too_large": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "missing_credentials": grpc.StatusCode.UNAUTHENTICATED,
    "invalid_key": grpc.StatusCode.UNAUTHENTICATED,
    "credential_disabled": grpc.StatusCode.PERMISSION_DENIED,
    "rate_limited": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "overloaded": grpc.StatusCode.UNAVAILABLE,
    "idempotency_key_reused": grpc.StatusCode.INVALID_ARGUMENT,
    "request_in_flight": grpc.StatusCode.ABORTED,
    "server_error": grpc.StatusCode.INTERNAL,
}
UNITS_S = {"S": 1.0, "m": 0.001}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a source: `body` is what REST sends; `text`, when given, goes out as it is."""

    name: str
    body: Any
    text: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_json_only(self) -> bool:
        """Whether no gRPC message can say this."""
        if self.text is not None or not isinstance(self.body, dict):
            return True
        data, rest = self.body.get("data", {}), [self.body.get(name, "") for name in ("SRC", "KEY", "ping_id")]
        if not isinstance(data, dict) or not all(isinstance(value, str) for value in rest):
            return True
        return "data" not in self.body or any(isinstance(value, dict | list) for value in data.values())


class Transport(Protocol):
    async def send(self, call: Call) -> tuple[int, Answer]: ...


class Rest:
    """Over HTTP."""

    def __init__(self, address: str, http: aiohttp.ClientSession) -> None:
        self._address = address
        self._http = http

    async def send(self, call: Call) -> tuple[int, Answer]:
        data = call.text.encode() if call.text is not None else orjson.dumps(call.body)
        url = f"http://{self._address}/{call.name}"
        async with self._http.post(url, data=data, headers=call.headers) as response:
            text = await response.text()
        answer = orjson.loads(text)
        for name in {"bid", "payout"} & answer.keys():
            number = text.partition(f'"{name}":')[2].partition(",")[0].rstrip("}")
            answer[name] = int(Decimal(number) * 1_000_000)
        return response.status, answer


class Grpc:
    """Over gRPC, told in REST's words by this file, not by the gateway."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = pb_grpc.LeadExchangeStub(channel)

    async def send(self, call: Call) -> tuple[int, Answer]:
        calls: dict[str, tuple[Any, Any]] = {
            "ping": (self._stub.Ping, pb.PingRequest),
            "post": (self._stub.Post, pb.PostRequest),
            "direct_post": (self._stub.DirectPost, pb.DirectPostRequest),
        }
        method, request = calls[call.name]
        known = {field.name for field in request.DESCRIPTOR.fields}
        sent = {"src": call.body.get("SRC"), "key": call.body.get("KEY"), "ping_id": call.body.get("ping_id")}
        message = request(data=_texts(call.body["data"]), **{name: sent[name] for name in sent.keys() & known})
        metadata = [(name.lower(), value) for name, value in call.headers.items() if name == "Idempotency-Key"]
        timeout = call.headers.get("Grpc-Timeout")
        timeout_s = int(timeout[:-1]) * UNITS_S[timeout[-1]] if timeout else None
        try:
            return 200, _told(await method(message, timeout=timeout_s, metadata=metadata))
        except grpc.aio.AioRpcError as error:
            return _refused(error)


def _texts(data: Mapping[str, Any]) -> dict[str, str]:
    words = {True: "true", False: "false"}
    return {
        name: words[value] if isinstance(value, bool) else str(value)
        for name, value in data.items()
        if value is not None
    }


def _told(response: Any) -> Answer:
    """A response's fields that are set, by REST's names."""
    answer: Answer = {}
    for field_, value in response.ListFields():
        if field_.enum_type:
            name = field_.enum_type.values_by_number[value].name
            prefix = {"status": "PING_STATUS_", "outcome": "POST_OUTCOME_", "reason": "REASON_"}[field_.name]
            answer[field_.name] = name.removeprefix(prefix).removeprefix("POST_STATUS_").lower()
        elif field_.name == "errors":
            answer["errors"] = [{"field": e.field, "code": e.code, "message": e.message} for e in value]
        else:
            answer[field_.name] = value
    if "payout_micros" in answer:
        name = "bid" if isinstance(response, pb.PingResponse) else "payout"
        answer[name] = answer.pop("payout_micros")
    return answer


def _refused(error: grpc.aio.AioRpcError) -> tuple[int, Answer]:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:  # said by this end: the exchange has not answered
        return 504, {"status": "error", "reason": "deadline_exceeded", "message": error.details()}
    status = rpc_status.from_call(cast(Any, error))  # checks that code and text of both agree
    assert status is not None, f"{error.code()} without details: {error.details()}"
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    reason = info.reason.lower()
    assert info.domain == "leadexchange.v1"
    assert error.code() is CODE_OF_REASON[reason]
    return STATUS_OF_REASON[reason], {"status": "error", "reason": reason, "message": status.message}


@asynccontextmanager
async def gateway_apart(grpc_address: str) -> AsyncIterator[str]:
    """A gateway with nothing but a channel to the exchange; gives its HTTP address."""
    listener, opened = HttpServer(), open_socket("127.0.0.1:0")
    async with grpc.aio.insecure_channel(grpc_address) as channel:
        address = address_of(opened)
        await listener.start(create_app(ChannelStub(pb_grpc.LeadExchangeStub(channel))), opened)
        try:
            yield address
        finally:
            await listener.stop(5)


@asynccontextmanager
async def grpc_aio(server: Server) -> AsyncIterator[str]:
    """The other engine before the same exchange; gives its address."""
    settings = Settings(config=Path(), store="", grpc="127.0.0.1:0", http="", pepper=b"", is_dev=True)
    engine = AioEngine(settings, Limits())
    pb_grpc.add_LeadExchangeServicer_to_server(LeadExchangeServicer(server.exchange), engine.adds)
    await engine.start()
    try:
        yield engine.address
    finally:
        await engine.stop(5)


@asynccontextmanager
async def transport(name: str, server: Server) -> AsyncIterator[Transport]:
    """The road to a running exchange by its name."""
    if name == "grpc":
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            yield Grpc(channel)
    elif name == "grpc_aio":
        async with grpc_aio(server) as address, grpc.aio.insecure_channel(address) as channel:
            yield Grpc(channel)
    elif name == "rest":
        async with aiohttp.ClientSession() as http:
            yield Rest(server.http, http)
    else:
        async with gateway_apart(server.grpc) as address, aiohttp.ClientSession() as http:
            yield Rest(address, http)


TRANSPORTS = ("grpc", "grpc_aio", "rest", "rest_over_channel")


async def wait_until(holds: Any, timeout_s: float = 5) -> None:
    """Wait for something that happens after an answer has left."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in the product, which sets no event
            await asyncio.sleep(0.01)
