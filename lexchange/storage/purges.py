"""What leaves a store for good, a page at a time, each page whole or not at all.

Nothing that is still needed goes, whatever the caller says: a lead that is in flight or unknown, its ping, a ping that
may be posted. That is part of each statement. A page is found beside the traffic; only its end meets the writers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import lru_cache

from lexchange.caps import ended_before
from lexchange.frozen import frozen
from lexchange.lead import BuyerPing, Lead, Ping
from lexchange.retention import DAY_MS, Due, Part
from lexchange.storage.cap_units import COUNTERS
from lexchange.storage.connector import Connector, Row, Statement, Value
from lexchange.storage.rows import lead_record, leads, pings, readable

BATCH_STATEMENTS = 50
WALKED_ROWS = 1_000  # looked at in a page
PURGED_ROWS = 200  # of which so many go at most: what one commit may keep the writers waiting for
BLANKED_ROWS = 25  # or are written anew, which the loop takes part in
DELIVERY_MS = 600_000  # no delivery takes so long, with all its attempts
DEL, TIME_DIGITS = "DEL-", 12

FINAL = "leads.state NOT IN ('claimed', 'sending', 'unknown')"
PREFIX = {Part.PINGS: "PING-", Part.LEADS: "L-", Part.LEAD_DATA: "L-"}
TABLE = {Part.PINGS: "pings", Part.LEADS: "leads", Part.LEAD_DATA: "leads"}
KEY = {Part.PINGS: "ping_id", Part.LEADS: "lead_id", Part.LEAD_DATA: "lead_id"}
# Tables of what belongs to a row, and the column that names it. Deliveries are found by their own time instead.
BELONGING: dict[Part, dict[str, str]] = {
    Part.PINGS: {"late_answers": "owner_id"},
    Part.LEADS: {"late_answers": "owner_id", "fingerprints": "lead_id"},
}
LOOKED_AT = {
    Part.PINGS: "ping_id, campaign, expires_ms, lead_id",
    Part.LEADS: "lead_id, campaign, updated_ms, state",
    Part.LEAD_DATA: "lead_id, campaign, updated_ms, state, record",
}

# What keeps a row besides its campaign and its age. One parameter each: see `settled_ms`.
MAY_GO = {
    Part.PINGS: f"""expires_ms <= ? AND (lead_id IS NULL OR NOT EXISTS (SELECT 1 FROM leads
        WHERE leads.campaign = pings.campaign AND leads.lead_id = pings.lead_id AND NOT ({FINAL})))""",  # noqa: S608 - our own names
    Part.LEADS: f"updated_ms <= ? AND {FINAL}",
    # The mark of values that have gone; within a value its quotes would be written otherwise.
    Part.LEAD_DATA: f"""updated_ms <= ? AND {FINAL} AND record NOT LIKE '%"data_purged_ms":1%'""",
}

BLANK_LEAD = f"UPDATE leads SET record = ? WHERE campaign = ? AND lead_id = ? AND {FINAL} RETURNING lead_id"  # noqa: S608 - our own names

FORGET_LATE_ANSWERS = "DELETE FROM late_answers WHERE campaign = ? AND owner_id = ?"
DROP_DELIVERIES = """
DELETE FROM past_deliveries WHERE campaign = ? AND delivery_id > ? AND delivery_id < ? AND NOT EXISTS (
    SELECT 1 FROM leads WHERE leads.campaign = past_deliveries.campaign AND leads.lead_id = past_deliveries.lead_id)"""

COUNTER_PAGE = "SELECT counter FROM cap_counters WHERE campaign = ? AND counter > ? ORDER BY counter LIMIT ?"
DROP_COUNTER = "DELETE FROM cap_counters WHERE campaign = ? AND counter = ? RETURNING counter"

CALL_PAGE = """
SELECT src, idempotency_key, created_ms FROM remembered_calls
WHERE (src, idempotency_key) > (?, ?) ORDER BY src, idempotency_key LIMIT ?"""
DROP_CALL = "DELETE FROM remembered_calls WHERE src = ? AND idempotency_key = ? AND created_ms <= ? RETURNING src"


@frozen
class Page:
    """Rows that were looked at, up to the key `to`, and the ids of those that are due, by campaign."""

    after: str
    to: str
    due: Mapping[str, tuple[str, ...]]

    def only(self, rows: Iterable[Ping | Lead]) -> "Page":
        """The page with these rows due, and no others."""
        ids = ((row.lead_id if isinstance(row, Lead) else row.ping_id, row.campaign) for row in rows)
        return replace(self, due=_by_campaign(ids))


@frozen
class Step:
    """Where to go on, empty at the end, and how many rows have gone."""

    after: tuple[str, ...]
    count: int


class Purges:
    """Pages of what is due, and their end."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    # --------------------------------------------------------------------------------------------- pings and leads

    async def page(self, due: Due, after: str, now_ms: int) -> Page | None:
        """The next rows behind `after` that are old enough, whosever they are; None when there is none."""
        prefix = PREFIX[due.part]
        after = after or prefix
        whose: tuple[Value, ...] = (*due.campaigns, settled_ms(due.part, now_ms))
        params = (*whose, after, id_at(prefix, due.before_ms), WALKED_ROWS)
        rows = await self._connector.scan(page_sql(due.part, len(due.campaigns)), params)
        if not rows:
            return None
        most = BLANKED_ROWS if due.part is Part.LEAD_DATA else PURGED_ROWS
        found = [row for row in rows if row[2]]
        to = found[most - 1][0] if len(found) > most else rows[-1][0]
        return Page(after=after, to=to, due=_by_campaign((key, campaign) for key, campaign, _ in found[:most]))

    async def count(self, due: Due, now_ms: int) -> dict[str, int]:
        """How many rows of each campaign are due."""
        sql, before = _count_sql(due.part, len(due.campaigns)), id_at(PREFIX[due.part], due.before_ms)
        params: tuple[Value, ...] = (*due.campaigns, settled_ms(due.part, now_ms), before)
        return dict(await self._connector.scan(sql, params))

    async def read(self, part: Part, page: Page) -> list[Ping | Lead]:
        """The rows of a page that are due, whole; without those that cannot be read."""
        found: list[Ping | Lead] = []
        for campaign, ids in page.due.items():
            marks = padded(ids)
            rows = await self._connector.scan(_read_sql(part, len(marks)), (campaign, *marks))
            found += readable(rows, pings) if part is Part.PINGS else readable(rows, leads)
        return found

    async def drop(self, part: Part, page: Page, now_ms: int) -> int:
        """Delete what a page has found due, and all that belongs to it; how many rows of the table itself."""
        drops, belongings = [], []
        for campaign, ids in page.due.items():
            marks = padded(ids)
            drops.append(Statement(sql=drop_sql(part, len(marks)), params=(campaign, *marks, settled_ms(part, now_ms))))
            belongings += [
                Statement(sql=drop_belonging_sql(part, table, len(marks)), params=(campaign, *marks))
                for table in BELONGING[part]
            ]
            if part is Part.LEADS:
                belongings.append(Statement(sql=DROP_DELIVERIES, params=(campaign, *_deliveries(page))))
        result = await self._connector.write((*drops, *belongings))
        return sum(map(len, result.rows[: len(drops)]))

    async def blank(self, found: Sequence[Lead], kept_fields: Mapping[str, Sequence[str]], now_ms: int) -> int:
        """Take what leads say of a person, but for these fields of each campaign; how many it was taken of.

        Late answers become part of the lead first, so that what they were worth stays.
        """
        if not found:
            return 0
        unit = [_blank(blanked(lead, kept_fields.get(lead.campaign, ()), now_ms)) for lead in found]
        late = [Statement(sql=FORGET_LATE_ANSWERS, params=(lead.campaign, lead.lead_id)) for lead in found]
        result = await self._connector.write((*unit, *late))
        return sum(map(len, result.rows[: len(unit)]))

    # --------------------------------------------------------------------------------------- counters and calls

    async def drop_counters(self, campaign: str, before: date, after: tuple[str, ...]) -> Step:
        """Delete counters of a campaign whose windows were over before a day, a page of them.

        A give-back to one that is gone finds nothing to change, and no lead of its window is there any more.
        """
        rows = await self._connector.scan(COUNTER_PAGE, (campaign, *(after or ("",)), WALKED_ROWS))
        over = [counter for (counter,) in rows if ended_before(counter, before)]
        return _step(rows, await self._write_each(_drop_counter(campaign, counter) for counter in over))

    async def drop_calls(self, before_ms: int, after: tuple[str, ...]) -> Step:
        """Delete calls whose idempotency keys are forgotten, a page of them."""
        rows = await self._connector.scan(CALL_PAGE, (*(after or ("", "")), WALKED_ROWS))
        over = [(src, key, before_ms) for src, key, created_ms in rows if created_ms <= before_ms]
        return _step(
            [row[:2] for row in rows],
            await self._write_each(Statement(sql=DROP_CALL, params=each) for each in over),
        )

    async def _write_each(self, statements: Iterable[Statement]) -> int:
        """How many rows they return, a few statements a time: each may be a lock."""
        todo, count = list(statements), 0
        for start in range(0, len(todo), BATCH_STATEMENTS):
            result = await self._connector.write(tuple(todo[start : start + BATCH_STATEMENTS]))
            count += sum(map(len, result.rows))
        return count


