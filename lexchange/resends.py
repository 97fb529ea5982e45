"""Resends: finds the leads of unknown outcome whose buyer may be asked again, and asks.

Only a buyer whose campaign file says `idempotent: true` is: he gets the same `delivery_id` and takes it for the same
lead. Everybody else's unknown leads are an operator's.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from lexchange.background import beside, describe, keep_on
from lexchange.clock import Clock
from lexchange.exchange import Exchange
from lexchange.lead import Lead
from lexchange.resolution import DEFINITE
from lexchange.storage import Store
from lexchange.telemetry import log_event

PAUSES_S = (10, 60, 600)  # before each further try, since the last
LOOK_S = 5.0
AT_ONCE = 16
FORGET_S = 3_600  # an older lead is an operator's


@asynccontextmanager
async def resending(store: Store, exchange: Exchange, clock: Clock) -> AsyncIterator[None]:
    """Ask again until the block ends; a try that is under way then is cut, and the lead stays unknown."""
    async with beside(ask_on(store, exchange, clock)):
        yield


async def ask_on(store: Store, exchange: Exchange, clock: Clock) -> None:
    """Ask again until cancelled; a store that fails is asked again, too."""
    await keep_on(LOOK_S, partial(_ask, store, exchange, clock), "resend_failed")


async def _ask(store: Store, exchange: Exchange, clock: Clock) -> None:
    """Ask about each lead whose turn it is, some at once: a buyer who hangs keeps no other one's leads waiting long."""
    if not exchange.catalog.has_idempotent_buyers:
        return
    now_ms = clock.now_ms()
    found = await store.audit.unknown_leads(since_ms=now_ms - FORGET_S * 1000, before_ms=now_ms - PAUSES_S[0] * 1000)
    places = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for lead in found:
            if due := due_deliveries(lead, now_ms):
                group.create_task(_ask_about(lead, due, exchange, places))


async def _ask_about(lead: Lead, due: frozenset[str], exchange: Exchange, places: asyncio.Semaphore) -> None:
    async with places:
        try:
            await exchange.ask_again(lead, due)
        except Exception as error:  # noqa: BLE001 - one lead that breaks it must not keep the others from their answer
            log_event("resend_failed", lead_id=lead.lead_id, error=describe(error))


def due_deliveries(lead: Lead, now_ms: int) -> frozenset[str]:
    """Those of its deliveries that may be tried again now; buyers who share a lead have tries of their own."""
    return frozenset(
        attempt.delivery_id
        for attempt in lead.attempts
        if attempt.outcome not in DEFINITE
        and attempt.resends < len(PAUSES_S)
        and lead.updated_ms <= now_ms - PAUSES_S[attempt.resends] * 1000
    )
