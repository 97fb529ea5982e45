"""`lexchange purge`, and the purge that `serve` does by itself: what goes, what a kill leaves, what sources notice."""

import asyncio
import gzip
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from lexchange.ids import Ids
from lexchange.lead import Fingerprint, Lead, LeadState, PingState
from lexchange.retention import DAY_MS
from lexchange.storage import Store
from tests.commands.invariants import check, settled, world
from tests.commands.processes import lexchange, serving
from tests.commands.sources import selling
from tests.commands.test_serve import options
from tests.exchange.cases import Case, campaign_of, replies_of
from tests.exchange.scripted_buyers import scripted_buyers
from tests.storage.examples import LATE, a_lead, a_ping, an_attempt, ended, slot
from tests.storage.test_purges import rows

OLD = 450  # pings, and two thirds as many leads: several pages
RETENTION: Case = {"change": {"retention": {"ping_days": 30, "lead_days": 60, "lead_data_days": 10}}}
COUNTER = "auto:buyer:acme:leads:total:all"
OLD_COUNTER = "auto:buyer:acme:leads:day:2020-01-01"


class Past:
    """A clock that stands in the past."""

    def __init__(self, days: int) -> None:
        self._ms = int(time.time() * 1000) - days * DAY_MS

    def now_ms(self) -> int:
        return self._ms


async def fill(url: str, days: int = 100, count: int = OLD) -> list[Lead]:
    """Pings of so many days ago, late answers, leads of two of three, one of unknown outcome; the leads."""
    clock = Past(days)
    ids, now_ms = Ids(clock), clock.now_ms()

    async def one(store: Store, number: int) -> Lead | None:
        ping = a_ping(ping_id=ids.ping_id(), campaign="auto", created_ms=now_ms, expires_ms=now_ms + 900_000)
        await store.record_ping(ping)
        await store.record_late_answers(ping.campaign, ping.ping_id, [LATE])
        return await _sell(store, ids, ping.ping_id, now_ms, is_unknown=number == 1) if number % 3 else None

    async with Store.open(url) as store:
        leads = await asyncio.gather(*(one(store, number) for number in range(count)))
    return [lead for lead in leads if lead is not None]


async def _sell(store: Store, ids: Ids, ping_id: str, now_ms: int, *, is_unknown: bool) -> Lead:
    attempt = an_attempt(delivery_id=ids.delivery_id(), started_ms=now_ms, answer="sold to Zoë")
    lead = a_lead(
        lead_id=ids.lead_id(),
        ping_id=ping_id,
        campaign="auto",
        created_ms=now_ms,
        updated_ms=now_ms,
        attempts=[attempt],
        delivery_id=attempt.delivery_id,
        takes=[slot(COUNTER if is_unknown else OLD_COUNTER, limit=OLD * 10)],
    )
    mark = Fingerprint(campaign="auto", scope_key="", digest=lead.lead_id, since_ms=0)
    await store.claim_lead(lead, takes=lead.takes, fingerprints=[mark], now_ms=now_ms)
    final = ended(lead, LeadState.UNKNOWN if is_unknown else LeadState.DELIVERED)
    await store.finish_lead(final)
    return final


async def purged(url: str) -> None:
    """Wait until what is old is gone."""
    for _ in range(120):
        if (await left(url))["fingerprints"] == 1:  # leads go last
            return
        await asyncio.sleep(0.5)
    raise AssertionError(await left(url))


async def left(url: str) -> dict[str, int]:
    async with Store.open(url) as store:
        return await rows(store)


@pytest.fixture
def config(tmp_path: Path) -> str:
    """The campaign, with ages."""
    file = tmp_path / "auto.yaml"
    file.write_bytes(campaign_of(RETENTION, "127.0.0.1:9"))
    return str(file)


# --------------------------------------------------------------------------------------------------------- the command


async def test_what_is_due_is_counted_then_purged(store: str, config: str) -> None:
    """A dry run changes nothing, and says what the run then does; a second run finds nothing."""
    leads = await fill(store)
    before = await left(store)
    dry = await asyncio.to_thread(lexchange, "purge", "--store", store, "--config", config, "--dry-run", "--json")
    many = len(leads) - 1
    due = {"lead_data": many, "pings": OLD - 1, "leads": many}
    assert json.loads(dry.stdout) == {"due": {"auto": due}}
    assert await left(store) == before
    done = await asyncio.to_thread(lexchange, "purge", "--store", store, "--config", config, "--json")
    assert json.loads(done.stdout)["gone"] == due | {"cap_counters": 1}
    one = {"pings": 1, "leads": 1, "late_answers": 1, "fingerprints": 1, "cap_counters": 1}
    assert await left(store) == one, "the lead of unknown outcome, and its ping"
    again = await asyncio.to_thread(lexchange, "purge", "--store", store, "--config", config)
    assert (again.returncode, again.stdout) == (0, "nothing was due\n")


