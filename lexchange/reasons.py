"""Every reason the exchange can give a source. Declaration order is precedence: the first that applies is answered.

The wire code is the value; the same names, upper-cased, are the proto's `REASON_…` (a parity test compares them).
"""

from enum import StrEnum


class Kind(StrEnum):
    """How a reason is answered."""

    REFUSED = "refused"  # the call may not proceed: a status code, not a business answer
    REJECTED = "rejected"  # a business no
    FAILED = "failed"  # the delivery went wrong


class Reason(StrEnum):
    """Why a call was refused, or a lead not sold."""

    INVALID_PAYLOAD_SHAPE = "invalid_payload_shape"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    MISSING_CREDENTIALS = "missing_credentials"
    INVALID_KEY = "invalid_key"
    CREDENTIAL_DISABLED = "credential_disabled"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    REQUEST_IN_FLIGHT = "request_in_flight"
    UNSUPPORTED_TRAFFIC_TYPE = "unsupported_traffic_type"
    CAMPAIGN_INACTIVE = "campaign_inactive"
    SCHEMA_VALIDATION_FAILED = "schema_validation_failed"
    INVALID_PING_ID = "invalid_ping_id"
    PING_ID_ALREADY_CONSUMED = "ping_id_already_consumed"
    DUPLICATE_LEAD = "duplicate_lead"
    SOURCE_CAP_REACHED = "source_cap_reached"
    NO_ELIGIBLE_BUYER = "no_eligible_buyer"
    BUYER_REJECTED = "buyer_rejected"
    BUYER_DELIVERY_FAILED = "buyer_delivery_failed"
    DOWNSTREAM_TIMEOUT = "downstream_timeout"
    DOWNSTREAM_INVALID_RESPONSE = "downstream_invalid_response"
    SERVER_ERROR = "server_error"

    @property
    def kind(self) -> Kind:
        """How it is answered."""
        return REASON_TEXTS[self][0]

    @property
    def message(self) -> str:
        """The reason in a sentence, for people."""
        return REASON_TEXTS[self][1]


REASON_TEXTS: dict[Reason, tuple[Kind, str]] = {
    Reason.INVALID_PAYLOAD_SHAPE: (
        Kind.REFUSED,
        'expected {"SRC": text, "KEY": text, "data": {field: text, number or boolean}}',
    ),
    Reason.PAYLOAD_TOO_LARGE: (Kind.REFUSED, "the body is larger than 64 KiB"),
    Reason.MISSING_CREDENTIALS: (Kind.REFUSED, "SRC and KEY are required, as text"),
    Reason.INVALID_KEY: (Kind.REFUSED, "SRC is unknown or KEY does not match it"),
    Reason.CREDENTIAL_DISABLED: (Kind.REFUSED, "this source is disabled"),
    Reason.RATE_LIMITED: (Kind.REFUSED, "too many calls; slow down"),
    Reason.OVERLOADED: (Kind.REFUSED, "the exchange is busy; try again"),
    Reason.IDEMPOTENCY_KEY_REUSED: (Kind.REFUSED, "this idempotency key was used with another body"),
    Reason.REQUEST_IN_FLIGHT: (Kind.REFUSED, "the first call with this idempotency key is still running"),
    Reason.UNSUPPORTED_TRAFFIC_TYPE: (Kind.REJECTED, "the campaign does not take this kind of call"),
    Reason.CAMPAIGN_INACTIVE: (Kind.REJECTED, "the campaign is not active"),
    Reason.SCHEMA_VALIDATION_FAILED: (Kind.REJECTED, "the data does not fit the campaign's schema; see errors"),
    Reason.INVALID_PING_ID: (Kind.REJECTED, "the ping_id is unknown, expired or not yours"),
    Reason.PING_ID_ALREADY_CONSUMED: (Kind.REJECTED, "the ping_id was posted before; see outcome"),
    Reason.DUPLICATE_LEAD: (Kind.REJECTED, "this lead was sold before"),
    Reason.SOURCE_CAP_REACHED: (Kind.REJECTED, "the source has reached a cap"),
    Reason.NO_ELIGIBLE_BUYER: (Kind.REJECTED, "no buyer wants this lead"),
    Reason.BUYER_REJECTED: (Kind.REJECTED, "the buyer refused the lead"),
    Reason.BUYER_DELIVERY_FAILED: (Kind.FAILED, "the lead could not be delivered"),
    Reason.DOWNSTREAM_TIMEOUT: (Kind.FAILED, "the buyer did not answer in time; whether it has the lead is not known"),
    Reason.DOWNSTREAM_INVALID_RESPONSE: (Kind.FAILED, "the buyer's answer could not be read"),
    Reason.SERVER_ERROR: (Kind.REFUSED, "something broke on our side"),
}
