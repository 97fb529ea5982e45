"""Errors: what a refused call answers over HTTP. gRPC code and ErrorInfo in, status and body out."""

from typing import Any

import grpc
import orjson
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DETAILS_KEY = "grpc-status-details-bin"
RETRY_AFTER_S = 1

# By reason, as the exchange names it in ErrorInfo.
HTTP_STATUSES = {
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

# By code, where a channel or a server in between says no without ErrorInfo.
NOT_REACHED = ("overloaded", "the exchange does not answer; try again")
WITHOUT_REASON = {
    grpc.StatusCode.UNAVAILABLE: NOT_REACHED,
    grpc.StatusCode.DEADLINE_EXCEEDED: NOT_REACHED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ("payload_too_large", "the body is larger than the exchange takes"),
}


class Refused(Exception):
    """A call that may not proceed: one of HTTP_STATUSES, and a sentence for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.http_status = HTTP_STATUSES[reason]


def server_error() -> Refused:
    """Something broke; what it was stays inside."""
    return Refused("server_error", "something broke on our side")


def error_body(reason: str, message: str) -> bytes:
    """The JSON of every answer that is not 200."""
    return orjson.dumps({"status": "error", "reason": reason, "message": message})


def refusal_of(error: grpc.RpcError) -> Refused:
    """What a failed call tells its caller; without a reason from the exchange its code alone decides."""
    reason = _reason(error)
    if reason in HTTP_STATUSES:
        return Refused(reason, error.details() or "")
    code = error.code()
    return Refused(*WITHOUT_REASON[code]) if code in WITHOUT_REASON else server_error()


def _reason(error: grpc.RpcError) -> str:
    """The reason in the error's ErrorInfo; empty without one."""
    info = error_details_pb2.ErrorInfo()
    metadata: Any = error.trailing_metadata() or ()  # pairs, whatever the stubs call them
    for name, value in metadata:
        if name != DETAILS_KEY or not isinstance(value, bytes):
            continue
        try:
            status = status_pb2.Status.FromString(value)
        except DecodeError:
            return ""
        if any(detail.Unpack(info) for detail in status.details):
            return info.reason.lower()
    return ""
