"""Whole months of old rows, dropped at once where an engine keeps them so: at the same cost for any number of rows.

A month goes when each of its rows is due, which is looked at in pages beside the traffic. What belongs to them goes
first, so that whatever ends a drop, nothing is left that nobody would find.
"""

from lexchange.frozen import frozen
from lexchange.retention import Due, Part
from lexchange.storage.connector import Connector, Room, Statement, Value
from lexchange.storage.purges import BELONGING, DEL, KEY, PREFIX, TABLE, id_at, page_sql, settled_ms

SURVEYED_ROWS = 5_000
BATCH_ROWS = 500


@frozen
class Survey:
    """A page of a month: where to go on, empty at the end; its rows; whether each of them is due."""

    after: str
    row_count: int
    is_due: bool


class Rooms:
    """The months of pings and of leads."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    async def old(self, part: Part, before_ms: int) -> list[Room]:
        """Months that were over before that moment, the oldest first."""
        end = id_at(PREFIX[part], before_ms)
        return [room for room in await self._connector.rooms(TABLE[part]) if room.end <= end]

    async def survey(self, due: Due, room: Room, after: str, now_ms: int) -> Survey:
        """Look at the next page of a month; `after` is empty at its beginning."""
        key = KEY[due.part]
        sql = f"""
SELECT MAX({key}), COUNT(*), CAST(COALESCE(SUM(is_due), 0) AS BIGINT)
FROM ({page_sql(due.part, len(due.campaigns))}) AS page"""  # noqa: S608 - our own names
        whose: tuple[Value, ...] = (*due.campaigns, settled_ms(due.part, now_ms))
        params = (*whose, after or room.begin, room.end, SURVEYED_ROWS)
        ((last, row_count, due_count),) = await self._connector.scan(sql, params)
        goes_on = row_count == SURVEYED_ROWS
        return Survey(after=last if goes_on else "", row_count=row_count, is_due=row_count == due_count)

    async def empty(self, part: Part, campaign: str, room: Room) -> bool:
        """Delete a batch of what belongs to a campaign's rows of a month; False when nothing is left."""
        belonging = BELONGING[part] | ({"past_deliveries": "delivery_id"} if part is Part.LEADS else {})
        for table, key in belonging.items():
            prefix = DEL if table == "past_deliveries" else PREFIX[part]  # a delivery is never older than its lead
            begin, end = (f"{prefix}{bound.removeprefix(PREFIX[part])}" for bound in (room.begin, room.end))
            sql = empty_sql(table, key)
            params = (campaign, campaign, begin, end, BATCH_ROWS)
            if (await self._connector.write((Statement(sql=sql, params=params),))).rows[0]:
                return True
        return False

    async def drop(self, room: Room) -> bool:
        """Drop a month; False when it is in use, so that it is to be tried again."""
        return await self._connector.drop_room(room)


def empty_sql(table: str, key: str) -> str:
    """The statement that deletes a batch of a campaign's rows between two keys."""
    return f"""
DELETE FROM {table} WHERE campaign = ? AND {key} IN (
    SELECT {key} FROM {table} WHERE campaign = ? AND {key} >= ? AND {key} < ? LIMIT ?)
RETURNING {key}"""  # noqa: S608 - our own names
