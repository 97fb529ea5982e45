"""Reads a whole campaign: its own keys here, its fields, sources and buyers next door."""

from functools import partial

from lexchange.campaign import (
    DATA_FIELDS,
    Campaign,
    CampaignStatus,
    Duplicates,
    DuplicateScope,
    FrozenFields,
    OnChange,
    OnPostReject,
    Routing,
    RoutingMode,
    TrafficType,
)
from lexchange.campaign_file.buyers import read_buyer
from lexchange.campaign_file.fields import read_fields
from lexchange.campaign_file.reading import Reader, Section, Value, list_of, once_each
from lexchange.campaign_file.retention import read_retention
from lexchange.campaign_file.scalars import flag, known_name, label, matching, money, one_of, whole
from lexchange.campaign_file.schedule import read_time_zone
from lexchange.campaign_file.scope import TIMEOUT_MS, Claims, Scope, Setting
from lexchange.campaign_file.sources import NO_PAYOUT, read_payout, read_source
from lexchange.retention import KEEPS_ALL

CAMPAIGN_ID = matching("[a-z0-9_-]{1,64}", "1 to 64 small letters, digits, _ or -")
CURRENCY = matching("[A-Z]{3}", "three capital letters such as USD")
PING_TTL_S = whole(1, 86_400)  # a day
REPEAT_WINDOW_S = whole(1, 86_400)
DUPLICATE_WINDOW_H = whole(1, 87_600)  # ten years
MAX_ATTEMPTS = whole(1, 100)
SELL_TO = whole(1, 20)


def read_campaign(value: Value, setting: Setting, ids: Claims, sources: Claims) -> Campaign:
    """One document. The two claims hold the campaign ids and SRCs that are taken, over all files."""
    with Section(value) as section:
        campaign = section.need("campaign", ids.claiming(CAMPAIGN_ID), "")
        routing = section.take("routing", _read_routing, Routing())
        fields = section.take("fields", read_fields, DATA_FIELDS)
        read_one_source = partial(read_source, setting=setting, names=sources)
        found_sources = section.take("sources", list_of(read_one_source, at_least=0), ())
        scope = Scope(
            setting=setting,
            fields=frozenset(spec.name for spec in fields),
            sources=frozenset(source.src for source in found_sources),
            routing=routing,
            time_zone=section.take("time_zone", read_time_zone, "UTC"),
        )
        duplicates = section.take("duplicates", partial(_read_duplicates, scope=scope), None)
        read_one_buyer = partial(read_buyer, scope=scope, names=Claims())
        return Campaign(
            campaign=campaign,
            name=section.take("name", label, campaign),
            status=section.need("status", one_of(CampaignStatus), CampaignStatus.DRAFT),
            traffic_type=section.need("traffic_type", one_of(TrafficType), TrafficType.PING_POST),
            currency=section.take("currency", CURRENCY, "USD"),
            time_zone=scope.time_zone,
            routing=routing,
            payout=section.need("payout", read_payout, NO_PAYOUT),
            duplicates=duplicates,
            frozen_fields=section.take("frozen_fields", partial(_read_frozen_fields, scope=scope), None),
            repeat_ping_window_s=section.take("repeat_ping", _read_repeat_ping, None),
            retention=section.take("retention", partial(read_retention, scope=scope, duplicates=duplicates), KEEPS_ALL),
            fields=fields,
            sources=found_sources,
            buyers=section.take("buyers", list_of(read_one_buyer, at_least=0), ()),
        )


def _read_routing(value: Value) -> Routing:
    default = Routing()
    with Section(value) as section:
        routing = Routing(
            mode=section.take("mode", one_of(RoutingMode), default.mode),
            ping_timeout_ms=section.take("ping_timeout_ms", TIMEOUT_MS, default.ping_timeout_ms),
            post_timeout_ms=section.take("post_timeout_ms", TIMEOUT_MS, default.post_timeout_ms),
            ping_ttl_s=section.take("ping_ttl_s", PING_TTL_S, default.ping_ttl_s),
            min_bid_micros=section.take("min_bid", money, default.min_bid_micros),
            sell_to=section.take("sell_to", SELL_TO, default.sell_to),
            on_post_reject=section.take("on_post_reject", one_of(OnPostReject), default.on_post_reject),
            allow_loss=section.take("allow_loss", flag, default.allow_loss),
            max_attempts=section.take("max_attempts", MAX_ATTEMPTS, default.max_attempts),
        )
        if routing.sell_to > routing.max_attempts:
            value.report(
                f"expected max_attempts to be at least sell_to; got {routing.max_attempts} and {routing.sell_to}"
            )
        return routing


def _read_duplicates(value: Value, scope: Scope) -> Duplicates:
    with Section(value) as section:
        return Duplicates(
            fields=section.need("fields", _field_names(scope), ()),
            window_h=section.need("window_h", DUPLICATE_WINDOW_H, 1),
            scope=section.take("scope", one_of(DuplicateScope), DuplicateScope.CAMPAIGN),
        )


def _read_frozen_fields(value: Value, scope: Scope) -> FrozenFields:
    with Section(value) as section:
        return FrozenFields(
            fields=section.need("fields", _field_names(scope), ()),
            on_change=section.take("on_change", one_of(OnChange), OnChange.REJECT),
        )


def _field_names(scope: Scope) -> Reader[tuple[str, ...]]:
    return once_each(known_name(scope.fields, "a field of the campaign"))


def _read_repeat_ping(value: Value) -> int:
    with Section(value) as section:
        return section.need("window_s", REPEAT_WINDOW_S, 1)
