"""A business no is no success, though a load generator takes it for one."""

from pathlib import Path

import pytest

from bench.answers import Answers
from bench.child import BenchError
from lexchange.lead import LeadState, PingState
from lexchange.reasons import Reason
from lexchange.storage import Store
from tests.storage.examples import a_lead, a_ping, ended


async def record(url: str, first: int, *changes: dict[str, object]) -> None:
    """Pings with these numbers and changes."""
    async with Store.open(url) as store:
        for number, changed in enumerate(changes, first):
            await store.record_ping(a_ping(number, **changed))


async def test_check(tmp_path: Path) -> None:
    """Pings that were not sold are found, with why; what was there before is not looked at."""
    url = f"sqlite:///{tmp_path}/store.db"
    found = Answers(url)
    await record(url, 1, {})
    found.check()
    await record(url, 2, {"state": PingState.NO_SALE, "reason": Reason.NO_ELIGIBLE_BUYER})
    with pytest.raises(BenchError, match=r"of 2 pings .* 1 no_eligible_buyer"):
        found.check()
    Answers(url).check()


async def test_check_leads(tmp_path: Path) -> None:
    """So are posts that were not delivered."""
    url = f"sqlite:///{tmp_path}/store.db"
    found = Answers(url)
    async with Store.open(url) as store:
        ping, lead = a_ping(), a_lead(ping_id=a_ping().ping_id)
        await store.record_ping(ping)
        await store.claim_lead(lead, now_ms=ping.created_ms)
        await store.finish_lead(ended(lead, LeadState.FAILED))
    with pytest.raises(BenchError, match="of 1 leads"):
        found.check()
