"""Resends: finds the leads of unknown outcome whose buyer may be asked again, and asks.

Only a buyer whose campaign file says `idempotent: true` is: he gets the same `delivery_id` and takes it for the same
lead. Everybody else's unknown leads are an operator's.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lexchange.background import beside
from lexchange.clock import Clock
from lexchange.errors import StorageError
from lexchange.exchange import Exchange
from lexchange.lead import Lead
from lexchange.resolution import DEFINITE
from lexchange.storage import Store
from lexchange.telemetry import log_event

PAUSES_S = (10, 60, 600)  # before each further try, since the last
LOOK_S = 5.0
FORGET_S = 3_600  # an older lead is an operator's


@asynccontextmanager
async def resending(store: Store, exchange: Exchange, clock: Clock) -> AsyncIterator[None]:
    """Ask again until the block ends; a try that is under way then is cut, and the lead stays unknown."""
    async with beside(ask_on(store, exchange, clock)):
        yield


async def ask_on(store: Store, exchange: Exchange, clock: Clock) -> None:
    """Ask again until cancelled; a store that fails is asked again, too."""
    while True:
        await asyncio.sleep(LOOK_S)
        if not exchange.catalog.has_idempotent_buyers:
            continue
        now_ms = clock.now_ms()
        try:
            found = await store.audit.unknown_leads(
                since_ms=now_ms - FORGET_S * 1000, before_ms=now_ms - PAUSES_S[0] * 1000
            )
            for lead in found:
                if due := due_deliveries(lead, now_ms):
                    await exchange.ask_again(lead, due)
        except StorageError as error:
            log_event("resend_failed", error=str(error))


def due_deliveries(lead: Lead, now_ms: int) -> frozenset[str]:
    """Those of its deliveries that may be tried again now; buyers who share a lead have tries of their own."""
    return frozenset(
        attempt.delivery_id
        for attempt in lead.attempts
        if attempt.outcome not in DEFINITE
        and attempt.resends < len(PAUSES_S)
        and lead.updated_ms <= now_ms - PAUSES_S[attempt.resends] * 1000
    )
