"""Buyer watch: the breakers of this process, told to the log and to the store, and reset when an operator says so.

Every process has breakers of its own; what is stored is the latest word on each.
"""

import asyncio

from lexchange.background import Background
from lexchange.breaker import Breaker, BreakerMode, BreakerStage, BreakerState
from lexchange.caps import buyer_of_owner
from lexchange.clock import Clock
from lexchange.errors import StorageError
from lexchange.gates import Gates
from lexchange.storage import BreakerRow, Store
from lexchange.telemetry import log_event

LOOK_S = 1.0  # how long a reset may take to be heard of


class BuyerWatch:
    """`gates` decides; this writes down what it decided."""

    def __init__(self, store: Store, background: Background, clock: Clock) -> None:
        self.gates = Gates(self._changed)
        self._store = store
        self._background = background
        self._clock = clock
        self._opened: dict[Breaker, tuple[str, int]] = {}  # whose, and when; while it is not closed
        self._next_look = 0.0

    async def heed_resets(self) -> None:
        """Close the breakers that an operator has reset since they opened. Looks once a second, while one is open."""
        if not self._opened:
            return
        now = asyncio.get_running_loop().time()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_S
        resets = await self._store.breaker_resets()
        for breaker, (owner, opened_ms) in list(self._opened.items()):
            if resets.get(buyer_of_owner(owner), 0) >= opened_ms:
                breaker.reset(now)

    def _changed(self, owner: str, stage: BreakerStage, breaker: Breaker) -> None:
        now_ms = self._clock.now_ms()
        if breaker.state is BreakerState.OPEN:
            self._opened[breaker] = owner, now_ms
        elif breaker.state is BreakerState.CLOSED:
            self._opened.pop(breaker, None)
        left_s = max(0.0, breaker.retry_at - asyncio.get_running_loop().time())
        is_open = breaker.state is BreakerState.OPEN
        campaign, buyer = buyer_of_owner(owner)
        row = BreakerRow(
            campaign=campaign,
            buyer=buyer,
            stage=stage,
            state=breaker.state,
            is_enforced=breaker.rule.mode is BreakerMode.ENFORCE,
            why=breaker.why,
            changed_ms=now_ms,
            retry_ms=now_ms + round(left_s * 1000) if is_open else None,
        )
        log_event(
            f"breaker_{breaker.state}",
            campaign=campaign,
            buyer=buyer,
            stage=stage,
            why=breaker.why,
            enforced=row.is_enforced,
            pause_s=round(left_s) if is_open else None,
        )
        self._background.spawn(self._write_down(row))

    async def _write_down(self, row: BreakerRow) -> None:
        try:
            await self._store.record_breaker(row)
        except StorageError as error:
            log_event("breaker_not_recorded", buyer=row.buyer, error=str(error))
