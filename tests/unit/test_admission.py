import pytest

from lexchange.admission import authorise, early_rejection, with_ping_id
from lexchange.call import Call, FieldProblem
from lexchange.campaign import CampaignStatus, Source, SourceKey, TrafficType
from lexchange.config import Limits
from lexchange.errors import RequestRefused
from lexchange.fields import Checked
from lexchange.keys import hash_key
from lexchange.reasons import Reason
from tests.unit.examples import KEY, a_call, a_campaign, a_catalog, a_route

PEPPER = b""
SOURCES = (
    Source(src="SRC_MAIN", name="Main", keys=(SourceKey(hmac_hex=hash_key(KEY, PEPPER)),)),
    Source(src="SRC_TWO", name="Two keys", keys=tuple(SourceKey(hmac_hex=hash_key(k, PEPPER)) for k in ("old", "new"))),
    Source(src="SRC_OFF", name="Off", keys=(SourceKey(hmac_hex=hash_key(KEY, PEPPER)),), is_enabled=False),
    Source(src="SRC_BARE", name="No key", keys=()),
)
CATALOG = a_catalog(a_campaign(sources=SOURCES))


def refusal(call: Call, limits: Limits | None = None) -> Reason | None:
    try:
        authorise(CATALOG, call, limits=limits or Limits(), pepper=PEPPER)
    except RequestRefused as refused:
        return refused.reason
    return None


@pytest.mark.parametrize(
    ("src", "key", "expected"),
    [
        ("SRC_MAIN", KEY, None),
        ("SRC_TWO", "old", None),
        ("SRC_TWO", "new", None),
        ("", KEY, Reason.MISSING_CREDENTIALS),
        ("SRC_MAIN", "", Reason.MISSING_CREDENTIALS),
        (" ", KEY, Reason.MISSING_CREDENTIALS),
        ("SRC_MAIN", "\t", Reason.MISSING_CREDENTIALS),
        ("SRC_MAIN", KEY + " ", Reason.INVALID_KEY),
        ("src_main", KEY, Reason.INVALID_KEY),
        ("SRC_NONE", KEY, Reason.INVALID_KEY),
        ("SRC_MAIN", "old", Reason.INVALID_KEY),
        ("SRC_BARE", "0" * 64, Reason.INVALID_KEY),
        ("SRC_OFF", "guess", Reason.INVALID_KEY),
        ("SRC_OFF", KEY, Reason.CREDENTIAL_DISABLED),
    ],
)
def test_call_is_authorised_by_its_credentials(src: str, key: str, expected: Reason | None) -> None:
    """Unknown and wrong are one answer; that a source is disabled is told only to who knows its key."""
    assert refusal(a_call(src=src, key=key)) is expected


def test_unknown_source_and_wrong_key_are_told_the_same() -> None:
    """Word for word: the answer gives no hint whether a SRC exists."""
    told = []
    for src in ("SRC_NONE", "SRC_MAIN"):
        with pytest.raises(RequestRefused) as refused:
            authorise(CATALOG, a_call(src=src, key="wrong"), limits=Limits(), pepper=PEPPER)
        told.append((refused.value.reason, refused.value.message, refused.value.fields))
    assert told[0] == told[1]


@pytest.mark.parametrize(("count", "expected"), [(2, None), (3, None), (4, Reason.INVALID_PAYLOAD_SHAPE)])
def test_fields_are_counted_before_the_key(count: int, expected: Reason | None) -> None:
    """More fields than the limit are refused."""
    data = {f"field_{each}": "x" for each in range(count)}
    assert refusal(a_call(data=data), Limits(field_count=3)) is expected


def checked(*problems: FieldProblem) -> Checked:
    return Checked(data={}, dropped=(), problems=problems, is_test=False)


PROBLEM = FieldProblem(field="email", code="required", message="expected a value")
DRAFT, ACTIVE, INACTIVE = CampaignStatus.DRAFT, CampaignStatus.ACTIVE, CampaignStatus.INACTIVE
PING_POST, DIRECT_POST = TrafficType.PING_POST, TrafficType.DIRECT_POST


@pytest.mark.parametrize(
    ("status", "traffic", "test_mode", "problems", "expected"),
    [
        (ACTIVE, PING_POST, "", (), None),
        (ACTIVE, PING_POST, "1", (), None),
        (DRAFT, PING_POST, "1", (), None),
        (DRAFT, PING_POST, "", (), Reason.CAMPAIGN_INACTIVE),
        (DRAFT, PING_POST, "yes", (), Reason.CAMPAIGN_INACTIVE),
        (INACTIVE, PING_POST, "", (), Reason.CAMPAIGN_INACTIVE),
        (INACTIVE, PING_POST, "1", (), Reason.CAMPAIGN_INACTIVE),
        (ACTIVE, DIRECT_POST, "", (), Reason.UNSUPPORTED_TRAFFIC_TYPE),
        (ACTIVE, PING_POST, "", (PROBLEM,), Reason.SCHEMA_VALIDATION_FAILED),
        (INACTIVE, PING_POST, "", (PROBLEM,), Reason.CAMPAIGN_INACTIVE),
        (INACTIVE, DIRECT_POST, "", (PROBLEM,), Reason.UNSUPPORTED_TRAFFIC_TYPE),
    ],
)
def test_early_rejection_follows_the_precedence(status, traffic, test_mode, problems, expected) -> None:
    """Traffic type, then status, then schema; a draft takes sure tests only, an inactive campaign nothing."""
    route = a_route(status=status, traffic_type=traffic)
    call = a_call(data={"Test_Mode": test_mode})
    assert early_rejection(route, call, PING_POST, checked(*problems)) is expected


@pytest.mark.parametrize(
    ("ping_id", "fields"), [("PING-1", ["email"]), ("", ["ping_id", "email"]), (" ", ["ping_id", "email"])]
)
def test_post_without_ping_id_lacks_a_field(ping_id: str, fields: list[str]) -> None:
    """It is named first, beside all other problems."""
    assert [problem.field for problem in with_ping_id(checked(PROBLEM), ping_id).problems] == fields
