"""Servicer: protobuf to domain values and back; the only file that knows gRPC's context and status codes.

`answer_ping`, `answer_post` and `answer_direct_post` are shared with the in-process stub, so that a call means the
same over a socket and without one.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, Protocol, TypeAlias

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from leadexchange.v1 import lead_exchange_pb2 as pb
from leadexchange.v1 import lead_exchange_pb2_grpc as pb_grpc
from lexchange.call import Call, FieldProblem, PingAnswer, PostAnswer, Status
from lexchange.errors import RequestRefused, StorageError
from lexchange.exchange import Exchange
from lexchange.reasons import Reason
from lexchange.telemetry import log_event

DOMAIN = "leadexchange.v1"
IDEMPOTENCY_KEY = "idempotency-key"

CODES: dict[Reason, grpc.StatusCode] = {
    Reason.INVALID_PAYLOAD_SHAPE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.PAYLOAD_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.MISSING_CREDENTIALS: grpc.StatusCode.UNAUTHENTICATED,
    Reason.INVALID_KEY: grpc.StatusCode.UNAUTHENTICATED,
    Reason.CREDENTIAL_DISABLED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.OVERLOADED: grpc.StatusCode.UNAVAILABLE,
    Reason.IDEMPOTENCY_KEY_REUSED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.REQUEST_IN_FLIGHT: grpc.StatusCode.ABORTED,
    Reason.SERVER_ERROR: grpc.StatusCode.INTERNAL,
}
TRY_AGAIN = frozenset({Reason.OVERLOADED, Reason.RATE_LIMITED})
RETRY_AFTER_S = 1
REASONS = {reason: f"REASON_{reason.name}" for reason in Reason}
PING_STATUSES = {
    Status.ACCEPTED: pb.PING_STATUS_ACCEPTED,
    Status.REJECTED: pb.PING_STATUS_REJECTED,
}
POST_STATUSES = {
    Status.DELIVERED: pb.POST_STATUS_DELIVERED,
    Status.REJECTED: pb.POST_STATUS_REJECTED,
    Status.FAILED: pb.POST_STATUS_FAILED,
}
STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}
DETAILS_KEY = "grpc-status-details-bin"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]


class Request(Protocol):
    """What a source sent: a message of the proto, or in one process what the gateway has read."""

    @property
    def src(self) -> str:
        """Who calls."""

    @property
    def key(self) -> str:
        """His key."""

    @property
    def data(self) -> Mapping[str, str]:
        """The lead's fields."""


class PostRequest(Request, Protocol):
    """Likewise of a post."""

    @property
    def ping_id(self) -> str:
        """The ping that was accepted."""


async def answer_ping(exchange: Exchange, request: Request, time_left_s: float | None) -> pb.PingResponse:
    """Answer a ping; `time_left_s` is what the caller's deadline leaves, None without one."""
    call = Call(src=request.src, key=request.key, data=_as_dict(request.data), deadline=_deadline(time_left_s))
    return ping_response(await exchange.ping(call))


async def answer_post(
    exchange: Exchange, request: PostRequest, time_left_s: float | None, idempotency_key: str
) -> pb.PostResponse:
    """Answer a post."""
    call = Call(
        src=request.src,
        key=request.key,
        data=_as_dict(request.data),
        ping_id=request.ping_id,
        idempotency_key=idempotency_key,
        deadline=_deadline(time_left_s),
    )
    return post_response(await exchange.post(call))


async def answer_direct_post(
    exchange: Exchange, request: Request, time_left_s: float | None, idempotency_key: str
) -> pb.DirectPostResponse:
    """Answer a direct post."""
    call = Call(
        src=request.src,
        key=request.key,
        data=_as_dict(request.data),
        idempotency_key=idempotency_key,
        deadline=_deadline(time_left_s),
    )
    return direct_post_response(await exchange.direct_post(call))


def _as_dict(fields: Mapping[str, str]) -> dict[str, str]:
    """A protobuf map as a dict; dict() goes through its keys() and takes twice as long."""
    if isinstance(fields, dict):
        return fields
    return {name: fields[name] for name in fields}


def _deadline(time_left_s: float | None) -> float | None:
    return None if time_left_s is None else asyncio.get_running_loop().time() + time_left_s


