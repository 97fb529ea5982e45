"""Reads `retention`: ages that no window of the campaign outlives, so that a purge changes no answer."""

from functools import partial

from lexchange.campaign import Duplicates
from lexchange.campaign_file.reading import Section, Unreadable, Value, once_each
from lexchange.campaign_file.scalars import known_name, whole
from lexchange.campaign_file.scope import Scope
from lexchange.retention import Retention

DAYS = whole(1, 36_500)  # a hundred years; a day is as long as any ping lives or is repeated
DAY_H = 24


def read_retention(value: Value, scope: Scope, duplicates: Duplicates | None) -> Retention:
    """The ages, each of which may be left out."""
    with Section(value) as section:
        ping_days = section.take("ping_days", DAYS, None)
        lead_days = section.take("lead_days", partial(_lead_days, ping_days=ping_days, duplicates=duplicates), None)
        lead_data_days = section.take("lead_data_days", partial(_lead_data_days, lead_days=lead_days), None)
        kept_fields = section.take("keep_fields", once_each(known_name(scope.fields, "a field of the campaign")), ())
        if kept_fields and lead_data_days is None:
            value.report("expected lead_data_days beside keep_fields, which is what outlasts it")
        return Retention(
            ping_days=ping_days, lead_days=lead_days, lead_data_days=lead_data_days, kept_fields=kept_fields
        )


def _lead_days(value: Value, ping_days: int | None, duplicates: Duplicates | None) -> int:
    days = DAYS(value)
    if duplicates is not None and days * DAY_H < duplicates.window_h:
        least = -(-duplicates.window_h // DAY_H)
        raise Unreadable(value, f"expected at least {least}, the {duplicates.window_h} h of duplicates; got {days}")
    if ping_days is not None and days < ping_days:
        raise Unreadable(value, f"expected at least ping_days, {ping_days}; got {days}")
    return days


def _lead_data_days(value: Value, lead_days: int | None) -> int:
    days = DAYS(value)
    if lead_days is not None and days >= lead_days:
        raise Unreadable(value, f"expected fewer than lead_days, {lead_days}; got {days}")
    return days