async def test_what_goes_is_archived_first(store: str, config: str, tmp_path: Path) -> None:
    """Each row once for each step that takes something from it; readable by its owner alone, never written over."""
    leads = await fill(store, count=30)
    archive = tmp_path / "gone.jsonl.gz"
    command = ("purge", "--store", store, "--config", config, "--archive", str(archive))
    done = await asyncio.to_thread(lexchange, *command)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in gzip.decompress(archive.read_bytes()).splitlines()]
    kept = [line["lead"] for line in lines if "lead" in line]
    full = {lead["lead_id"]: lead for lead in kept if lead["data"]}
    sold = {lead.lead_id: lead for lead in leads if lead.state is LeadState.DELIVERED}
    assert full.keys() == sold.keys()
    assert all(lead["data"] == sold[name].data and lead["attempts"][0]["answer"] for name, lead in full.items())
    assert len(kept) == 2 * len(sold)
    assert len([line for line in lines if "ping" in line]) == 29
    assert archive.stat().st_mode & 0o777 == 0o600
    refused = await asyncio.to_thread(lexchange, *command)
    assert (refused.returncode, refused.stderr.count("expected a path where nothing is")) == (1, 1)


async def test_a_campaign_that_is_no_more_goes_by_hand(store: str, config: str, tmp_path: Path) -> None:
    """Nothing of it goes by itself."""
    await fill(store, count=3)
    other = tmp_path / "other.yaml"
    other.write_bytes(campaign_of({"change": {"campaign": "other"}}, "127.0.0.1:9"))
    command = ("purge", "--store", store, "--config", str(other))
    assert (await asyncio.to_thread(lexchange, *command)).stdout == "nothing was due\n"
    unknown = await asyncio.to_thread(lexchange, *command, "--campaign", "auto")
    assert unknown.stderr.endswith("--campaign auto: expected one of other, or --older-than 90d beside it\n")
    younger = await asyncio.to_thread(lexchange, *command, "--campaign", "auto", "--older-than", "101d")
    assert younger.stdout == "counters of past windows: 1\n"
    gone = await asyncio.to_thread(lexchange, *command, "--campaign", "auto", "--older-than", "99d", "--json")
    assert json.loads(gone.stdout)["gone"] == {"pings": 2, "leads": 1}


async def test_what_is_in_force_says_what_goes(store: str, config: str) -> None:
    """Files are not asked for: those of this machine may say something else by now."""
    await fill(store, count=3)
    refused = await asyncio.to_thread(lexchange, "purge", "--store", store)
    assert "no configuration is in force: expected a version" in refused.stderr
    published = await asyncio.to_thread(lexchange, "config", "publish", config, "--dev", "--store", store)
    assert published.returncode == 0, published.stderr
    dry = await asyncio.to_thread(lexchange, "purge", "--store", store, "--dry-run", "--json")
    done = await asyncio.to_thread(lexchange, "purge", "--store", store, "--json")
    assert json.loads(dry.stdout)["due"] == {"auto": {"lead_data": 1, "pings": 2, "leads": 1}}
    assert json.loads(done.stdout)["gone"] == {"lead_data": 1, "pings": 2, "leads": 1, "cap_counters": 1}


def test_a_mistake_leaves_no_archive_behind(tmp_path: Path, config: str) -> None:
    """Or the command, put right, would be refused for it."""
    archive = tmp_path / "gone.jsonl.gz"
    command = ("purge", "--config", config, "--archive", str(archive))
    assert lexchange(*command, "--store", f"sqlite:///{tmp_path}/mistyped.db").returncode == 1
    assert not archive.exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--older-than", "90d"], "--older-than: expected --campaign beside it"),
        (["--campaign", "auto", "--older-than", "0d"], "--older-than 0d: expected days such as 90d"),
        (["--campaign", "auto", "--older-than", "1d"], "expected no less than the 48 h in which auto looks for dupl"),
        (["--archive", "/nowhere/x.gz"], "--archive /nowhere/x.gz: cannot write there: No such file"),
    ],
)
def test_a_wrong_option_says_what_was_expected(arguments: list[str], expected: str, tmp_path: Path) -> None:
    change = {"change": {"duplicates": {"fields": ["email"], "window_h": 48}}}
    (tmp_path / "auto.yaml").write_bytes(campaign_of(change, "127.0.0.1:9"))
    asyncio.run(fill(f"sqlite:///{tmp_path}/store.db", count=1))
    done = lexchange("purge", "--store", f"sqlite:///{tmp_path}/store.db", "--config", str(tmp_path), *arguments)
    assert done.returncode == 1
    assert expected in done.stderr


