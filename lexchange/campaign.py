"""What an operator configures: campaigns, their fields, sources and buyers. Pure values, parsed and checked elsewhere.

`campaign_file.py` makes these from files; `catalog.py` compiles them for the hot path.
"""

from dataclasses import field
from datetime import date
from enum import StrEnum
from fractions import Fraction

from lexchange.access import OAuth2Client, TlsFiles
from lexchange.breaker import DEFAULT_BREAKER, BreakerRule
from lexchange.filters import EVERY_LEAD, AllOf
from lexchange.frozen import frozen
from lexchange.retention import KEEPS_ALL, Retention
from lexchange.transforms import Transform


class TrafficType(StrEnum):
    """Which calls a campaign takes."""

    PING_POST = "ping_post"
    DIRECT_POST = "direct_post"


class CampaignStatus(StrEnum):
    """Draft takes test calls only; inactive takes none."""

    DRAFT = "draft"
    ACTIVE = "active"
    INACTIVE = "inactive"


class FieldType(StrEnum):
    """How the text of a field is read."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    EMAIL = "email"
    PHONE = "phone"
    ZIPCODE = "zipcode"
    STATE = "state"
    URL = "url"
    IP = "ip"
    ENUM = "enum"


class RoutingMode(StrEnum):
    """How the winner is picked among the bids."""

    HIGHEST_BID = "highest_bid"
    PRIORITY = "priority"
    WEIGHTED = "weighted"
    ROUND_ROBIN = "round_robin"


class OnPostReject(StrEnum):
    """What follows a buyer's definite rejection of a posted lead."""

    STOP = "stop"
    NEXT_BIDDER = "next_bidder"


class PayoutMode(StrEnum):
    """How a bid becomes the source's payout."""

    REVENUE_SHARE = "revenue_share"
    FIXED = "fixed"
    MARGIN = "margin"


class CapWindow(StrEnum):
    """How long a cap counts before it starts again."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"  # starts on Monday
    MONTH = "month"
    TOTAL = "total"


class CapCounts(StrEnum):
    """What a cap counts."""

    LEADS = "leads"
    PINGS = "pings"


class CapReserve(StrEnum):
    """When a buyer's cap slot is taken: at the post, or already when a ping is won."""

    POST = "post"
    PING = "ping"


class DuplicateScope(StrEnum):
    """Among whose leads a duplicate is looked for."""

    CAMPAIGN = "campaign"
    SOURCE = "source"
    BUYER = "buyer"


class OnChange(StrEnum):
    """What happens when a post changes a frozen field."""

    REJECT = "reject"
    KEEP_PING = "keep_ping"


class BodyFormat(StrEnum):
    """How a buyer's request is written."""

    JSON = "json"
    FORM = "form"
    XML = "xml"
    QUERY = "query"


class Cast(StrEnum):
    """The type a mapped value is sent as, where the format knows types."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


@frozen
class FieldSpec:
    """One field of a campaign's schema."""

    name: str
    type: FieldType = FieldType.STRING
    required_on_ping: bool = False
    required_on_post: bool = False
    values: tuple[str, ...] = ()  # allowed values, for enum
    description: str = ""
    is_system: bool = False


def _system(name: str, ping: bool, post: bool, description: str) -> FieldSpec:
    return FieldSpec(name=name, required_on_ping=ping, required_on_post=post, description=description, is_system=True)


TEST_MODE_FIELD = "Test_Mode"

