"""`lexchange store` and `lexchange migrate` as an operator runs them, over real stores of both engines."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from lexchange.storage import Store
from tests.commands.processes import ROOT, lexchange, serving
from tests.commands.test_serve import PING, options, post
from tests.exchange.cases import campaign_of, replies_of
from tests.exchange.scripted_buyers import scripted_buyers
from tests.exchange.transports import Rest
from tests.storage.examples import NOW_MS, a_lead, a_ping, slot
from tests.storage.servers import TEMPLATE, Servers, binaries

PINGS, LEADS = 3_000, 40
CONFIGS = 25  # several batches


async def fill(url: str) -> None:
    """Pings, leads with slots, a lead of unknown outcome, answers under idempotency keys, configurations."""
    async with Store.open(url) as store:
        for start in range(0, PINGS, 500):
            await asyncio.gather(*(store.record_ping(a_ping(number)) for number in range(start, start + 500)))
        for number in range(LEADS):
            lead = a_lead(number, a_ping(number).ping_id)
            await store.claim_lead(lead, takes=[slot("auto:buyer:acme", 1_000)], now_ms=NOW_MS)
        for number in range(CONFIGS):
            await store.publish_config(f"v{number}", b"\x00" * number, summary="auto", node="one", now_ms=NOW_MS)


def copy(*arguments: str) -> dict[str, Any]:
    done = lexchange("store", "copy", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def totals(url: str) -> Any:
    return json.loads(lexchange("store", "totals", "--store", url, "--json").stdout)


async def test_store_is_moved_and_moved_back(store: str, tmp_path: Path) -> None:
    """From a file to the engine and back to a file: every table is equal, by count and checksum; so are the totals."""
    first, last = f"sqlite:///{tmp_path}/first.db", f"sqlite:///{tmp_path}/last.db"
    await fill(first)
    there, back = copy(first, store), copy(store, last)
    for result in (there, back):
        assert (result["ok"], result["is_resumed"], result["different"]) == (True, False, [])
        assert result["tables"]["pings"]["source"] == result["tables"]["pings"]["target"]
        assert result["tables"]["pings"]["copied_now"] == PINGS
    assert totals(first) == totals(store) == totals(last)
    async with Store.open(first) as one, Store.open(last) as other:
        for number in (0, 1, PINGS - 1):
            assert await one.audit.find_ping(a_ping(number).ping_id) == await other.audit.find_ping(
                a_ping(number).ping_id
            )


async def test_copy_that_was_killed_goes_on(store: str, tmp_path: Path) -> None:
    """`kill -9` in the midst of a table: the same command goes on, and both sides are equal at the end."""
    source = f"sqlite:///{tmp_path}/source.db"
    await fill(source)
    command = [sys.executable, "-m", "lexchange", "store", "copy", source, store]
    copying = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
    assert copying.stderr is not None
    async for line in copying.stderr:
        if line.startswith(b"copied pings"):
            break
    with suppress(ProcessLookupError):
        copying.kill()
    await copying.wait()
    resumed = lexchange("store", "copy", source, store, "--json")
    if resumed.returncode:  # it had come to its end before it was killed
        assert "got one that has rows" in resumed.stderr
    else:
        assert json.loads(resumed.stdout)["different"] == []
    assert totals(store) == totals(source)


@pytest.mark.parametrize(
    ("target", "said"),
    [("source.db", "expected two stores, got one twice"), ("full.db", "got one that has rows")],
)
async def test_copy_is_refused(target: str, said: str, tmp_path: Path) -> None:
    """Onto itself, or into a store that has something: in one line, and nothing is changed."""
    await fill(f"sqlite:///{tmp_path}/source.db")
    async with Store.open(f"sqlite:///{tmp_path}/full.db") as full:
        await full.record_ping(a_ping(1))
    refused = lexchange("store", "copy", f"sqlite:///{tmp_path}/source.db", f"sqlite:///{tmp_path}/{target}")
    assert (refused.returncode, said in refused.stderr) == (1, True)


async def test_store_that_is_served_is_not_copied(tmp_path: Path) -> None:
    """A copy of what is written to is worth nothing; who serves it is named."""
    (tmp_path / "auto.yaml").write_bytes(campaign_of({}, "127.0.0.1:1"))
    with serving(*options(tmp_path)) as server:
        refused = lexchange("store", "copy", f"sqlite:///{tmp_path}/store.db", f"sqlite:///{tmp_path}/copy.db")
        assert refused.returncode == 1
        assert "expected a store that nobody serves, got process" in refused.stderr
        assert await asyncio.to_thread(server.stop) == 0
    assert copy(f"sqlite:///{tmp_path}/store.db", f"sqlite:///{tmp_path}/copy.db")["ok"]


def back_up_file(url: str, to: Path, servers: Servers) -> str:
    """As docs/operations.md says."""
    done = lexchange("store", "backup", str(to), "--store", url)
    assert done.returncode == 0, done.stderr
    return f"sqlite:///{to}"


def dump_and_restore(url: str, to: Path, servers: Servers) -> str:
    """As docs/operations.md says; gives the URL of what was restored."""
    programs, restored = binaries("18"), f"{to.stem}_restored"
    assert programs is not None
    servers("18").execute(f"CREATE DATABASE {restored}")
    restored_url = servers("18").url(restored)
    dump = [f"{programs}/pg_dump", "--format=custom", f"--file={to}", f"--dbname={url}"]
    restore = [f"{programs}/pg_restore", "--exit-on-error", f"--dbname={restored_url}", str(to)]
    for command in (dump, restore):
        subprocess.run(command, check=True, capture_output=True)
    return restored_url


@pytest.mark.parametrize("back_up", [back_up_file, dump_and_restore], ids=["sqlite", "postgres"])
async def test_backup_while_the_store_is_served(
    back_up: Callable[[str, Path, Servers], str], tmp_path: Path, servers: Servers
) -> None:
    """Everything that was acknowledged before it began is in it; one of a store at rest adds up to the same."""
    async with scripted_buyers(replies_of({})) as buyers, AsyncExitStack() as stack:
        (tmp_path / "auto.yaml").write_bytes(campaign_of({}, buyers.address))
        url = f"sqlite:///{tmp_path}/store.db"
        if back_up is dump_and_restore:
            url = stack.enter_context(servers("18").database(TEMPLATE))
        with serving(*options(tmp_path, "--store", url)) as server:
            async with aiohttp.ClientSession() as http:
                source = Rest(server.http, http)

                async def sell() -> str:
                    _, offered = await source.send(PING)
                    _, sold = await source.send(post(offered["ping_id"]))
                    return str(sold["lead_id"])

                before = [await sell() for _ in range(20)]
                async with asyncio.TaskGroup() as group:
                    backing = group.create_task(asyncio.to_thread(back_up, url, tmp_path / "busy", servers))
                    while not backing.done():
                        await sell()
            assert await asyncio.to_thread(server.stop) == 0
        async with Store.open(backing.result()) as restored:
            for lead_id in before:
                assert await restored.audit.find_lead(lead_id) is not None
        sold = totals(backing.result())["leads"]["delivered"]
        assert len(before) <= sold <= totals(url)["leads"]["delivered"]
        assert totals(back_up(url, tmp_path / "quiet", servers)) == totals(url)


def test_migrate_says_what_it_does(store: str) -> None:
    """Once it makes the tables or finds them, and then there is nothing to do."""
    assert lexchange("migrate", "--store", store).returncode == 0
    again = lexchange("migrate", "--store", store)
    assert again.returncode == 0
    assert "is up to date" in again.stdout
