"""Reads sources with their keys, and the payout rules and caps that campaigns and buyers have too."""

import re
from dataclasses import replace
from fractions import Fraction
from functools import partial

from lexchange.campaign import (
    Cap,
    CapCounts,
    CapReserve,
    CapWindow,
    PayoutMode,
    PayoutRule,
    Source,
    SourceKey,
)
from lexchange.campaign_file.reading import Section, Unreadable, Value, list_of
from lexchange.campaign_file.scalars import choice, day, known_name, label, matching, money, one_of, share, text, whole
from lexchange.campaign_file.schedule import read_time_zone
from lexchange.campaign_file.scope import Claims, Scope, Setting
from lexchange.keys import hash_key

SRC = matching("[!-~]{1,128}", "1 to 128 ASCII letters, digits or signs, no spaces")
PER_SECOND = whole(1, 1_000_000)
CAP_LIMIT = whole(1, 1_000_000_000_000)
NO_PAYOUT = PayoutRule(mode=PayoutMode.FIXED)


def read_source(value: Value, setting: Setting, names: Claims) -> Source:
    """One source. A SRC is claimed over all campaigns, because it tells a call's campaign."""
    with Section(value) as section:
        src = section.need("src", names.claiming(SRC), "")
        return Source(
            src=src,
            name=section.take("name", label, src),
            keys=section.need("keys", partial(_read_keys, setting=setting), ()),
            is_enabled=section.take("status", choice({"enabled": True, "disabled": False}), True),
            payout=section.take("payout", read_payout, None),
            min_bid_micros=section.take("min_bid", money, 0),
            caps=section.take("caps", _read_source_caps, ()),
            ping_limit_per_second=section.take("ping_limit", read_ping_limit, None),
        )


def read_ping_limit(value: Value) -> int:
    """How often a source may ask, or a buyer be asked."""
    with Section(value) as section:
        return section.need("per_second", PER_SECOND, 1)


def _read_keys(value: Value, setting: Setting) -> tuple[SourceKey, ...]:
    keys = list_of(partial(_read_key, setting=setting))(value)
    if len(set(keys)) < len(keys):
        raise Unreadable(value, "expected different keys; got one twice")
    return keys


def _read_key(value: Value, setting: Setting) -> SourceKey:
    with Section(value) as section:
        plain, hashed = section.find("key"), section.find("hash")
        if (plain and hashed) or not (plain or hashed):
            raise Unreadable(value, "expected either hash, as `lexchange key new` prints it, or key with --dev")
        if hashed:
            return SourceKey(hmac_hex=section.need("hash", _read_hash, ""))
        return SourceKey(hmac_hex=section.need("key", partial(_hash_plain, setting=setting), ""))


def _read_hash(value: Value) -> str:
    written = text(value)
    if not re.fullmatch("[0-9a-fA-F]{64}", written):
        raise Unreadable(value, "expected 64 hexadecimal digits, as `lexchange key new` prints them")
    return written.lower()


def _hash_plain(value: Value, setting: Setting) -> str:
    if not setting.is_dev:
        raise Unreadable(value, "a plain key is for --dev only: put the hash that `lexchange key new` prints")
    return hash_key(text(value), setting.pepper)


UNUSED_BY_MODE = {
    PayoutMode.REVENUE_SHARE: ("amount",),
    PayoutMode.FIXED: ("share", "min", "max"),
    PayoutMode.MARGIN: ("share", "min_margin"),
}


def read_payout(value: Value) -> PayoutRule:
    """How a bid becomes a payout: revenue_share with `share`, fixed and margin with `amount`; and its bounds."""
    with Section(value) as section:
        mode = section.need("mode", one_of(PayoutMode), None)
        for key in UNUSED_BY_MODE.get(mode, ()) if mode else ():
            section.refuse(key, f"not used with mode {mode}")
        part, amount_micros = Fraction(0), 0
        if mode is PayoutMode.REVENUE_SHARE:
            part = section.need("share", share, part)
        elif mode is not None:
            amount_micros = section.need("amount", money, amount_micros)
        section.given("share", "amount")
        rule = PayoutRule(
            mode=mode or NO_PAYOUT.mode,
            share=part,
            amount_micros=amount_micros,
            min_micros=section.take("min", money, 0),
            max_micros=section.take("max", money, None),
            min_margin_micros=section.take("min_margin", money, 0),
        )
    if rule.max_micros is not None and rule.max_micros < rule.min_micros:
        raise Unreadable(value, "expected max to be at least min")
    return rule


def _read_source_caps(value: Value) -> tuple[Cap, ...]:
    return list_of(partial(_read_source_cap, taken=Claims()))(value)


def read_buyer_caps(value: Value, scope: Scope) -> tuple[Cap, ...]:
    """A buyer's caps: on leads or money, on all sources or one, and maybe reserved when a ping is won."""
    return list_of(partial(_read_buyer_cap, scope=scope, taken=Claims()))(value)


def _read_source_cap(value: Value, taken: Claims) -> Cap:
    with Section(value) as section:
        counts = section.take("counts", one_of(CapCounts), CapCounts.LEADS)
        section.refuse("reserve", "only for caps of a buyer")
        section.refuse("source", "only for caps of a buyer: this one is its source's already")
        cap = _read_cap(section, counts, CapReserve.POST)
    _claim_cap(value, cap, taken)
    return cap


def _read_buyer_cap(value: Value, scope: Scope, taken: Claims) -> Cap:
    read_src = known_name(scope.sources, "a source of the campaign")
    with Section(value) as section:
        src = section.take("source", read_src, None)
        reserve = section.take("reserve", one_of(CapReserve), CapReserve.POST)
        section.refuse("counts", "only for caps of a source; how often a buyer is asked is his ping_limit")
        cap = replace(_read_cap(section, CapCounts.LEADS, reserve), src=src)
    _claim_cap(value, cap, taken)
    return cap


def _read_cap(section: Section, counts: CapCounts, reserve: CapReserve) -> Cap:
    window = section.need("window", one_of(CapWindow), CapWindow.TOTAL)
    limit = section.take("limit", CAP_LIMIT, None)
    budget_micros = section.take("budget", _read_budget, None)
    given = section.given("limit", "budget")
    if len(given) != 1:
        raise Unreadable(section.value, f"expected either limit or budget; got {' and '.join(given) or 'neither'}")
    if given == ["budget"] and counts is CapCounts.PINGS:
        raise Unreadable(section.value, "expected limit: pings have no money to budget")
    from_day, until_day = section.take("from", day, None), section.take("until", day, None)
    if from_day and until_day and until_day < from_day:
        raise Unreadable(section.value, "expected until to be from or a later day")
    return Cap(
        window=window,
        limit=limit,
        budget_micros=budget_micros,
        counts=counts,
        reserve=reserve,
        from_day=from_day,
        until_day=until_day,
        time_zone=section.take("time_zone", read_time_zone, None),
    )


def _read_budget(value: Value) -> int:
    budget_micros = money(value)
    if budget_micros == 0:
        raise Unreadable(value, "expected more than 0: to stop, set the status")
    return budget_micros


def _claim_cap(value: Value, cap: Cap, taken: Claims) -> None:
    unit = "money" if cap.limit is None else cap.counts.value
    of_source = f" from {cap.src}" if cap.src else ""
    if cap.from_day is None and cap.until_day is None:  # those with days may follow each other
        taken.claim(value, f"the cap on {unit}{of_source} per {cap.window}")