# The published table, in its order. ping_id, SRC and KEY travel beside `data`, never in it.
ENVELOPE_FIELDS = (
    _system("ping_id", False, True, "Returned Ping ID from the Ping Post"),
    _system("SRC", True, True, "Will be provided to you"),
    _system("KEY", True, True, "Will be provided to you"),
)
DATA_FIELDS = (
    _system(TEST_MODE_FIELD, False, False, "Optional source test flag. Send 1 for safe synthetic testing."),
    _system("sub_id", True, False, "Publisher sub ID"),
    _system("pub_id", True, False, "Publisher ID"),
    _system("first_name", False, True, "Lead's first name"),
    _system("last_name", False, True, "Lead's last name"),
    _system("email", True, True, "Lead email address"),
    _system("phone", False, True, "Lead phone number"),
    _system("zipcode", True, True, "Lead ZIP code"),
    _system("street_address", False, True, "Lead street address"),
    _system("city", True, True, "Lead city"),
    _system("state", True, True, "Lead state"),
    _system("ip_address", True, True, "Submitter IP address"),
    _system("user_agent", True, False, "Submitter user agent"),
    _system("trusted_form_url", True, True, "TrustedForm or equivalent URL"),
    _system("jornaya_lead_id", True, False, "Jornaya lead ID"),
    _system("consent_text", True, True, "Consent disclosure text"),
    _system("landing_page_url", True, False, "Landing page URL"),
    _system("unique_identifier", True, False, "Unique lead identifier"),
)


@frozen
class PayoutRule:
    """How a buyer's bid becomes the source's payout. `share` for revenue_share, `amount_micros` for the others.

    The payout is never under `min_micros` nor over `max_micros`; a bid that leaves less than `min_margin_micros` to
    the exchange is not taken.
    """

    mode: PayoutMode
    share: Fraction = Fraction(0)
    amount_micros: int = 0
    min_micros: int = 0
    max_micros: int | None = None
    min_margin_micros: int = 0


@frozen
class Cap:
    """At most `limit` leads (or pings), or `budget_micros` of money, per window. Exactly one of the two is set.

    `from_day` and `until_day` are the first and the last day it holds, in its time zone.
    """

    window: CapWindow
    limit: int | None = None
    budget_micros: int | None = None
    counts: CapCounts = CapCounts.LEADS
    reserve: CapReserve = CapReserve.POST
    src: str | None = None  # a buyer's cap on the leads of this source alone
    from_day: date | None = None
    until_day: date | None = None
    time_zone: str | None = None  # None: its owner's


@frozen
class SourceKey:
    """One accepted KEY of a source: hex HMAC-SHA-256 of it under the exchange's pepper."""

    hmac_hex: str


@frozen
class Source:
    """A publisher's access to one campaign."""

    src: str
    name: str
    keys: tuple[SourceKey, ...]
    is_enabled: bool = True
    payout: PayoutRule | None = None  # None: the campaign's
    min_bid_micros: int = 0  # besides the campaign's
    caps: tuple[Cap, ...] = ()
    ping_limit_per_second: int | None = None


@frozen
class OpenHours:
    """Weekdays (0 = Monday) and minutes of the day. `to_minute <= from_minute` runs over midnight into the next day."""

    days: frozenset[int]
    from_minute: int
    to_minute: int


@frozen
class Header:
    """A request header; a secret one is masked wherever it is shown."""

    name: str
    value: str
    is_secret: bool = False


@frozen
class MappedField:
    """One field of a buyer's request: his name (dots nest) and where its value comes from.

    Either `sources` (`lead.zipcode`, `ping.ping_id`, `campaign.id`, `source.src`, `lead_id`, `delivery_id`, `now`,
    `ping_response.data.token`) or `constant` is set. Of several sources the first that has a value counts; with
    `join` all that have one, joined by it. A constant keeps its JSON type. `when` the lead does not pass, there is no
    field.
    """

    path: str
    sources: tuple[str, ...] = ()
    join: str | None = None
    constant: str | int | float | bool | None = None
    transforms: tuple[Transform, ...] = ()
    value_map: dict[str, str] = field(default_factory=dict)
    default: str | int | float | bool | None = None
    cast: Cast | None = None
    when: AllOf = EVERY_LEAD


