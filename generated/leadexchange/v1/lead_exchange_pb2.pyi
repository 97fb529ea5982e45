from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PingStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PING_STATUS_UNSPECIFIED: _ClassVar[PingStatus]
    PING_STATUS_ACCEPTED: _ClassVar[PingStatus]
    PING_STATUS_REJECTED: _ClassVar[PingStatus]

class PostStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POST_STATUS_UNSPECIFIED: _ClassVar[PostStatus]
    POST_STATUS_DELIVERED: _ClassVar[PostStatus]
    POST_STATUS_REJECTED: _ClassVar[PostStatus]
    POST_STATUS_FAILED: _ClassVar[PostStatus]

class PostOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POST_OUTCOME_UNSPECIFIED: _ClassVar[PostOutcome]
    POST_OUTCOME_DELIVERED: _ClassVar[PostOutcome]
    POST_OUTCOME_REJECTED: _ClassVar[PostOutcome]
    POST_OUTCOME_FAILED: _ClassVar[PostOutcome]
    POST_OUTCOME_IN_PROGRESS: _ClassVar[PostOutcome]

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_INVALID_PAYLOAD_SHAPE: _ClassVar[Reason]
    REASON_PAYLOAD_TOO_LARGE: _ClassVar[Reason]
    REASON_MISSING_CREDENTIALS: _ClassVar[Reason]
    REASON_INVALID_KEY: _ClassVar[Reason]
    REASON_CREDENTIAL_DISABLED: _ClassVar[Reason]
    REASON_RATE_LIMITED: _ClassVar[Reason]
    REASON_OVERLOADED: _ClassVar[Reason]
    REASON_IDEMPOTENCY_KEY_REUSED: _ClassVar[Reason]
    REASON_REQUEST_IN_FLIGHT: _ClassVar[Reason]
    REASON_UNSUPPORTED_TRAFFIC_TYPE: _ClassVar[Reason]
    REASON_CAMPAIGN_INACTIVE: _ClassVar[Reason]
    REASON_SCHEMA_VALIDATION_FAILED: _ClassVar[Reason]
    REASON_INVALID_PING_ID: _ClassVar[Reason]
    REASON_PING_ID_ALREADY_CONSUMED: _ClassVar[Reason]
    REASON_DUPLICATE_LEAD: _ClassVar[Reason]
    REASON_SOURCE_CAP_REACHED: _ClassVar[Reason]
    REASON_NO_ELIGIBLE_BUYER: _ClassVar[Reason]
    REASON_BUYER_REJECTED: _ClassVar[Reason]
    REASON_BUYER_DELIVERY_FAILED: _ClassVar[Reason]
    REASON_DOWNSTREAM_TIMEOUT: _ClassVar[Reason]
    REASON_DOWNSTREAM_INVALID_RESPONSE: _ClassVar[Reason]
    REASON_SERVER_ERROR: _ClassVar[Reason]
PING_STATUS_UNSPECIFIED: PingStatus
PING_STATUS_ACCEPTED: PingStatus
PING_STATUS_REJECTED: PingStatus
POST_STATUS_UNSPECIFIED: PostStatus
POST_STATUS_DELIVERED: PostStatus
POST_STATUS_REJECTED: PostStatus
POST_STATUS_FAILED: PostStatus
POST_OUTCOME_UNSPECIFIED: PostOutcome
POST_OUTCOME_DELIVERED: PostOutcome
POST_OUTCOME_REJECTED: PostOutcome
POST_OUTCOME_FAILED: PostOutcome
POST_OUTCOME_IN_PROGRESS: PostOutcome
REASON_UNSPECIFIED: Reason
REASON_INVALID_PAYLOAD_SHAPE: Reason
REASON_PAYLOAD_TOO_LARGE: Reason
REASON_MISSING_CREDENTIALS: Reason
REASON_INVALID_KEY: Reason
REASON_CREDENTIAL_DISABLED: Reason
REASON_RATE_LIMITED: Reason
REASON_OVERLOADED: Reason
REASON_IDEMPOTENCY_KEY_REUSED: Reason
REASON_REQUEST_IN_FLIGHT: Reason
REASON_UNSUPPORTED_TRAFFIC_TYPE: Reason
REASON_CAMPAIGN_INACTIVE: Reason
REASON_SCHEMA_VALIDATION_FAILED: Reason
REASON_INVALID_PING_ID: Reason
REASON_PING_ID_ALREADY_CONSUMED: Reason
REASON_DUPLICATE_LEAD: Reason
REASON_SOURCE_CAP_REACHED: Reason
REASON_NO_ELIGIBLE_BUYER: Reason
REASON_BUYER_REJECTED: Reason
REASON_BUYER_DELIVERY_FAILED: Reason
REASON_DOWNSTREAM_TIMEOUT: Reason
REASON_DOWNSTREAM_INVALID_RESPONSE: Reason
REASON_SERVER_ERROR: Reason