async def test_what_is_shown_of_a_lead_says_that_its_values_are_gone(tmp_path: Path, config: str) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    leads = await fill(store, days=20, count=3)
    assert (await asyncio.to_thread(lexchange, "purge", "--store", store, "--config", config)).returncode == 0
    lead_id = leads[-1].lead_id
    shown = await asyncio.to_thread(lexchange, "show", lead_id, "--data", "--store", store)
    assert "the lead's values and the buyers' own words are gone" in shown.stdout
    assert "zoe@example.com" not in shown.stdout
    facts = json.loads((await asyncio.to_thread(lexchange, "show", lead_id, "--json", "--store", store)).stdout)
    lead = facts["lead"]
    assert lead["data"] == {}
    assert lead["data_purged"].endswith(" UTC")
    assert [(each["buyer"], each["bid"], each["answer"]) for each in lead["attempts"]] == [("acme", "7.00", None)]


async def test_a_purged_store_is_copied_as_any_other(tmp_path: Path, config: str) -> None:
    store, copied = (f"sqlite:///{tmp_path}/{name}.db" for name in ("store", "copied"))
    await fill(store, days=40, count=30)
    assert (await asyncio.to_thread(lexchange, "purge", "--store", store, "--config", config)).returncode == 0
    done = await asyncio.to_thread(lexchange, "store", "copy", store, copied, "--json")
    assert json.loads(done.stdout)["ok"]
    assert await left(copied) == await left(store)


# --------------------------------------------------------------------------------------------------------- kills


@pytest.mark.parametrize("point", ["commit_before:1", "commit_after:1", "commit_before:4", "commit_after:9"])
async def test_a_killed_purge_leaves_a_consistent_store(point: str, store: str, config: str) -> None:
    """What belongs to a row is there with it, and gone with it; the same command goes on to the same end."""
    await fill(store)
    command = ("purge", "--store", store, "--config", config)
    killed = await asyncio.to_thread(lexchange, *command, LEXCHANGE_FAILPOINT=point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    async with Store.open(store) as opened:
        pings = {ping.ping_id: ping for ping in await opened.audit.recent_pings(OLD)}
        leads = await opened.audit.recent_leads(OLD)
        counts = await rows(opened)
        assert counts["late_answers"] == len(pings)
        assert counts["fingerprints"] == len(leads)
        claimed = {ping.lead_id for ping in pings.values() if ping.state is PingState.CLAIMED}
        assert claimed <= {lead.lead_id for lead in leads}, "pings go before the leads that they became"
        assert all(bool(lead.data) is (lead.data_purged_ms is None) for lead in leads)
    done = await asyncio.to_thread(lexchange, *command)
    assert done.returncode == 0, done.stderr
    one = {"pings": 1, "leads": 1, "late_answers": 1, "fingerprints": 1, "cap_counters": 1}
    assert await left(store) == one


# --------------------------------------------------------------------------------------------------- while it is served


async def test_serve_purges_by_itself_and_sources_notice_nothing(store: str, tmp_path: Path) -> None:
    """Two processes under load, of which one purges: all that holds for sold leads holds; the old ones are gone."""
    old = await fill(store, count=1_500)
    case: Any = world(10_000)
    case["change"] |= RETENTION["change"]
    async with scripted_buyers(replies_of(case)) as buyers:
        (tmp_path / "auto.yaml").write_bytes(campaign_of(case, buyers.address))
        command = options(tmp_path, "--store", store, "--workers", "2")
        with serving(*command, LEXCHANGE_PURGE_PAUSE_S="1") as server:
            async with selling([server]) as sources:
                await purged(store)
            async with Store.open(store) as opened:
                await settled(opened)
                assert [lead.lead_id for lead in await opened.audit.unresolved_leads()] == [old[0].lead_id]
            assert await asyncio.to_thread(server.stop) == 0
        assert len(sources.history.posts) > 20
        assert not sources.refusals
        await check(store, sources.history, buyers)
