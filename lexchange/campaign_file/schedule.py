"""Reads opening hours and time zones."""

import functools
from dataclasses import dataclass
from zoneinfo import ZoneInfo, available_timezones

from lexchange.campaign import OpenHours
from lexchange.campaign_file.reading import Section, Unreadable, Value, did_you_mean, got, list_of, once_each
from lexchange.campaign_file.scalars import choice, matching, text

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_DAY = choice({day: day for day in DAYS})
_FROM = matching("([01][0-9]|2[0-3]):[0-5][0-9]", "a time from 00:00 to 23:59")
_TO = matching("([01][0-9]|2[0-3]):[0-5][0-9]|24:00", "a time from 00:00 to 24:00")


def read_time_zone(value: Value) -> str:
    """A name of the IANA time zone database, such as America/New_York."""
    name = text(value)
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        hint = did_you_mean(value, name, _zones())
        raise Unreadable(value, f"expected a time zone such as America/New_York; {got(value)}{hint}") from error
    return name


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a buyer is open. `time_zone` is None where no entry names one."""

    hours: tuple[OpenHours, ...] = ()
    time_zone: str | None = None


def read_schedule(value: Value) -> Schedule:
    """Opening hours. Entries may name a time zone, all the same one: a buyer lives in one."""
    entries = list_of(_read_entry)(value)
    zones = {zone for _, zone in entries}
    if len(zones) > 1:
        raise Unreadable(value, "expected one time zone for all entries: name it once, on the buyer")
    return Schedule(hours=tuple(hours for hours, _ in entries), time_zone=next(iter(zones), None))


def _read_entry(value: Value) -> tuple[OpenHours, str | None]:
    """One entry; `to` at or before `from` is on the next day."""
    with Section(value) as section:
        hours = OpenHours(
            days=frozenset(DAYS.index(day) for day in section.take("days", once_each(_DAY), DAYS)),
            from_minute=_minute(section.need("from", _FROM, "00:00")),
            to_minute=_minute(section.need("to", _TO, "24:00")),
        )
        return hours, section.take("time_zone", read_time_zone, None)


def _minute(time: str) -> int:
    hours, minutes = time.split(":")
    return int(hours) * 60 + int(minutes)