class PingRequest(_message.Message):
    __slots__ = ("src", "key", "data")
    class DataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SRC_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    src: str
    key: str
    data: _containers.ScalarMap[str, str]
    def __init__(self, src: _Optional[str] = ..., key: _Optional[str] = ..., data: _Optional[_Mapping[str, str]] = ...) -> None: ...

class PingResponse(_message.Message):
    __slots__ = ("status", "reason", "message", "errors", "ping_id", "payout_micros")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    PING_ID_FIELD_NUMBER: _ClassVar[int]
    PAYOUT_MICROS_FIELD_NUMBER: _ClassVar[int]
    status: PingStatus
    reason: Reason
    message: str
    errors: _containers.RepeatedCompositeFieldContainer[FieldProblem]
    ping_id: str
    payout_micros: int
    def __init__(self, status: _Optional[_Union[PingStatus, str]] = ..., reason: _Optional[_Union[Reason, str]] = ..., message: _Optional[str] = ..., errors: _Optional[_Iterable[_Union[FieldProblem, _Mapping]]] = ..., ping_id: _Optional[str] = ..., payout_micros: _Optional[int] = ...) -> None: ...

class PostRequest(_message.Message):
    __slots__ = ("src", "key", "data", "ping_id")
    class DataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SRC_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    PING_ID_FIELD_NUMBER: _ClassVar[int]
    src: str
    key: str
    data: _containers.ScalarMap[str, str]
    ping_id: str
    def __init__(self, src: _Optional[str] = ..., key: _Optional[str] = ..., data: _Optional[_Mapping[str, str]] = ..., ping_id: _Optional[str] = ...) -> None: ...

class PostResponse(_message.Message):
    __slots__ = ("status", "reason", "message", "errors", "lead_id", "delivery_id", "outcome")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    LEAD_ID_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    status: PostStatus
    reason: Reason
    message: str
    errors: _containers.RepeatedCompositeFieldContainer[FieldProblem]
    lead_id: str
    delivery_id: str
    outcome: PostOutcome
    def __init__(self, status: _Optional[_Union[PostStatus, str]] = ..., reason: _Optional[_Union[Reason, str]] = ..., message: _Optional[str] = ..., errors: _Optional[_Iterable[_Union[FieldProblem, _Mapping]]] = ..., lead_id: _Optional[str] = ..., delivery_id: _Optional[str] = ..., outcome: _Optional[_Union[PostOutcome, str]] = ...) -> None: ...

class DirectPostRequest(_message.Message):
    __slots__ = ("src", "key", "data")
    class DataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SRC_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    src: str
    key: str
    data: _containers.ScalarMap[str, str]
    def __init__(self, src: _Optional[str] = ..., key: _Optional[str] = ..., data: _Optional[_Mapping[str, str]] = ...) -> None: ...

class DirectPostResponse(_message.Message):
    __slots__ = ("status", "reason", "message", "errors", "lead_id", "delivery_id", "payout_micros")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    LEAD_ID_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_ID_FIELD_NUMBER: _ClassVar[int]
    PAYOUT_MICROS_FIELD_NUMBER: _ClassVar[int]
    status: PostStatus
    reason: Reason
    message: str
    errors: _containers.RepeatedCompositeFieldContainer[FieldProblem]
    lead_id: str
    delivery_id: str
    payout_micros: int
    def __init__(self, status: _Optional[_Union[PostStatus, str]] = ..., reason: _Optional[_Union[Reason, str]] = ..., message: _Optional[str] = ..., errors: _Optional[_Iterable[_Union[FieldProblem, _Mapping]]] = ..., lead_id: _Optional[str] = ..., delivery_id: _Optional[str] = ..., payout_micros: _Optional[int] = ...) -> None: ...

class FieldProblem(_message.Message):
    __slots__ = ("field", "code", "message")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    field: str
    code: str
    message: str
    def __init__(self, field: _Optional[str] = ..., code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
