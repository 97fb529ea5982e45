"""Reads buyers: who they are, which leads they want and when. Their endpoints are next door."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import partial

from lexchange.breaker import DEFAULT_BREAKER, BreakerMode, BreakerRule
from lexchange.campaign import BidAdjustment, Buyer
from lexchange.campaign_file.access import Access, read_auth, read_tls
from lexchange.campaign_file.endpoints import NO_ENDPOINT, read_ping, read_post
from lexchange.campaign_file.filters import read_filters
from lexchange.campaign_file.reading import Section, Unreadable, Value, once_each
from lexchange.campaign_file.scalars import (
    choice,
    flag,
    known_name,
    label,
    matching,
    money,
    number,
    one_of,
    signed_money,
    whole,
)
from lexchange.campaign_file.schedule import Schedule, read_schedule, read_time_zone
from lexchange.campaign_file.scope import Claims, Scope
from lexchange.campaign_file.sources import read_buyer_caps, read_ping_limit
from lexchange.filters import AllOf

BUYER_ID = matching("[A-Za-z0-9_.-]{1,64}", "1 to 64 letters, digits, _, . or -")
PRIORITY = whole(0, 1_000_000)
WEIGHT = whole(0, 1_000_000)
CONNECTIONS = whole(1, 1_000)


def read_buyer(value: Value, scope: Scope, names: Claims) -> Buyer:
    """One buyer. Without `ping` he needs `bid`; with it, `bid` or the ping's `bid_path`."""
    with Section(value) as section:
        buyer = section.need("buyer", names.claiming(BUYER_ID), "")
        has_bid, has_ping = bool(section.given("bid")), bool(section.given("ping"))
        if not has_bid and not has_ping:
            value.report("missing key bid: a buyer without ping needs one")
        only, excepted = section.take("sources", partial(_read_sources, scope=scope), (None, frozenset()))
        schedule = section.take("schedule", read_schedule, Schedule())
        time_zone = section.take("time_zone", read_time_zone, schedule.time_zone)
        if schedule.time_zone not in (None, time_zone):
            value.report(f"schedule and time_zone differ: {schedule.time_zone} and {time_zone}")
        access = _read_access(section, scope)
        return Buyer(
            buyer=buyer,
            name=section.take("name", label, buyer),
            is_active=section.take("status", choice({"active": True, "paused": False}), True),
            priority=section.take("priority", PRIORITY, 1),
            weight=section.take("weight", WEIGHT, 1),
            bid_micros=section.take("bid", money, None),
            bid_adjustment=section.take("bid_adjustment", _read_bid_adjustment, None),
            is_exclusive=section.take("exclusive", flag, False),
            filters=section.take("filters", partial(read_filters, scope=scope), AllOf(rules=())),
            only_sources=only,
            except_sources=excepted,
            caps=section.take("caps", partial(read_buyer_caps, scope=scope), ()),
            ping_limit_per_second=section.take("ping_limit", read_ping_limit, None),
            schedule=schedule.hours,
            time_zone=time_zone,
            breaker=section.take("breaker", _read_breaker, DEFAULT_BREAKER),
            ping=section.take("ping", partial(read_ping, scope=scope, access=access, has_bid=has_bid), None),
            post=section.need("post", partial(read_post, scope=scope, access=access, has_ping=has_ping), NO_ENDPOINT),
        )


def _read_access(section: Section, scope: Scope) -> Access:
    tls = section.take("tls", partial(read_tls, setting=scope.setting), None)
    access = section.take("auth", partial(read_auth, setting=scope.setting, tls=tls), Access(tls=tls))
    return replace(access, connection_limit=section.take("connection_limit", CONNECTIONS, None))


def _read_sources(value: Value, scope: Scope) -> tuple[frozenset[str] | None, frozenset[str]]:
    read_names = once_each(known_name(scope.sources, "a source of the campaign"))
    with Section(value) as section:
        given = section.given("only", "except")
        if len(given) != 1:
            raise Unreadable(value, f"expected either only or except; got {' and '.join(given) or 'neither'}")
        if given == ["only"]:
            return frozenset(section.need("only", read_names, ())), frozenset()
        return None, frozenset(section.need("except", read_names, ()))


def _read_bid_adjustment(value: Value) -> BidAdjustment:
    with Section(value) as section:
        if not section.given("percent", "amount"):
            raise Unreadable(value, "expected percent, amount, or both")
        percent = section.take("percent", partial(number, low=-99, high=1_000), Decimal(0))
        amount_micros = section.take("amount", signed_money, 0)
        return BidAdjustment(factor=1 + Fraction(percent) / 100, amount_micros=amount_micros)


def _read_breaker(value: Value) -> BreakerRule:
    default = DEFAULT_BREAKER
    with Section(value) as section:
        rule = BreakerRule(
            mode=section.take("mode", one_of(BreakerMode), BreakerMode.ENFORCE),
            failures=section.take("failures", whole(1, 10_000), default.failures),
            percent=section.take("percent", whole(1, 100), default.percent),
            of=section.take("of", whole(1, 1_000_000), default.of),
            within_s=section.take("within_s", whole(1, 3_600), default.within_s),
            pause_s=section.take("pause_s", whole(1, 86_400), default.pause_s),
            max_pause_s=section.take("max_pause_s", whole(1, 86_400), default.max_pause_s),
        )
        if rule.max_pause_s < rule.pause_s:
            value.report(f"expected max_pause_s to be at least pause_s; got {rule.max_pause_s} and {rule.pause_s}")
        return rule
