"""What is stored, told against itself: no lead in flight, and of every cap what sold and unknown leads take of it."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from lexchange.lead import AttemptOutcome, Lead
from lexchange.storage import Store

KEPT = {AttemptOutcome.ACCEPTED, AttemptOutcome.TIMED_OUT, AttemptOutcome.BROKEN, AttemptOutcome.INVALID_ANSWER}


async def settle(store: Store) -> None:
    """Wait until no lead is in flight; the exchange sees to it by itself."""
    async with asyncio.timeout(3):
        while await store.audit.in_flight_leads(except_of=()):  # noqa: ASYNC110 - the product sets no event
            await asyncio.sleep(0.005)


def check_caps(leads: Iterable[Lead], file: Path) -> None:
    """Used of every cap is what sold and unknown leads take of it, and what offered pings hold."""
    expected: Counter[str] = Counter()
    for lead in leads:
        kept = [each for each in lead.attempts if each.outcome in KEPT]
        expected["auto:source:SRC_MAIN:leads:total:all"] += bool(kept)
        for each in kept:
            expected["auto:source:SRC_MAIN:money:total:all"] += each.payout_micros
            expected[f"auto:buyer:{each.buyer}:leads:total:all"] += 1
            expected[f"auto:buyer:{each.buyer}:money:total:all"] += each.bid_micros
    with closing(sqlite3.connect(file)) as database:
        expected.update(dict(database.execute("SELECT counter, SUM(amount) FROM cap_holds GROUP BY counter")))
        used = dict(database.execute("SELECT counter, used FROM cap_counters WHERE counter NOT LIKE '%:pings:%'"))
    assert +Counter(used) == +expected
