"""Admission: who may call, and what is answered before any buyer is looked at. Pure, in the order of precedence."""

from lexchange.call import Call, FieldProblem
from lexchange.campaign import CampaignStatus, TrafficType
from lexchange.catalog import Catalog, Route
from lexchange.config import Limits
from lexchange.errors import RequestRefused
from lexchange.fields import Checked, is_test_call
from lexchange.frozen import replace
from lexchange.keys import matches
from lexchange.reasons import Reason


def authorise(catalog: Catalog, call: Call, *, limits: Limits, pepper: bytes) -> Route:
    """The route of a call whose credentials hold; raises RequestRefused.

    An unknown SRC and a wrong KEY cost the same work and get the same answer; that a source is disabled is told
    only to who knows its key.
    """
    if not call.src.strip() or not call.key.strip():
        raise RequestRefused(Reason.MISSING_CREDENTIALS)
    if len(call.data) > limits.field_count:
        raise RequestRefused(
            Reason.INVALID_PAYLOAD_SHAPE,
            f"data: expected at most {limits.field_count} fields, got {len(call.data)}",
            fields=("data",),
        )
    route = catalog.route(call.src)
    if not matches(call.key, route.source.keys if route else (), pepper) or route is None:
        raise RequestRefused(Reason.INVALID_KEY)
    if not route.source.is_enabled:
        raise RequestRefused(Reason.CREDENTIAL_DISABLED)
    return route


def with_ping_id(checked: Checked, ping_id: str) -> Checked:
    """A post's check, with its ping_id beside the data: the published table requires it."""
    if ping_id.strip():
        return checked
    problem = FieldProblem(field="ping_id", code="required", message="expected the ping_id of an accepted ping")
    return replace(checked, problems=(problem, *checked.problems))


def early_rejection(route: Route, call: Call, traffic_type: TrafficType, checked: Checked) -> Reason | None:
    """Why a call is rejected by its campaign or its data; None when it may go on."""
    campaign = route.live.campaign
    if campaign.traffic_type is not traffic_type:
        return Reason.UNSUPPORTED_TRAFFIC_TYPE
    takes_test = campaign.status is CampaignStatus.DRAFT and is_test_call(call.data)
    if campaign.status is not CampaignStatus.ACTIVE and not takes_test:
        return Reason.CAMPAIGN_INACTIVE
    if checked.problems:
        return Reason.SCHEMA_VALIDATION_FAILED
    return None
