"""Races of several worker processes on one store, and one that is killed."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lexchange.storage import Store
from tests.storage.examples import NOW_MS, TTL_MS, a_ping, slot

ROOT = Path(__file__).resolve().parents[2]
PINGS = 200


def spawn(part: str, url: str, *arguments: int) -> subprocess.Popen[str]:
    """A worker that waits for its start."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.storage.worker", part, url, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def race(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Start all at once; what each printed."""
    start(processes)
    said = [process.communicate(timeout=30)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return said


def start(processes: Sequence[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


async def test_race_of_claims(url: str):
    """Two processes claim the same 200 pings: each ping once, one slot for each, and one lead."""
    async with Store.open(url) as store:
        for number in range(1, PINGS + 1):
            await store.record_ping(a_ping(number))
        claimed = race([spawn("claim", url, who, PINGS) for who in (1, 2)])
        assert sum(map(int, claimed)) == PINGS
        assert await store.read_counters(["c"]) == {"c": PINGS}
        assert len(await store.audit.recent_leads(1_000)) == PINGS


async def test_race_for_a_cap(url: str):
    """Two processes take 200 slots of a cap of 150: never more than 150."""
    taken = race([spawn("take", url, 150, 100) for _ in range(2)])
    assert sum(map(int, taken)) == 150
    async with Store.open(url) as store:
        assert await store.read_counters(["c"]) == {"c": 150}


async def test_race_for_expired_holds(url: str):
    """Two processes release the same holds: each slot comes back once."""
    async with Store.open(url) as store:
        for number in range(1, 51):
            await store.record_ping(a_ping(number), [slot("home:c", 60)])
        await store.record_ping(a_ping(51, expires_ms=NOW_MS + TTL_MS + 1), [slot("home:c", 60)])
        released = race([spawn("release", url) for _ in range(2)])
        assert sum(map(int, released)) == 50
        assert await store.read_counters(["home:c"]) == {"home:c": 1}


async def test_race_to_make_the_database(empty_url: str):
    """Four workers that open a store which does not exist all come up."""
    assert race([spawn("opened", empty_url) for _ in range(4)]) == ["None"] * 4


async def test_acknowledged_pings_survive_a_kill(url: str):
    """What was acknowledged before `kill -9` is there afterwards, whole."""
    with spawn("ping", url, 1) as killed:
        start([killed])
        assert killed.stdout is not None
        acknowledged = [killed.stdout.readline().strip() for _ in range(300)]
        killed.kill()
        acknowledged += killed.stdout.read().split("\n")[:-1]  # the last line may be cut
    assert killed.returncode == -signal.SIGKILL
    async with Store.open(url) as store:
        for ping_id in acknowledged:
            assert await store.audit.find_ping(ping_id) == a_ping(int(ping_id.removeprefix("PING-"), 16))
