"""Retention: how long a campaign's pings and leads are kept, and what of them is due. Pure.

A lead goes in two steps: first what it says of a person, then, years later perhaps, the row with its money.
"""

from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum

from lexchange.frozen import frozen

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


class Part(StrEnum):
    """What goes at an age of its own."""

    PINGS = "pings"
    LEAD_DATA = "lead_data"
    LEADS = "leads"


@frozen
class Retention:
    """Ages in days; what has none is kept. `kept_fields` outlast the rest of a lead's values."""

    ping_days: int | None = None
    lead_days: int | None = None
    lead_data_days: int | None = None
    kept_fields: tuple[str, ...] = ()

    def days(self, part: Part) -> int | None:
        """The age at which a part goes."""
        return {Part.PINGS: self.ping_days, Part.LEAD_DATA: self.lead_data_days, Part.LEADS: self.lead_days}[part]


KEEPS_ALL = Retention()


@frozen
class Due:
    """A part of these campaigns is due where it is older than `before_ms`."""

    part: Part
    campaigns: tuple[str, ...]
    before_ms: int


def due(retentions: Mapping[str, Retention], now_ms: int, at_least_h: int) -> list[Due]:
    """What is due now; campaigns with one age share one walk through the table. Nothing goes before `at_least_h`.

    Personal values come first, and pings before the leads that they became.
    """
    found = []
    for part in (Part.LEAD_DATA, Part.PINGS, Part.LEADS):
        by_days: dict[int, list[str]] = defaultdict(list)
        for campaign, retention in retentions.items():
            if (days := retention.days(part)) is not None:
                by_days[days].append(campaign)
        for days, campaigns in sorted(by_days.items()):
            before_ms = now_ms - max(days * DAY_MS, at_least_h * HOUR_MS)
            found.append(Due(part=part, campaigns=tuple(sorted(campaigns)), before_ms=before_ms))
    return found
