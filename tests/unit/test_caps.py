from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexchange.campaign import Cap, CapCounts, CapReserve, CapWindow
from lexchange.caps import (
    buyer_owner,
    describe_full,
    full_cap,
    is_money,
    lead_takes,
    ping_takes,
    source_owner,
    window_label,
)
from lexchange.lead import CapTake

NEW_YORK = ZoneInfo("America/New_York")
KOLKATA = ZoneInfo("Asia/Kolkata")
UTC = ZoneInfo("UTC")

DAY_100 = Cap(window=CapWindow.DAY, limit=100)
MONTH_5000 = Cap(window=CapWindow.MONTH, budget_micros=5_000_000_000)
PINGS_100 = Cap(window=CapWindow.DAY, limit=100, counts=CapCounts.PINGS)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def label_at(window: CapWindow, now_ms: int, zone: ZoneInfo) -> str:
    return window_label(window, now_ms // 60_000, zone)


NOON = at("2026-11-24T12:00:00-05:00")


@pytest.mark.parametrize(
    ("window", "label"),
    [
        (CapWindow.HOUR, "2026-11-24T17Z"),
        (CapWindow.DAY, "2026-11-24"),
        (CapWindow.WEEK, "2026-W48"),
        (CapWindow.MONTH, "2026-11"),
        (CapWindow.TOTAL, "all"),
    ],
)
def test_window_label_names_the_window_when_asked_at_noon(window, label) -> None:
    """Each window has one name as long as it lasts."""
    assert label_at(window, NOON, NEW_YORK) == label


@pytest.mark.parametrize(
    ("window", "when", "label"),
    [
        (CapWindow.DAY, "2026-11-24T04:59:59.999+00:00", "2026-11-23"),
        (CapWindow.DAY, "2026-11-24T05:00:00+00:00", "2026-11-24"),
        (CapWindow.WEEK, "2026-11-29T23:59:59.999-05:00", "2026-W48"),
        (CapWindow.WEEK, "2026-11-30T00:00:00-05:00", "2026-W49"),
        (CapWindow.WEEK, "2027-01-03T12:00:00-05:00", "2026-W53"),
        (CapWindow.WEEK, "2027-01-04T00:00:00-05:00", "2027-W01"),
        (CapWindow.MONTH, "2026-12-01T04:59:59.999+00:00", "2026-11"),
        (CapWindow.MONTH, "2026-12-01T05:00:00+00:00", "2026-12"),
        (CapWindow.DAY, "2028-02-29T12:00:00-05:00", "2028-02-29"),
        (CapWindow.HOUR, "2026-11-24T16:59:59.999+00:00", "2026-11-24T16Z"),
        (CapWindow.HOUR, "2026-11-24T17:00:00+00:00", "2026-11-24T17Z"),
    ],
)
def test_window_label_changes_when_the_zone_says_so(window, when, label) -> None:
    """Days, weeks (from Monday) and months begin at midnight in the campaign's zone."""
    assert label_at(window, at(when), NEW_YORK) == label


def test_window_label_has_two_hours_when_autumn_repeats_one() -> None:
    """01:30 comes twice on 1 November 2026; each is an hour of its own, in one and the same day."""
    first, second = at("2026-11-01T01:30:00-04:00"), at("2026-11-01T01:30:00-05:00")
    assert label_at(CapWindow.HOUR, first, NEW_YORK) == "2026-11-01T05Z"
    assert label_at(CapWindow.HOUR, second, NEW_YORK) == "2026-11-01T06Z"
    assert label_at(CapWindow.DAY, first, NEW_YORK) == "2026-11-01"
    assert label_at(CapWindow.DAY, second, NEW_YORK) == "2026-11-01"


def test_window_label_skips_no_window_when_spring_skips_an_hour() -> None:
    """The minute before and the minute after the gap are neighbouring hours of one day."""
    before, after = at("2026-03-08T01:59:00-05:00"), at("2026-03-08T03:00:00-04:00")
    assert label_at(CapWindow.HOUR, before, NEW_YORK) == "2026-03-08T06Z"
    assert label_at(CapWindow.HOUR, after, NEW_YORK) == "2026-03-08T07Z"
    assert label_at(CapWindow.DAY, before, NEW_YORK) == "2026-03-08"
    assert label_at(CapWindow.DAY, after, NEW_YORK) == "2026-03-08"


@pytest.mark.parametrize(
    ("when", "hours"), [("2026-03-08", 23), ("2026-11-01", 25), ("2026-11-24", 24), ("2026-02-28", 24)]
)
def test_window_label_gives_a_day_its_hours_when_clocks_change(when, hours) -> None:
    """A day in New York has 23, 24 or 25 hour windows, all different."""
    start = int(datetime.fromisoformat(f"{when}T00:00").replace(tzinfo=NEW_YORK).timestamp()) * 1000
    instants = [start + step * 60_000 for step in range(26 * 60)]
    inside = [now for now in instants if label_at(CapWindow.DAY, now, NEW_YORK) == when]
    assert len({label_at(CapWindow.HOUR, now, NEW_YORK) for now in inside}) == hours


def test_window_label_counts_hours_of_utc_when_the_zone_is_half_an_hour_off() -> None:
    """In Kolkata an hour window begins at half past, local time."""
    assert label_at(CapWindow.HOUR, at("2026-11-24T10:29:00+05:30"), KOLKATA) == "2026-11-24T04Z"
    assert label_at(CapWindow.HOUR, at("2026-11-24T10:30:00+05:30"), KOLKATA) == "2026-11-24T05Z"


@given(st.sampled_from(CapWindow), st.integers(0, 4_102_444_800_000), st.integers(0, 40 * 86_400_000))
def test_window_label_never_returns_when_time_goes_on(window, now_ms, later_ms) -> None:
    """Labels grow with time, so that a window that is over never counts again."""
    assert label_at(window, now_ms, NEW_YORK) <= label_at(window, now_ms + later_ms, NEW_YORK)


def test_lead_takes_count_one_and_the_amount_when_a_lead_is_sold() -> None:
    """A limit takes one lead, a budget takes its money."""
    assert lead_takes((DAY_100, MONTH_5000), "home:buyer:acme", NOON, NEW_YORK, 7_000_000, src="S") == (
        CapTake(counter="home:buyer:acme:leads:day:2026-11-24", amount=1, limit=100),
        CapTake(counter="home:buyer:acme:money:month:2026-11", amount=7_000_000, limit=5_000_000_000),
    )


def test_ping_takes_count_one_when_a_ping_arrives() -> None:
    """A cap on pings has its own counter and is no business of a lead."""
    assert ping_takes((DAY_100, PINGS_100), "home:source:SRC_MAIN", NOON, NEW_YORK) == (
        CapTake(counter="home:source:SRC_MAIN:pings:day:2026-11-24", amount=1, limit=100),
    )
    assert lead_takes((PINGS_100,), "home:source:SRC_MAIN", NOON, NEW_YORK, 1, src="S") == ()


def test_lead_takes_share_a_counter_when_two_caps_count_the_same() -> None:
    """Two limits on one window take one slot of one counter, under the lower limit, whatever their order."""
    tight = Cap(window=CapWindow.DAY, limit=50)
    expected = (CapTake(counter="home:buyer:acme:leads:day:2026-11-24", amount=1, limit=50),)
    assert lead_takes((DAY_100, tight), "home:buyer:acme", NOON, NEW_YORK, 0, src="S") == expected
    assert lead_takes((tight, DAY_100), "home:buyer:acme", NOON, NEW_YORK, 0, src="S") == expected


def test_lead_takes_split_when_a_cap_is_reserved_at_the_ping() -> None:
    """Every counter is taken exactly once: at the ping if any of its caps wants that, else at the post."""
    caps = (
        Cap(window=CapWindow.DAY, limit=100),
        Cap(window=CapWindow.DAY, limit=90, reserve=CapReserve.PING),
        Cap(window=CapWindow.MONTH, limit=900),
    )

    def counters(reserve: CapReserve | None) -> list[tuple[str, int]]:
        takes = lead_takes(caps, "h:buyer:a", NOON, NEW_YORK, 0, src="S", reserve=reserve)
        return [(take.counter, take.limit) for take in takes]

    assert counters(CapReserve.PING) == [("h:buyer:a:leads:day:2026-11-24", 90)]
    assert counters(CapReserve.POST) == [("h:buyer:a:leads:month:2026-11", 900)]
    assert counters(None) == [("h:buyer:a:leads:day:2026-11-24", 90), ("h:buyer:a:leads:month:2026-11", 900)]


def test_lead_takes_follow_the_clock_when_a_day_ends() -> None:
    """The same caps take from the next window after midnight."""
    before, after = at("2026-11-24T23:59:59.999-05:00"), at("2026-11-25T00:00:00-05:00")
    assert lead_takes((DAY_100,), "h:buyer:a", before, NEW_YORK, 0, src="S")[0].counter == (
        "h:buyer:a:leads:day:2026-11-24"
    )
    assert lead_takes((DAY_100,), "h:buyer:a", after, NEW_YORK, 0, src="S")[0].counter == (
        "h:buyer:a:leads:day:2026-11-25"
    )


ids = st.text("ab:", min_size=1, max_size=8)
owners = st.one_of(
    st.builds(source_owner, st.sampled_from(["a", "b", "a-b"]), ids),
    st.builds(buyer_owner, st.sampled_from(["a", "b", "a-b"]), ids),
)
caps = st.builds(
    Cap,
    window=st.sampled_from(CapWindow),
    limit=st.just(1),
    counts=st.sampled_from(CapCounts),
    reserve=st.sampled_from(CapReserve),
)


@given(owners, caps, owners, caps)
def test_counters_differ_when_anything_about_them_does(one_owner, one_cap, other_owner, other_cap) -> None:
    """Whatever an id looks like, its counters are nobody else's; limits and reserve share one."""

    def counter(owner: str, cap: Cap) -> str:
        (take,) = lead_takes((cap,), owner, NOON, UTC, 0, src="S") + ping_takes((cap,), owner, NOON, UTC)
        return take.counter

    is_same = (one_owner, one_cap.window, one_cap.counts) == (
        other_owner,
        other_cap.window,
        other_cap.counts,
    )
    assert (counter(one_owner, one_cap) == counter(other_owner, other_cap)) is is_same


def test_owners_differ_when_source_and_buyer_share_an_id() -> None:
    """Sources, buyers and campaigns with the same id do not share counters."""
    assert source_owner("home", "acme") == "home:source:acme"
    assert buyer_owner("home", "acme") == "home:buyer:acme"


@pytest.mark.parametrize(("used", "is_full"), [(0, False), (98, False), (99, False), (100, True), (101, True)])
def test_full_cap_is_reached_when_the_limit_is_used(used, is_full) -> None:
    """The hundredth lead fits a limit of 100, the next does not."""
    take = CapTake(counter="c", amount=1, limit=100)
    assert full_cap((take,), {"c": used}) == (take if is_full else None)


@pytest.mark.parametrize(("amount", "is_full"), [(999_999, False), (1_000_000, False), (1_000_001, True)])
def test_full_cap_weighs_the_amount_when_it_is_money(amount, is_full) -> None:
    """A lead may use the budget up to the last micro, and not one more."""
    take = CapTake(counter="c", amount=amount, limit=5_000_000)
    assert full_cap((take,), {"c": 4_000_000}) == (take if is_full else None)


@pytest.mark.parametrize(("used", "is_full"), [(4_999_999, False), (5_000_000, True), (5_000_001, True)])
def test_full_cap_asks_for_something_when_the_bid_is_not_known(used, is_full) -> None:
    """Before a bid, a budget is full once it is used up."""
    take = CapTake(counter="c", amount=0, limit=5_000_000)
    assert full_cap((take,), {"c": used}) == (take if is_full else None)


def test_full_cap_names_the_first_when_several_are_full() -> None:
    """Caps are looked at in their order; a counter nobody has touched stands at 0."""
    free = CapTake(counter="a", amount=1, limit=1)
    full = CapTake(counter="b", amount=1, limit=1)
    closed = CapTake(counter="c", amount=1, limit=0)
    assert full_cap((free, full, closed), {"b": 1}) == full
    assert full_cap((free, closed), {}) == closed
    assert full_cap((), {}) is None


def test_describe_full_reads_well_when_a_cap_is_full() -> None:
    """The audit names unit, window and numbers, also for an id with colons."""
    leads = CapTake(counter="home:buyer:a:b:leads:day:2026-11-24", amount=1, limit=100)
    money = CapTake(counter="home:buyer:a:b:money:month:2026-11", amount=0, limit=5_000_000_000)
    used = {leads.counter: 100, money.counter: 4_999_500_000}
    assert describe_full(leads, used) == "leads per day 2026-11-24: 100 of 100 used"
    assert describe_full(money, used) == "money per month 2026-11: 4999.5 of 5000 used"


PAIR = Cap(window=CapWindow.DAY, limit=5, src="SRC_NEW")


@pytest.mark.parametrize(("src", "count"), [("SRC_NEW", 2), ("SRC_OTHER", 1)])
def test_cap_of_a_pair_counts_one_source_when_it_names_it(src, count) -> None:
    """A lead of that source takes from both caps, another one's only from the cap on all."""
    takes = lead_takes((DAY_100, PAIR), "h:buyer:a", NOON, NEW_YORK, 0, src=src)
    assert len(takes) == count
    assert takes[0] == CapTake(counter="h:buyer:a:leads:day:2026-11-24", amount=1, limit=100)
    if count == 2:
        assert takes[1] == CapTake(counter="h:buyer:a:SRC_NEW:leads:day:2026-11-24", amount=1, limit=5)
        assert describe_full(takes[1], {takes[1].counter: 5}) == "leads per day 2026-11-24: 5 of 5 used"


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ("2026-11-23T23:59:59.999-05:00", False),
        ("2026-11-24T00:00:00-05:00", True),
        ("2026-11-25T23:59:59.999-05:00", True),
        ("2026-11-26T00:00:00-05:00", False),
    ],
)
def test_cap_with_days_holds_from_the_first_to_the_last(when, holds) -> None:
    """Both days belong to it, in its time zone."""
    cap = Cap(window=CapWindow.TOTAL, limit=5, from_day=date(2026, 11, 24), until_day=date(2026, 11, 25))
    assert bool(lead_takes((cap,), "h:buyer:a", at(when), NEW_YORK, 0, src="S")) is holds


def test_caps_with_days_of_their_own_count_apart() -> None:
    """A second period begins at 0, and a cap on all days counts both."""
    first = Cap(window=CapWindow.TOTAL, limit=5, until_day=date(2026, 11, 30))
    second = Cap(window=CapWindow.TOTAL, limit=5, from_day=date(2026, 11, 24))
    always = Cap(window=CapWindow.TOTAL, limit=50)
    takes = lead_takes((first, second, always), "h:buyer:a", NOON, NEW_YORK, 0, src="S")
    assert [take.counter.rpartition(":")[2] for take in takes] == [
        "all within ..2026-11-30",
        "all within 2026-11-24..",
        "all",
    ]


def test_cap_with_a_time_zone_has_its_own_days() -> None:
    """At noon in New York it is the same day there and the next one in Auckland."""
    abroad = Cap(window=CapWindow.DAY, limit=5, time_zone="Pacific/Auckland")
    takes = lead_takes((DAY_100, abroad), "h:buyer:a", NOON, NEW_YORK, 0, src="S")
    assert [take.counter.rpartition(":")[2] for take in takes] == ["2026-11-24", "2026-11-25 in Pacific/Auckland"]
    assert not is_money(takes[1])
