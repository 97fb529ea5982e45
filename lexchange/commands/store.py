"""`lexchange store`: copy a whole store to another engine or place, back a file up, say what a store adds up to."""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from lexchange.clock import SystemClock
from lexchange.commands.options import Subparsers, add_store, check_exists, existing_store
from lexchange.config import Limits
from lexchange.errors import ConfigError, LexchangeError, StorageError
from lexchange.explain import time_text
from lexchange.leases import alive
from lexchange.money import format_micros
from lexchange.storage import Copied, Copy, Opening, Store, back_up, file_of, place_of

SCAN_MS = 3_600_000  # counting a large table takes longer than an operator's query may on a server that serves
LINE_S = 1.0  # between two lines of progress


def add_parser(subparsers: Subparsers) -> None:
    """Name the options."""
    parser = subparsers.add_parser("store", help="copy a store to another engine or place, back it up, add it up")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    copying = actions.add_parser("copy", help="copy all into an empty store, and prove it equal")
    copying.add_argument("source", metavar="SRC", help="sqlite:///PATH or postgresql://…, served by nobody meanwhile")
    copying.add_argument("target", metavar="DST", help="an empty store, or an unfinished copy of SRC, which goes on")
    copying.add_argument("--json", action="store_true", help="print the result as JSON")
    copying.set_defaults(run=run_copy)
    backing = actions.add_parser("backup", help="write an SQLite store into another file while it is served")
    backing.add_argument("file", metavar="FILE", type=Path, help="a path where nothing is")
    backing.add_argument("--json", action="store_true", help="print JSON")
    add_store(backing)
    backing.set_defaults(run=run_backup)
    adding = actions.add_parser("totals", help="leads by state, sales by campaign, cap counters")
    adding.add_argument("--json", action="store_true", help="print JSON")
    add_store(adding)
    adding.set_defaults(run=run_totals)


# ----------------------------------------------------------------------------------------------------------- copy


def run_copy(options: argparse.Namespace) -> int:
    """0 when both sides are equal at the end, 1 with the tables that are not."""
    began = time.monotonic()
    tables, is_resumed = asyncio.run(_copy(options.source, options.target))
    seconds = time.monotonic() - began
    wrong = [each.table for each in tables if not each.is_equal]
    if options.json:
        facts = {each.table: _facts(each) for each in tables}
        result = {"ok": not wrong, "is_resumed": is_resumed, "seconds": round(seconds, 3), "different": wrong}
        print(json.dumps(result | {"tables": facts}, indent=2))
    if wrong:
        raise LexchangeError(
            f"{', '.join(wrong)}: source and target differ, so the target stays locked. Something wrote to the source "
            "while it was copied: stop it and copy into an empty store."
        )
    if not options.json:
        rows = sum(each.source.rows for each in tables)
        print(f"{place_of(options.target)} holds the same {rows:,} rows as {place_of(options.source)}")
    return 0


def _facts(copied: Copied) -> dict[str, Any]:
    sides = {"source": copied.source, "target": copied.target}
    sums = {name: {"rows": each.rows, "checksum": each.digits} for name, each in sides.items()}
    return {"is_equal": copied.is_equal, "copied_now": copied.brought, **sums}


async def _copy(source_url: str, target_url: str) -> tuple[list[Copied], bool]:
    name = _name_of(source_url)
    if name == _name_of(target_url):
        raise ConfigError("store copy: expected two stores, got one twice")
    async with (
        existing_store(source_url, scan_ms=SCAN_MS, opening=Opening.AS_IT_IS) as source,
        Store.open(target_url, scan_ms=SCAN_MS, opening=Opening.COPY) as target,
    ):
        for store, url in ((source, source_url), (target, target_url)):
            await _refuse_if_served(store, url)
        copy = await _begin(source, target, name, target_url)
        try:
            await copy.run()
        except StorageError as error:
            raise StorageError(f"{error}; the same command goes on from here") from error
        compared = await copy.compare()
        await _refuse_if_served(source, source_url)
        if all(each.is_equal for each in compared):
            await copy.finish()
    return compared, copy.is_resumed


async def _begin(source: Store, target: Store, name: str, target_url: str) -> Copy:
    try:
        return await Copy.begin(source.contents, target.contents, name, Progress().tell)
    except ConfigError as error:
        raise ConfigError(f"{place_of(target_url)}: {error}") from error


async def _refuse_if_served(store: Store, url: str) -> None:
    """A copy of a store that is written to is worth nothing, so there is no way around this."""
    lease_ms = Limits.from_environment().lease_s * 1000
    living = alive(await store.leases(), SystemClock().now_ms(), lease_ms)
    if living:
        told = [f"process {worker}, lease until {time_text(until_ms)}" for worker, until_ms in living.items()]
        raise ConfigError(
            f"{place_of(url)}: expected a store that nobody serves, got {'; '.join(told)}. Stop it and copy again; "
            "one that was killed on another machine is gone when its lease ends."
        )


def _name_of(url: str) -> str:
    """The same for the same store, from wherever it is named."""
    path = file_of(url)
    return f"sqlite:///{os.path.realpath(path)}" if path else place_of(url)


class Progress:
    """Lines on stderr: one a second, and one for the end of each table."""

    def __init__(self) -> None:
        self._under_way = ("", "")
        self._began_s = self._told_s = time.monotonic()
        self._first = 0

    def tell(self, step: str, table: str, rows: int, total: int) -> None:
        """Write a line, if it is time."""
        now_s = time.monotonic()
        if self._under_way != (step, table):
            self._under_way, self._began_s, self._first = (step, table), now_s, rows
        if rows >= total or now_s >= self._told_s + LINE_S:
            self._told_s = now_s
            print(f"{step} {table}: {rows:,} of {total:,} rows{self._pace(rows, now_s)}", file=sys.stderr, flush=True)

    def _pace(self, rows: int, now_s: float) -> str:
        """From the first batch on: how long that one took is not told."""
        behind = rows - self._first
        return f", {behind / (now_s - self._began_s):,.0f} rows/s" if behind else ""


# --------------------------------------------------------------------------------------------------------- backup


def run_backup(options: argparse.Namespace) -> int:
    """Write the file; an exchange that serves the store goes on meanwhile."""
    check_exists(options.store)
    asyncio.run(back_up(options.store, options.file))
    size = options.file.stat().st_size
    facts = {"store": place_of(options.store), "file": str(options.file), "bytes": size}
    print(json.dumps(facts) if options.json else f"{options.file} is a backup of {facts['store']}, {size:,} bytes")
    return 0


# --------------------------------------------------------------------------------------------------------- totals


def run_totals(options: argparse.Namespace) -> int:
    """Print the sums; of a store that is served they are of no single moment."""
    totals = asyncio.run(_totals(options.store))
    print(json.dumps(totals, indent=2) if options.json else _as_text(totals))
    return 0


async def _totals(url: str) -> dict[str, Any]:
    async with existing_store(url, scan_ms=SCAN_MS) as store:
        return await store.audit.totals()


def _as_text(totals: dict[str, Any]) -> str:
    lines = [f"{count:,} leads {state}" for state, count in totals["leads"].items()]
    for campaign, sold in totals["sold"].items():
        price, payout = (format_micros(sold[name], 2) for name in ("price_micros", "payout_micros"))
        lines.append(f"{campaign}: {sold['leads']:,} sold at {price}, payouts {payout}")
    return "\n".join([*lines, *(f"cap {counter}: {used:,}" for counter, used in totals["counters"].items())])
