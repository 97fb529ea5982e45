"""A purge at any time changes no answer: the same calls, at a store that is purged and at one that never is."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lexchange.config import Limits
from lexchange.lead import CapTake, Fingerprint, Lead, LeadState, Ping
from lexchange.purge import Purge
from lexchange.retention import DAY_MS, HOUR_MS, Retention
from lexchange.storage import CallMark, CallOutcome, ClaimOutcome, Store
from tests.storage.examples import a_ping, ended
from tests.storage.test_purges import Wall, old_lead

PING_DAYS = 2
WINDOW_H = 72
AGES = {
    "home": Retention(ping_days=PING_DAYS, lead_days=WINDOW_H // 24, lead_data_days=1),
    "auto": Retention(ping_days=5, lead_days=9),
}
REMEMBER_MS = Limits().idempotency_h * HOUR_MS
ENDS = [LeadState.DELIVERED, LeadState.REJECTED, LeadState.FAILED, LeadState.UNKNOWN]
LIMITS = (2, 30)  # a day, in total
WAY_BACK = 3

few = st.integers(0, 2)
campaigns = st.sampled_from(sorted(AGES))
acts = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([1, 11, 25, 47, 73])),
    st.tuples(st.just("ping"), campaigns, few, st.booleans()),
    st.tuples(st.just("post"), st.integers(1, WAY_BACK), few),
    st.tuples(st.just("sale"), campaigns, few),
    st.tuples(st.just("sale"), campaigns, few),
    st.tuples(st.just("direct_post"), campaigns, few),
    st.tuples(st.just("end"), st.integers(1, WAY_BACK), st.sampled_from(ENDS)),
    st.tuples(st.just("call"), few, few),
    st.tuples(st.just("repeat"), campaigns, few),
    st.tuples(st.just("purge")),
)


@dataclass
class Twins:
    """Two stores with the same past, of which the first is purged now and then."""

    purged: Store
    whole: Store
    clock: Wall = field(default_factory=Wall)
    pings: list[Ping] = field(default_factory=list)
    leads: list[Lead] = field(default_factory=list)
    number: int = 0

    def __post_init__(self) -> None:
        self.purge = Purge(self.purged, self.clock, Limits(), rests=0)

    async def both(self, ask: Callable[[Store], Awaitable[Any]]) -> tuple[Any, Any]:
        return await ask(self.purged), await ask(self.whole)

    async def same(self, ask: Callable[[Store], Awaitable[Any]]) -> Any:
        """The answer of both, which has to be one."""
        here, there = await self.both(ask)
        assert here == there
        return here

    # ---- what is done ----

    async def do(self, act: str, *given: Any) -> None:
        await getattr(self, f"do_{act}")(*given)
        for campaign in AGES:
            await self.same(partial(_standing, campaign=campaign, now_ms=self.clock.ms))

    async def do_wait(self, hours: int) -> None:
        self.clock.ms += hours * HOUR_MS

    async def do_purge(self) -> None:
        await self.purge.run(AGES)

    async def do_ping(self, campaign: str, key: int, holds: bool) -> None:
        self.number += 1
        now_ms = self.clock.now_ms()
        ping = a_ping(
            ping_id=f"PING-{now_ms:012X}{self.number:020X}",
            campaign=campaign,
            created_ms=now_ms,
            expires_ms=now_ms + DAY_MS,  # the longest life that a campaign may give
            repeat_key=str(key),
        )
        takes = [CapTake(counter=f"{campaign}:buyer:held:leads:total:all", amount=1, limit=3)] if holds else []
        if await self.same(lambda store: store.record_ping(ping, takes)) is None:
            self.pings.append(ping)

    async def do_repeat(self, campaign: str, key: int) -> None:
        now_ms = self.clock.now_ms()
        await self.same(
            lambda store: store.find_repeat(campaign, "SRC_MAIN", str(key), since_ms=now_ms - DAY_MS, now_ms=now_ms)
        )

    async def do_post(self, back: int, digest: int) -> None:
        if len(self.pings) < back:
            return
        ping = self.pings[-back]
        here, there = await self.claim(ping.campaign, digest, ping.ping_id)
        is_old = ping.created_ms < self.clock.ms - PING_DAYS * DAY_MS
        if is_old and there == ClaimOutcome.ALREADY_CLAIMED:  # so long it is remembered
            assert here in (ClaimOutcome.ALREADY_CLAIMED, ClaimOutcome.NOT_OFFERED)
        else:
            assert here == there

    async def do_direct_post(self, campaign: str, digest: int) -> None:
        here, there = await self.claim(campaign, digest, None)
        assert here == there

    async def do_sale(self, campaign: str, digest: int) -> None:
        await self.do_direct_post(campaign, digest)
        await self.do_end(1, LeadState.DELIVERED)

    async def claim(self, campaign: str, digest: int, ping_id: str | None) -> tuple[ClaimOutcome, ClaimOutcome]:
        self.number += 1
        now_ms = self.clock.now_ms()
        takes = [
            CapTake(counter=counter, amount=1, limit=limit)
            for counter, limit in zip(_counters(campaign, now_ms // DAY_MS), LIMITS, strict=True)
        ]
        lead = replace(old_lead(self.number, now_ms, ping_id=ping_id, campaign=campaign), takes=takes)
        since_ms = now_ms - WINDOW_H * HOUR_MS
        mark = Fingerprint(campaign=campaign, scope_key="", digest=str(digest), since_ms=since_ms)
        here, there = await self.both(
            lambda store: store.claim_lead(lead, takes=takes, fingerprints=[mark], now_ms=now_ms)
        )
        if here.outcome is ClaimOutcome.CLAIMED:
            self.leads.append(lead)
        return here.outcome, there.outcome

    async def do_end(self, back: int, state: LeadState) -> None:
        if len(self.leads) < back:
            return
        lead = self.leads[-back]
        final = replace(ended(lead, state), updated_ms=self.clock.ms)
        before = (LeadState.SENDING,) if state is LeadState.UNKNOWN else (LeadState.SENDING, LeadState.UNKNOWN)
        releases = lead.takes if state in (LeadState.REJECTED, LeadState.FAILED) else []
        await self.same(lambda store: store.finish_lead(final, releases=releases, before=before))

    async def do_call(self, key: int, body: int) -> None:
        begun_ms = self.clock.now_ms()
        mark = CallMark(idempotency_key=str(key), begun_ms=begun_ms)
        began = await self.same(
            lambda store: store.begin_call("SRC", str(key), str(body), now_ms=begun_ms, remember_ms=REMEMBER_MS)
        )
        if began.outcome is CallOutcome.NEW:
            await self.both(lambda store: store.finish_call("SRC", mark, f"answer {begun_ms}".encode()))


def _counters(campaign: str, day: int) -> list[str]:
    label = date.fromordinal(date(1970, 1, 1).toordinal() + day).isoformat()
    return [f"{campaign}:buyer:acme:leads:day:{label}", f"{campaign}:buyer:acme:leads:total:all"]


async def _standing(store: Store, campaign: str, now_ms: int) -> list[Any]:
    """What the next call would find: caps, duplicates, and what is open."""
    since_ms = now_ms - WINDOW_H * HOUR_MS
    return [
        await store.read_counters([*_counters(campaign, now_ms // DAY_MS), f"{campaign}:buyer:held:leads:total:all"]),
        *[await store.find_duplicates(campaign, digest, since_ms=since_ms) for digest in "012"],
        await store.audit.unresolved_leads(),
    ]


@pytest.mark.parametrize("is_purged_often", [False, True])
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(script=st.lists(acts, min_size=15, max_size=50))
def test_a_purge_changes_no_answer(memory: Path, is_purged_often: bool, script: list[tuple[Any, ...]]) -> None:
    """Claims, duplicates, caps, repeats, idempotency keys, outcomes, what is open: each call and each count.

    But one: a ping that was posted is known as such while it is kept, and as invalid afterwards.
    """

    async def play(folder: str) -> None:
        urls = (f"sqlite:///{folder}/{name}.db" for name in ("purged", "whole"))
        async with Store.open(next(urls)) as purged, Store.open(next(urls)) as whole:
            twins = Twins(purged=purged, whole=whole)
            for act in script:
                await twins.do(*act)
                if is_purged_often:
                    await twins.do("purge")

    with TemporaryDirectory(dir=memory) as folder:
        asyncio.run(play(folder))
