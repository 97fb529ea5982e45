from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from lexchange.campaign import AnswerRule, AnswerRules, Buyer, BuyerDelivery, Cap, CapWindow, OpenHours
from lexchange.caps import lead_takes
from lexchange.eligibility import Moment, compile_filter, first_skip, is_open, source_allowed
from lexchange.filters import AllOf, FieldRule, FilterOp
from lexchange.lead import SkipReason

NEW_YORK = ZoneInfo("America/New_York")
WEEKDAYS = frozenset(range(5))
EVERY_DAY = frozenset(range(7))


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


TUESDAY_NOON = at("2026-11-24T12:00:00-05:00")


# ------------------------------------------------------------------------------------------------ schedules

OFFICE = OpenHours(days=WEEKDAYS, from_minute=8 * 60, to_minute=20 * 60)
NIGHT = OpenHours(days=frozenset({4}), from_minute=22 * 60, to_minute=6 * 60)  # Friday into Saturday
WHOLE_MONDAY = OpenHours(days=frozenset({0}), from_minute=0, to_minute=24 * 60)
FROM_MONDAY_NOON = OpenHours(days=frozenset({0}), from_minute=12 * 60, to_minute=12 * 60)
SUNDAY_NIGHT = OpenHours(days=frozenset({6}), from_minute=22 * 60, to_minute=6 * 60)


@pytest.mark.parametrize(
    ("row", "when", "expected"),
    [
        (OFFICE, "2026-11-24T07:59:59.999", False),
        (OFFICE, "2026-11-24T08:00:00", True),
        (OFFICE, "2026-11-24T19:59:59.999", True),
        (OFFICE, "2026-11-24T20:00:00", False),
        (OFFICE, "2026-11-28T12:00:00", False),
        (NIGHT, "2026-11-27T21:59:59", False),
        (NIGHT, "2026-11-27T22:00:00", True),
        (NIGHT, "2026-11-28T05:59:59", True),
        (NIGHT, "2026-11-28T06:00:00", False),
        (NIGHT, "2026-11-27T05:00:00", False),
        (NIGHT, "2026-11-28T22:00:00", False),
        (SUNDAY_NIGHT, "2026-11-29T23:00:00", True),
        (SUNDAY_NIGHT, "2026-11-30T05:59:59", True),
        (SUNDAY_NIGHT, "2026-11-29T05:00:00", False),
        (WHOLE_MONDAY, "2026-11-29T23:59:59", False),
        (WHOLE_MONDAY, "2026-11-30T00:00:00", True),
        (WHOLE_MONDAY, "2026-11-30T23:59:59", True),
        (WHOLE_MONDAY, "2026-12-01T00:00:00", False),
        (FROM_MONDAY_NOON, "2026-11-30T11:59:00", False),
        (FROM_MONDAY_NOON, "2026-11-30T12:00:00", True),
        (FROM_MONDAY_NOON, "2026-12-01T11:59:00", True),
        (FROM_MONDAY_NOON, "2026-12-01T12:00:00", False),
    ],
)
def test_is_open_follows_the_row_when_time_passes(row, when, expected) -> None:
    """The first minute belongs to a row, the last does not; a row over midnight belongs to the day it began."""
    assert is_open((row,), NEW_YORK, at(f"{when}-05:00")) is expected


def test_is_open_needs_one_row_when_there_are_several() -> None:
    """Any open row is enough, and no row at all is always open."""
    assert is_open((NIGHT, OFFICE), NEW_YORK, TUESDAY_NOON)
    assert not is_open((NIGHT, WHOLE_MONDAY), NEW_YORK, TUESDAY_NOON)
    assert is_open((), NEW_YORK, TUESDAY_NOON)


def test_is_open_uses_the_zone_when_buyers_live_elsewhere() -> None:
    """08:00 in New York is 05:00 in Los Angeles, where the office is still closed."""
    morning = at("2026-11-24T08:00:00-05:00")
    assert is_open((OFFICE,), NEW_YORK, morning)
    assert not is_open((OFFICE,), ZoneInfo("America/Los_Angeles"), morning)


@pytest.mark.parametrize(
    ("from_minute", "to_minute", "when", "expected"),
    [
        (135, 165, "2026-03-08T01:59:00-05:00", False),
        (135, 165, "2026-03-08T03:00:00-04:00", False),
        (150, 240, "2026-03-08T01:59:00-05:00", False),
        (150, 240, "2026-03-08T03:00:00-04:00", True),
        (60, 150, "2026-03-08T01:59:00-05:00", True),
        (60, 150, "2026-03-08T03:00:00-04:00", False),
        (1320, 180, "2026-03-08T01:59:00-05:00", True),
        (1320, 180, "2026-03-08T03:00:00-04:00", False),
        (75, 105, "2026-11-01T01:30:00-04:00", True),
        (75, 105, "2026-11-01T01:45:00-04:00", False),
        (75, 105, "2026-11-01T01:00:00-05:00", False),
        (75, 105, "2026-11-01T01:30:00-05:00", True),
        (0, 120, "2026-11-01T01:59:00-04:00", True),
        (0, 120, "2026-11-01T01:59:00-05:00", True),
        (0, 120, "2026-11-01T02:00:00-05:00", False),
    ],
)
def test_is_open_follows_the_wall_clock_when_clocks_change(from_minute, to_minute, when, expected) -> None:
    """Rows in the hour that spring skips stay shut; rows in the hour that autumn repeats are open twice."""
    row = OpenHours(days=EVERY_DAY, from_minute=from_minute, to_minute=to_minute)
    assert is_open((row,), NEW_YORK, at(when)) is expected


