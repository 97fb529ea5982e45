"""Caps: which counters a lead or a ping takes from, and where their windows begin. The store counts.

A counter is `campaign:source:SRC:unit:window:label` or `campaign:buyer:…`, for example
`home:source:SRC_MAIN:pings:day:2026-11-24`. Only SRC or the buyer's id may hold a colon, so that no two
counters share a name. Caps on the same unit and window share a counter, whatever their limits, and take from it
once; a cap with a source, days or a time zone of its own has a counter of its own, which says so.
"""

import functools
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from lexchange.campaign import Cap, CapCounts, CapReserve, CapWindow
from lexchange.lead import CapTake
from lexchange.money import format_micros

MINUTE_MS = 60_000
A_DAY = timedelta(days=1)  # clocks of two zones are further apart than none


def source_owner(campaign: str, src: str) -> str:
    """Who a source's counters belong to."""
    return f"{campaign}:source:{src}"


def buyer_owner(campaign: str, buyer: str) -> str:
    """Who a buyer's counters belong to."""
    return f"{campaign}:buyer:{buyer}"


def buyer_of_owner(owner: str) -> tuple[str, str]:
    """Campaign and buyer that an owner stands for."""
    campaign, _, buyer = owner.partition(":buyer:")
    return campaign, buyer


def campaign_of(counter: str) -> str:
    """The campaign that a counter belongs to."""
    return counter.partition(":")[0]


