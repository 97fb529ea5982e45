"""`python -m bench.hot_cap`: what one hot cap costs on PostgreSQL, with and without leases.

Some processes, as of as many machines, sell leads against one cap that is never full: each lead is a claim and its
outcome, as the store sees a direct post. Both subjects take turns in one run, on a server that syncs to the disk; only
their ratio means anything. `--commit-ms` has each commit keep its locks for longer, as with a synchronous standby that
is so far away, and as there commits wait beside each other.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg

from bench.tools import make_cache
from lexchange.blocks import BlockRule
from lexchange.lead import LeadState
from lexchange.storage import Store
from tests.storage.examples import NOW_MS, a_lead, ended, slot
from tests.storage.servers import PostgresServer, binaries

ROUNDS, WARM_S = 5, 1.0
LIMIT = 1_000_000_000
SLOW = """
CREATE FUNCTION wait_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('bench.waited', true) IS DISTINCT FROM pg_current_xact_id()::text THEN
        PERFORM set_config('bench.waited', pg_current_xact_id()::text, true), pg_sleep(%f);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER wait AFTER INSERT OR UPDATE ON leads
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_once()"""
NEVER = 1 << 30


async def sell(store: Store, node: int, tasks: int, seconds: float) -> float:
    """Leads a second that this node sells, many at once."""
    numbers = iter(range(node << 64, (node + 1) << 64))
    counted = [0]
    began = time.monotonic()

    async def lane() -> None:
        while (now := time.monotonic()) < began + WARM_S + seconds:
            lead = a_lead(next(numbers), takes=[slot("c:cap", LIMIT)], buyers=[])
            await store.claim_lead(lead, takes=lead.takes, now_ms=NOW_MS)
            await store.finish_lead(ended(lead, LeadState.DELIVERED))
            counted[0] += now > began + WARM_S

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(lane())
    return counted[0] / seconds


async def node(url: str, number: int, hot_per_s: int, tasks: int, seconds: float) -> None:
    """One process: say what it sold a second."""
    async with Store.open(url) as store:
        store.lease_caps(f"node{number}", BlockRule(hot_per_s=hot_per_s))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        sold = await sell(store, number, tasks, seconds)
        await store.stop_leasing_caps()
    print(sold)


async def prepare(url: str, commit_ms: int) -> None:
    """Make the tables, and have each transaction that touches a lead wait before its commit."""
    async with Store.open(url):
        pass
    if commit_ms:
        connection = await asyncpg.connect(url)
        await connection.execute(SLOW % (commit_ms / 1000))
        await connection.close()


def both(url: str, first: int, hot_per_s: int, options: argparse.Namespace) -> float:
    """Leads a second of all nodes together."""
    command = [sys.executable, "-m", "bench.hot_cap", "--url", url, "--tasks", str(options.tasks)]
    command += ["--seconds", str(options.seconds), "--hot-per-s", str(hot_per_s)]
    nodes = [
        subprocess.Popen([*command, "--node", str(first + number)], stdin=-1, stdout=-1, text=True)
        for number in range(options.nodes)
    ]
    for each in nodes:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in nodes:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    return sum(float(each.communicate()[0]) for each in nodes)


def measure(options: argparse.Namespace) -> None:
    """Both subjects in turns, on one server."""
    programs = binaries("18")
    if programs is None:
        sys.exit("bench: PostgreSQL 18 is missing: make setup")
    subjects = {"shared": NEVER, "leased": options.hot_per_s}  # from how many takes a second a node leases
    sold: dict[str, list[float]] = {name: [] for name in subjects}
    with tempfile.TemporaryDirectory(prefix="run-", dir=make_cache()) as folder:
        Path(folder).chmod(0o755)
        server = PostgresServer(programs, Path(folder), ())
        server.start()
        try:
            with server.database() as url:
                asyncio.run(prepare(url, options.commit_ms))
                for turn in range(ROUNDS):
                    for place, (name, hot_per_s) in enumerate(subjects.items()):
                        first = 1 + (turn * len(subjects) + place) * options.nodes
                        sold[name].append(both(url, first, hot_per_s, options))
        finally:
            server.stop()
    ratios = [leased / shared for shared, leased in zip(sold["shared"], sold["leased"], strict=True)]
    print(f"{options.nodes} nodes x {options.tasks} tasks, commits {options.commit_ms} ms longer, {ROUNDS} rounds")
    for name, rounds in sold.items():
        print(f"{name}: {statistics.median(rounds):,.0f} leads/s ({min(rounds):,.0f}-{max(rounds):,.0f})")
    print(f"leased / shared: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


def main() -> None:
    """Measure, or be one of the nodes."""
    parser = argparse.ArgumentParser(prog="bench.hot_cap", description="One hot cap, with and without leases.")
    parser.add_argument("--nodes", type=int, default=2, help="processes that sell")
    parser.add_argument("--tasks", type=int, default=32, help="calls in flight of each node")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    parser.add_argument("--commit-ms", type=int, default=0, help="how much longer a commit takes")
    hot_per_s = BlockRule().hot_per_s
    parser.add_argument("--hot-per-s", type=int, default=hot_per_s, help="takes of a node from which on it leases")
    for hidden in ("--url", "--node"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.url is None:
        measure(options)
    else:
        asyncio.run(node(options.url, int(options.node), options.hot_per_s, options.tasks, options.seconds))


if __name__ == "__main__":
    main()