# --------------------------------------------------------------------------------------------------- buyers

ACME = Buyer(
    buyer="acme",
    name="Acme Insurance",
    post=BuyerDelivery(
        url="https://acme.example/post",
        timeout_ms=5000,
        fields=(),
        answer=AnswerRules(accepted=AnswerRule(http_status=(200,))),
    ),
    filters=AllOf(rules=(FieldRule(field="state", op=FilterOp.EQ, value=("CA",)),)),
    except_sources=frozenset({"SRC_BAD"}),
    caps=(Cap(window=CapWindow.DAY, limit=100), Cap(window=CapWindow.MONTH, budget_micros=5_000_000_000)),
    schedule=(OFFICE,),
)
LEADS, MONEY = "home:buyer:acme:leads:day:2026-11-24", "home:buyer:acme:money:month:2026-11"


UNUSED: dict[str, int] = {}
FULL = {LEADS: 100, MONEY: 5_000_000_000}


def skip(
    buyer: Buyer,
    used: dict[str, int] = UNUSED,
    *,
    src: str = "SRC_MAIN",
    state: str = "CA",
    now_ms: int = TUESDAY_NOON,
) -> tuple[SkipReason, str] | None:
    moment = Moment(src=src, data={"state": state}, now_ms=now_ms, used=used)
    failed_rule = compile_filter(buyer.filters)
    takes = lead_takes(buyer.caps, "home:buyer:acme", moment.now_ms, NEW_YORK, 0, src=moment.src)
    return first_skip(buyer, moment, zone=NEW_YORK, failed_rule=failed_rule, takes=takes)


@pytest.mark.parametrize(
    ("only", "excluded", "expected"),
    [
        (None, frozenset(), True),
        (frozenset({"SRC_MAIN"}), frozenset(), True),
        (frozenset({"SRC_OTHER"}), frozenset(), False),
        (frozenset(), frozenset(), False),
        (None, frozenset({"SRC_MAIN"}), False),
        (None, frozenset({"SRC_OTHER"}), True),
        (None, frozenset({"src_main"}), True),
    ],
)
def test_source_allowed_obeys_both_lists_when_a_buyer_is_choosy(only, excluded, expected) -> None:
    """`only` lets in whom it names, `except` keeps out whom it names; SRC is exact."""
    assert source_allowed(replace(ACME, only_sources=only, except_sources=excluded), "SRC_MAIN") is expected


def test_first_skip_is_none_when_nothing_speaks_against_the_buyer() -> None:
    """An active buyer who takes the source, is open, likes the lead and has room is asked."""
    assert skip(ACME) is None
    assert skip(replace(ACME, filters=AllOf(rules=()), caps=(), schedule=())) is None


NIGHTTIME = at("2026-11-24T21:05:00-05:00")


def test_first_skip_gives_the_first_reason_when_all_apply() -> None:
    """Reasons come in the order of SkipReason; taking one away shows the next."""
    paused = replace(ACME, is_active=False)
    assert skip(paused, FULL, src="SRC_BAD", now_ms=NIGHTTIME, state="TX") == (SkipReason.PAUSED, "")
    assert skip(ACME, FULL, src="SRC_BAD", now_ms=NIGHTTIME, state="TX") == (
        SkipReason.SOURCE_EXCLUDED,
        "takes nothing from SRC_BAD",
    )
    assert skip(ACME, FULL, now_ms=NIGHTTIME, state="TX") == (
        SkipReason.CLOSED,
        "closed on Tue 21:05 America/New_York",
    )
    assert skip(ACME, FULL, state="TX") == (SkipReason.FILTERED, "state eq CA: was TX")
    assert skip(ACME, FULL) == (SkipReason.CAP_REACHED, "leads per day 2026-11-24: 100 of 100 used")
    assert skip(ACME, {MONEY: 5_000_000_000}) == (
        SkipReason.CAP_REACHED,
        "money per month 2026-11: 5000 of 5000 used",
    )


@pytest.mark.parametrize(("leads", "is_skipped"), [(98, False), (99, False), (100, True), (101, True)])
def test_first_skip_minds_the_cap_when_it_is_nearly_full(leads, is_skipped) -> None:
    """The hundredth lead of 100 may still be offered."""
    assert (skip(ACME, {LEADS: leads}) is not None) is is_skipped