def lead_takes(
    caps: tuple[Cap, ...],
    owner: str,
    now_ms: int,
    zone: ZoneInfo,
    amount_micros: int,
    *,
    src: str,
    reserve: CapReserve | None = None,
) -> tuple[CapTake, ...]:
    """What one lead of `amount_micros` from the source takes: 1 of each limit, the amount of each budget.

    With `reserve` only what is taken at that moment; every cap is taken at exactly one of the two. A counter that
    one cap wants early is taken early for all caps on it.
    """
    return _lead_takes(caps, owner, now_ms // MINUTE_MS, zone, amount_micros, src=src, reserve=reserve)


def ping_takes(caps: tuple[Cap, ...], owner: str, now_ms: int, zone: ZoneInfo) -> tuple[CapTake, ...]:
    """What one ping takes: 1 of each limit on pings."""
    return _ping_takes(caps, owner, now_ms // MINUTE_MS, zone)


def full_cap(takes: Iterable[CapTake], used: Mapping[str, int]) -> CapTake | None:
    """The first take that does not fit any more. A counter that is not in `used` stands at 0.

    A take of 0 asks for the smallest amount: before the bid is known, a budget is full when it is used up.
    """
    for take in takes:
        if used.get(take.counter, 0) + (take.amount or 1) > take.limit:
            return take
    return None


def is_money(take: CapTake) -> bool:
    """Whether the take is of a budget, in micros, and not a count."""
    return take.counter.rsplit(":", 3)[1] == "money"


def describe_full(take: CapTake, used: Mapping[str, int]) -> str:
    """For people: `leads per day 2026-11-24: 100 of 100 used`."""
    unit, window, label = take.counter.rsplit(":", 3)[1:]
    so_far, limit = used.get(take.counter, 0), take.limit
    if unit == "money":
        return f"money per {window} {label}: {format_micros(so_far)} of {format_micros(limit)} used"
    return f"{unit} per {window} {label}: {so_far} of {limit} used"


@functools.lru_cache(maxsize=1024)
def local_minute(minute: int, zone: ZoneInfo) -> datetime:
    """A zone's wall clock at a minute since the epoch; since 1972 no zone has changed within a minute."""
    return datetime.fromtimestamp(minute * 60, zone)


@functools.lru_cache(maxsize=1024)
def window_label(window: CapWindow, minute: int, zone: ZoneInfo) -> str:
    """The window that a minute falls into: `2026-11-24`, `2026-W48` (from Monday), `2026-11`, `all`.

    Hours are hours of UTC, `2026-11-24T14Z`: the hour that autumn repeats is two windows, each of 60 minutes.
    Kept, because every cap of every buyer asks for the same few.
    """
    if window is CapWindow.TOTAL:
        return "all"
    if window is CapWindow.HOUR:
        return f"{datetime.fromtimestamp(minute * 60, UTC):%Y-%m-%dT%HZ}"
    local = local_minute(minute, zone)
    if window is CapWindow.DAY:
        return f"{local:%Y-%m-%d}"
    if window is CapWindow.MONTH:
        return f"{local:%Y-%m}"
    year, week, _ = local.isocalendar()
    return f"{year}-W{week:02d}"


def ended_before(counter: str, day: date) -> bool:
    """Whether the window of a counter was over before a day, in any time zone; the window `total` never is."""
    window, label = counter.rsplit(":", 2)[1:]
    label = label.partition(" ")[0]
    if window == CapWindow.TOTAL:
        return False
    if window == CapWindow.WEEK:
        return date.fromisocalendar(int(label[:4]), int(label[6:]), 7) < day - A_DAY
    if window == CapWindow.MONTH:
        return label < f"{day - A_DAY:%Y-%m}"
    return date.fromisoformat(label[:10]) < day - A_DAY


# Kept, because a lead asks for the same takes when it is checked, offered and sold; many leads share a minute.
@functools.lru_cache(maxsize=4096)
def _lead_takes(
    caps: tuple[Cap, ...],
    owner: str,
    minute: int,
    zone: ZoneInfo,
    amount_micros: int,
    *,
    src: str,
    reserve: CapReserve | None,
) -> tuple[CapTake, ...]:
    counted = [cap for cap in caps if cap.counts is CapCounts.LEADS and cap.src in (None, src)]
    if reserve is not None:
        early = {_counted_as(cap) for cap in counted if cap.reserve is CapReserve.PING}
        wants_early = reserve is CapReserve.PING
        counted = [cap for cap in counted if (_counted_as(cap) in early) is wants_early]
    return _takes(counted, owner, minute, zone, amount_micros)


@functools.lru_cache(maxsize=1024)
def _ping_takes(caps: tuple[Cap, ...], owner: str, minute: int, zone: ZoneInfo) -> tuple[CapTake, ...]:
    return _takes([cap for cap in caps if cap.counts is CapCounts.PINGS], owner, minute, zone, 0)


def _takes(caps: Iterable[Cap], owner: str, minute: int, zone: ZoneInfo, amount_micros: int) -> tuple[CapTake, ...]:
    """One take for each counter, at the lowest of its limits."""
    takes: dict[str, CapTake] = {}
    for cap in caps:
        place = ZoneInfo(cap.time_zone) if cap.time_zone else zone
        if not _holds(cap, minute, place):
            continue
        counter = _counter(cap, owner, minute, place)
        if cap.budget_micros is not None:
            take = CapTake(counter=counter, amount=amount_micros, limit=cap.budget_micros)
        else:
            assert cap.limit is not None
            take = CapTake(counter=counter, amount=1, limit=cap.limit)
        known = takes.get(counter)
        if known is None or take.limit < known.limit:
            takes[counter] = take
    return tuple(takes.values())


def _holds(cap: Cap, minute: int, zone: ZoneInfo) -> bool:
    """Whether the cap holds on this day."""
    if cap.from_day is None and cap.until_day is None:
        return True
    today = local_minute(minute, zone).date()
    return (cap.from_day or today) <= today <= (cap.until_day or today)


def _counter(cap: Cap, owner: str, minute: int, zone: ZoneInfo) -> str:
    name = ":".join((owner, cap.src) if cap.src else (owner,))
    label = window_label(cap.window, minute, zone)
    if cap.from_day or cap.until_day:
        label += f" within {cap.from_day or ''}..{cap.until_day or ''}"
    if cap.time_zone:
        label += f" in {cap.time_zone}"
    return f"{name}:{_unit(cap)}:{cap.window}:{label}"


def _counted_as(cap: Cap) -> tuple[object, ...]:
    """What caps on one counter have in common."""
    return _unit(cap), cap.window, cap.src, cap.from_day, cap.until_day, cap.time_zone


def _unit(cap: Cap) -> str:
    return "money" if cap.budget_micros is not None else cap.counts