def _step(keys: Sequence[Row], count: int) -> Step:
    return Step(after=keys[-1] if len(keys) == WALKED_ROWS else (), count=count)


def blanked(lead: Lead, kept_fields: Sequence[str], now_ms: int) -> Lead:
    """The lead without what it says of a person, and without the buyers' own words; its money and its story stay."""
    return replace(
        lead,
        data={name: value for name, value in lead.data.items() if name in kept_fields},
        buyers=[_speechless(part) for part in lead.buyers],
        attempts=[replace(attempt, answer=None) for attempt in lead.attempts],
        data_purged_ms=now_ms,
    )


def _speechless(part: BuyerPing) -> BuyerPing:
    return replace(part, answer=None)


def _blank(lead: Lead) -> Statement:
    return Statement(sql=BLANK_LEAD, params=(lead_record(lead), lead.campaign, lead.lead_id))


def _drop_counter(campaign: str, counter: str) -> Statement:
    return Statement(sql=DROP_COUNTER, params=(campaign, counter), locks=f"counter {counter}", shares=COUNTERS)


def _by_campaign(rows: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Of ids and their campaigns: the ids of each campaign."""
    ids: dict[str, tuple[str, ...]] = {}
    for row_id, campaign in rows:
        ids[campaign] = (*ids.get(campaign, ()), row_id)
    return ids


def settled_ms(part: Part, now_ms: int) -> int:
    """When a ping must have expired, and a lead have come to its end: whoever settled it may look at it for a day."""
    return now_ms if part is Part.PINGS else now_ms - DAY_MS


def id_at(prefix: str, moment_ms: int) -> str:
    """Between ids: behind all ids that were made before, in front of all that were made then or later."""
    return f"{prefix}{max(moment_ms, 0):012X}"


def _deliveries(page: Page) -> tuple[str, str]:
    """Between which deliveries those of a page of leads are: never before the lead, and not long after it."""
    first, last = (key.removeprefix(PREFIX[Part.LEADS])[:TIME_DIGITS] for key in (page.after, page.to))
    return f"{DEL}{first}", id_at(DEL, int(last, 16) + DELIVERY_MS)


def padded(ids: tuple[str, ...]) -> tuple[str, ...]:
    """As many as some power of two, so that few different statements have to be kept prepared."""
    return ids + ids[-1:] * ((1 << (len(ids) - 1).bit_length()) - len(ids))


def _marks(count: int) -> str:
    return ", ".join("?" * count)


@lru_cache(maxsize=64)
def page_sql(part: Part, campaign_count: int) -> str:
    """The query for a page of ids, each with whether it is due."""
    table, key = TABLE[part], KEY[part]
    return f"""
SELECT {key}, campaign, CASE WHEN campaign IN ({_marks(campaign_count)}) AND {MAY_GO[part]} THEN 1 ELSE 0 END AS is_due
FROM (SELECT {LOOKED_AT[part]} FROM {table} WHERE {key} > ? AND {key} < ? ORDER BY {key} LIMIT ?) AS {table}
ORDER BY {key}"""  # noqa: S608 - our own names


@lru_cache(maxsize=64)
def _count_sql(part: Part, campaign_count: int) -> str:
    return f"""
SELECT campaign, COUNT(*) FROM {TABLE[part]}
WHERE campaign IN ({_marks(campaign_count)}) AND {MAY_GO[part]} AND {KEY[part]} < ?
GROUP BY campaign ORDER BY campaign"""  # noqa: S608 - our own names


@lru_cache(maxsize=64)
def _read_sql(part: Part, id_count: int) -> str:
    view, key = "ping_rows" if part is Part.PINGS else "lead_rows", KEY[part]
    return f"SELECT * FROM {view} WHERE campaign = ? AND {key} IN ({_marks(id_count)}) ORDER BY {key}"  # noqa: S608 - our own names


@lru_cache(maxsize=64)
def drop_sql(part: Part, id_count: int) -> str:
    """The statement that deletes so many rows of a campaign that may go."""
    table, key = TABLE[part], KEY[part]
    return f"""
DELETE FROM {table} WHERE campaign = ? AND {key} IN ({_marks(id_count)}) AND {MAY_GO[part]} RETURNING {key}"""  # noqa: S608 - our own names


@lru_cache(maxsize=64)
def drop_belonging_sql(part: Part, belonging: str, id_count: int) -> str:
    """The statement that deletes what belonged to so many rows of a campaign, where they have gone."""
    table, key, owner = TABLE[part], KEY[part], BELONGING[part][belonging]
    return f"""
DELETE FROM {belonging} WHERE campaign = ? AND {owner} IN ({_marks(id_count)}) AND NOT EXISTS (
    SELECT 1 FROM {table} WHERE {table}.campaign = {belonging}.campaign AND {table}.{key} = {belonging}.{owner})"""  # noqa: S608 - our own names