def ping_response(answer: PingAnswer) -> pb.PingResponse:
    """A ping's answer as protobuf."""
    if answer.reason is None:
        return pb.PingResponse(
            status=pb.PING_STATUS_ACCEPTED, ping_id=answer.ping_id, payout_micros=answer.payout_micros
        )
    return pb.PingResponse(
        status=PING_STATUSES[answer.status],
        reason=REASONS[answer.reason],
        message=answer.message,
        errors=[_problem(problem) for problem in answer.problems],
    )


def post_response(answer: PostAnswer) -> pb.PostResponse:
    """A post's answer as protobuf."""
    return pb.PostResponse(
        status=POST_STATUSES[answer.status],
        reason=REASONS[answer.reason] if answer.reason else None,
        message=answer.message,
        errors=[_problem(problem) for problem in answer.problems],
        lead_id=answer.lead_id,
        delivery_id=answer.delivery_id,
        outcome=f"POST_OUTCOME_{answer.outcome.name}" if answer.outcome else None,
    )


def direct_post_response(answer: PostAnswer) -> pb.DirectPostResponse:
    """A direct post's answer as protobuf."""
    return pb.DirectPostResponse(
        status=POST_STATUSES[answer.status],
        reason=REASONS[answer.reason] if answer.reason else None,
        message=answer.message,
        errors=[_problem(problem) for problem in answer.problems],
        lead_id=answer.lead_id,
        delivery_id=answer.delivery_id,
        payout_micros=answer.payout_micros,
    )


def _problem(problem: FieldProblem) -> pb.FieldProblem:
    return pb.FieldProblem(field=problem.field, code=problem.code, message=problem.message)


def refusal_of(error: Exception) -> RequestRefused:
    """What a caller is told of an error: his own fault as it is, ours without its inside."""
    if isinstance(error, RequestRefused):
        return error
    if isinstance(error, StorageError):
        log_event("storage_error", error=str(error))
        return RequestRefused(Reason.OVERLOADED, "the store is not available now; try again")
    log_event("server_error", error=type(error).__name__)
    return RequestRefused(Reason.SERVER_ERROR)


def refusal_status(refused: RequestRefused) -> status_pb2.Status:
    """The rich status of a refusal: ErrorInfo, BadRequest where fields are at fault, RetryInfo where waiting helps."""
    packed = [_packed(error_details_pb2.ErrorInfo(reason=refused.reason.name, domain=DOMAIN))]
    if refused.fields:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=refused.message)
            for field in refused.fields
        ]
        packed.append(_packed(error_details_pb2.BadRequest(field_violations=violations)))
    if refused.reason in TRY_AGAIN:
        packed.append(_packed(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=RETRY_AFTER_S))))
    code = CODES[refused.reason].value[0]
    return status_pb2.Status(code=code, message=refused.message, details=packed)


def _packed(detail: Message) -> any_pb2.Any:
    wrapped = any_pb2.Any()
    wrapped.Pack(detail)
    return wrapped


def idempotency_key(metadata: Metadata | None) -> str:
    """The caller's idempotency key; empty without one."""
    for name, value in metadata or ():
        if name == IDEMPOTENCY_KEY:
            return value if isinstance(value, str) else value.decode("latin-1")
    return ""


class LeadExchangeServicer(pb_grpc.LeadExchangeServicer):
    """The three calls over gRPC."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def Ping(self, request: pb.PingRequest, context: Context) -> pb.PingResponse:
        """Offer a lead."""
        try:
            return await answer_ping(self._exchange, request, context.time_remaining())
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the caller gets a status and no inside
            return await _abort(context, error)

    async def Post(self, request: pb.PostRequest, context: Context) -> pb.PostResponse:
        """Deliver the lead of an accepted ping."""
        key = idempotency_key(context.invocation_metadata())
        try:
            return await answer_post(self._exchange, request, context.time_remaining(), key)
        except Exception as error:  # noqa: BLE001 - as above
            return await _abort(context, error)

    async def DirectPost(self, request: pb.DirectPostRequest, context: Context) -> pb.DirectPostResponse:
        """Sell a lead in one call."""
        key = idempotency_key(context.invocation_metadata())
        try:
            return await answer_direct_post(self._exchange, request, context.time_remaining(), key)
        except Exception as error:  # noqa: BLE001 - as above
            return await _abort(context, error)


async def _abort(context: Context, error: Exception) -> NoReturn:
    status = refusal_status(refusal_of(error))
    details = (DETAILS_KEY, status.SerializeToString())
    await context.abort(STATUS_CODES[status.code], status.message, trailing_metadata=(details,))
    raise AssertionError("abort() raises")
