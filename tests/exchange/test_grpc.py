"""gRPC manners: health, reflection, rich errors, deadlines, sizes."""

from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from leadexchange.v1 import lead_exchange_pb2 as pb
from leadexchange.v1 import lead_exchange_pb2_grpc as pb_grpc
from tests.exchange.cases import BASE
from tests.exchange.running import exchange_for

SERVICE = "leadexchange.v1.LeadExchange"
CALL = BASE["calls"]["ping"]
SLOW = {"json": {"status": "ok", "bid": 7}, "delay_ms": 3_000}


def ping(**changes: str) -> pb.PingRequest:
    return pb.PingRequest(src=CALL["SRC"], key=CALL["KEY"], data=CALL["data"] | changes)


@pytest.mark.parametrize("name", ["", SERVICE])
async def test_health(name: str, tmp_path: Path) -> None:
    """The whole server and the service by its name are serving."""
    async with exchange_for({}, tmp_path) as (server, _), grpc.aio.insecure_channel(server.grpc) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_in_development(tmp_path: Path) -> None:
    """With --dev grpcurl, buf curl and ghz find the service without its proto."""
    async with exchange_for({}, tmp_path) as (server, _), grpc.aio.insecure_channel(server.grpc) as channel:
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast(Any, channel))
        answers = stub.ServerReflectionInfo(asked)
        names = {service.name async for answer in answers for service in answer.list_services_response.service}
    assert SERVICE in names


@pytest.mark.parametrize("symbol", [SERVICE, f"{SERVICE}.Ping", "leadexchange.v1.PingRequest"])
async def test_reflection_knows_where_things_are(symbol: str, tmp_path: Path) -> None:
    """A service, a method (as ghz asks) and a message."""
    async with exchange_for({}, tmp_path) as (server, _), grpc.aio.insecure_channel(server.grpc) as channel:
        asked = iter([reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)])
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast(Any, channel))
        answers = [answer async for answer in stub.ServerReflectionInfo(asked)]
    assert answers[0].file_descriptor_response.file_descriptor_proto


async def test_bad_request_names_the_field(tmp_path: Path) -> None:
    """Where a field is at fault BadRequest names it, besides ErrorInfo."""
    async with exchange_for({}, tmp_path) as (server, _), grpc.aio.insecure_channel(server.grpc) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await pb_grpc.LeadExchangeStub(channel).Ping(ping(**{f"x{number}": "" for number in range(200)}))
    status = rpc_status.from_call(cast(Any, refused.value))
    assert status is not None
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(bad)
    assert (info.reason, info.domain) == ("INVALID_PAYLOAD_SHAPE", "leadexchange.v1")
    assert [violation.field for violation in bad.field_violations] == ["data"]


async def test_deadline_ends_the_auction_in_time(tmp_path: Path) -> None:
    """A caller with 500 ms is answered within them, though a buyer takes 3 s."""
    patient = ("routing.ping_timeout_ms", "buyers.acme.ping.timeout_ms", "buyers.bright.ping.timeout_ms")
    case = {"replies": {"acme.ping": [SLOW], "bright.ping": [SLOW]}, "change": dict.fromkeys(patient, 4_000)}
    async with exchange_for(case, tmp_path) as (server, _), grpc.aio.insecure_channel(server.grpc) as channel:
        answer = await pb_grpc.LeadExchangeStub(channel).Ping(ping(), timeout=0.5)
    assert answer.reason == pb.REASON_NO_ELIGIBLE_BUYER


async def test_message_size(tmp_path: Path) -> None:
    """A message of 64 KiB is read, one byte more is not."""
    async with exchange_for({}, tmp_path) as (server, _), grpc.aio.insecure_channel(server.grpc) as channel:
        stub = pb_grpc.LeadExchangeStub(channel)
        room = 65_536 - ping(sub_id="x").ByteSize()
        codes = []
        for size in (room - 1, room - 2, room - 3, room - 4, room, room + 1):
            message = ping(sub_id="x" * size)
            if message.ByteSize() < 65_535:
                continue
            try:
                answer = await stub.Ping(message)
                codes.append((message.ByteSize(), answer.errors[0].code))
            except grpc.aio.AioRpcError as error:
                codes.append((message.ByteSize(), error.code().name))
    by_size = dict(codes)
    assert by_size[65_535] == by_size[65_536] == "too_long"
    assert by_size[65_537] == "RESOURCE_EXHAUSTED"