@frozen
class AnswerRule:
    """When a buyer's answer counts as accepted, or as rejected.

    With `path`: the value there equals, is in, exists or matches. Without: `matches` looks at the whole text.
    `http_status` lists status codes. All that is set must hold. `one_of` holds the texts of `equals` and `in`.
    """

    path: str | None = None
    one_of: tuple[str, ...] = ()
    exists: bool | None = None
    matches: str | None = None
    http_status: tuple[int, ...] = ()


@frozen
class AnswerRules:
    """How a buyer's answer is read. `price_path` is for posts, `bid_path` for pings."""

    accepted: AnswerRule
    rejected: AnswerRule | None = None
    bid_path: str | None = None
    reason_path: str | None = None
    price_path: str | None = None


@frozen
class BuyerDelivery:
    """One endpoint of a buyer: how to call it and how to read its answer."""

    url: str
    method: str = "POST"
    format: BodyFormat = BodyFormat.JSON
    headers: tuple[Header, ...] = ()
    oauth2: OAuth2Client | None = None
    tls: TlsFiles | None = None
    connection_limit: int | None = None  # at once, to his host; None: the process's
    timeout_ms: int
    is_idempotent: bool = False
    fields: tuple[MappedField, ...]
    answer: AnswerRules


@frozen
class BidAdjustment:
    """What a bid is worth to us when bids are compared: `bid * factor + amount_micros`. The price stays the bid."""

    factor: Fraction = Fraction(1)
    amount_micros: int = 0


@frozen
class Buyer:
    """Who buys leads. Without a `ping` endpoint he stands in the auction with his fixed `bid_micros`."""

    buyer: str
    name: str
    post: BuyerDelivery
    ping: BuyerDelivery | None = None
    bid_micros: int | None = None
    bid_adjustment: BidAdjustment | None = None
    is_exclusive: bool = False  # where leads are shared, he takes them alone or not at all
    is_active: bool = True
    priority: int = 1  # lower first
    weight: int = 1
    filters: AllOf = EVERY_LEAD
    only_sources: frozenset[str] | None = None
    except_sources: frozenset[str] = frozenset()
    caps: tuple[Cap, ...] = ()
    ping_limit_per_second: int | None = None
    schedule: tuple[OpenHours, ...] = ()
    time_zone: str | None = None  # None: the campaign's
    breaker: BreakerRule = DEFAULT_BREAKER


@frozen
class Routing:
    """How an auction runs."""

    mode: RoutingMode = RoutingMode.HIGHEST_BID
    ping_timeout_ms: int = 1500  # whole fan-out
    post_timeout_ms: int = 10_000  # whole delivery, all attempts
    ping_ttl_s: int = 900
    min_bid_micros: int = 0
    sell_to: int = 1  # so many buyers may share a lead, each at his own price
    on_post_reject: OnPostReject = OnPostReject.STOP
    allow_loss: bool = False  # next_bidder may sell below the promised payout
    max_attempts: int = 5


@frozen
class Duplicates:
    """A lead whose fields equal those of one sold within the window is a duplicate."""

    fields: tuple[str, ...]
    window_h: int
    scope: DuplicateScope = DuplicateScope.CAMPAIGN


@frozen
class FrozenFields:
    """Fields that a post may not change against its ping."""

    fields: tuple[str, ...]
    on_change: OnChange = OnChange.REJECT


@frozen
class Campaign:
    """One market: a schema, its sources and its buyers."""

    campaign: str
    name: str
    status: CampaignStatus
    traffic_type: TrafficType
    currency: str = "USD"
    time_zone: str = "UTC"
    routing: Routing = Routing()
    payout: PayoutRule
    duplicates: Duplicates | None = None
    frozen_fields: FrozenFields | None = None
    repeat_ping_window_s: int | None = None
    retention: Retention = KEEPS_ALL
    fields: tuple[FieldSpec, ...] = DATA_FIELDS  # system fields with their overrides, then custom ones
    sources: tuple[Source, ...] = ()
    buyers: tuple[Buyer, ...] = ()
