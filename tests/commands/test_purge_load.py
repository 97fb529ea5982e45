"""Retention keeps a store at its size: under load its file stops growing, its log stays small, and nobody waits.

Everything is kept for KEPT_S, by a purge whose clock is a day ahead. `PURGE_SOAK_S=3600` is the long run, and with
`PURGE_SOAK_PER_S=100` it sells at most so many leads a second, and leaves the rest of the machine to others.
"""

import asyncio
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from lexchange.config import Limits
from lexchange.purge import Purge
from lexchange.retention import DAY_MS, Retention
from lexchange.storage import Store
from tests.commands.processes import serving
from tests.commands.sources import selling
from tests.commands.test_serve import options
from tests.exchange.cases import Case, campaign_of, replies_of
from tests.exchange.scripted_buyers import scripted_buyers

LOAD_S = float(os.environ.get("PURGE_SOAK_S", "20"))
CLIENTS = 12
PAUSE_S = CLIENTS / float(os.environ.get("PURGE_SOAK_PER_S", "inf"))
WARM_UP_S = max(8.0, LOAD_S / 20)
KEPT_S = 4  # so long a post may come after its ping, also on a slow machine
LOG_BYTES = 24 << 20
GROWTH = 1.3 if LOAD_S > 60 else 2  # a short warm-up does not see everything
TALKATIVE = {"json": {"status": "ok", "bid": 7, "terms": "x" * 16_000}}  # a bidder's answer is kept whole
CASE: Case = {"change": {"payout": {"mode": "fixed", "amount": 4}}, "replies": {"acme.ping": [TALKATIVE]}}


class Ahead:
    """A clock that is a day ahead, less what is to be kept: a retention of one day is one of that."""

    def now_ms(self) -> int:
        return int(time.time() * 1000) + DAY_MS - KEPT_S * 1000


@dataclass
class Sizes:
    """The bytes of a store's file and of its log, seen again and again."""

    file: Path
    largest: dict[str, int] = field(default_factory=lambda: {"file": 0, "log": 0})

    def look(self) -> None:
        log = self.file.with_name(f"{self.file.name}-wal")
        for name, path in (("file", self.file), ("log", log)):
            self.largest[name] = max(self.largest[name], path.stat().st_size if path.exists() else 0)

    async def watch(self, seconds: float) -> dict[str, int]:
        """The largest of each within that time."""
        self.largest = {"file": 0, "log": 0}
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look()
            await asyncio.sleep(0.2)
        return dict(self.largest)


async def purge_on(url: str, gone: dict[str, int]) -> None:
    """As `serve` does in the background, but with hardly a pause."""
    ages = {"auto": Retention(ping_days=1, lead_days=1)}
    async with Store.open(url) as store:
        while True:
            for part, count in (await Purge(store, Ahead(), Limits()).run(ages)).items():
                gone[part] = gone.get(part, 0) + count
            await asyncio.sleep(0.5)


async def test_a_purged_store_keeps_its_size(tmp_path: Path) -> None:
    """Two processes sell, a third purges: after a warm-up the file does not grow, the log never is large."""
    url, gone, sizes = f"sqlite:///{tmp_path}/store.db", dict[str, int](), Sizes(tmp_path / "store.db")
    async with scripted_buyers(replies_of(CASE)) as buyers:
        (tmp_path / "auto.yaml").write_bytes(campaign_of(CASE, buyers.address))
        with serving(*options(tmp_path, "--workers", "2")) as server:
            async with selling([server], clients=CLIENTS, pause_s=PAUSE_S) as sources:
                began = asyncio.get_running_loop().time()
                purging = asyncio.ensure_future(purge_on(url, gone))
                before = await sizes.watch(WARM_UP_S)
                after = await sizes.watch(LOAD_S)
                silence_s = sources.silence(began)
                purging.cancel()
                await asyncio.wait([purging])
            assert purging.cancelled()
            assert await asyncio.to_thread(server.stop) == 0
    sold = len(sources.history.posts)
    figures = {"sold": sold, "gone": gone, "warming_up": before, "after": after, "silence_s": round(silence_s, 3)}
    print(json.dumps(figures))
    assert not sources.refusals, "nobody was refused, and no ping was gone before its post"
    assert {answer["status"] for answer in sources.history.posts.values()} == {"delivered"}
    assert gone["pings"] > sold / 2
    assert after["file"] <= before["file"] * GROWTH
    assert after["file"] < sold * 16_000 / 2, "as if nothing had been purged"
    assert silence_s < 3.0
    assert max(before["log"], after["log"]) <= LOG_BYTES
