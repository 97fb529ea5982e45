"""`lexchange purge`: delete what campaigns keep no longer, now; `serve` does the same by itself, now and then."""

import argparse
import asyncio
import gzip
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType

import orjson

from lexchange.campaign import Campaign
from lexchange.campaign_file import LoadedCampaigns, load_campaigns, load_documents
from lexchange.clock import SystemClock
from lexchange.commands.config import stored_documents
from lexchange.commands.options import Subparsers, add_option, add_store, existing_store, pepper
from lexchange.config import Limits
from lexchange.errors import ConfigError
from lexchange.lead import Lead, Ping
from lexchange.leases import alive
from lexchange.purge import RESTS, Purge
from lexchange.retention import Part, Retention, due
from lexchange.storage import Store

LINE_S = 1.0  # between two lines of progress
SCAN_MS = 3_600_000
DAYS = re.compile(r"([1-9][0-9]{0,4})d")
NAMES = {
    Part.PINGS: "pings",
    Part.LEADS: "leads",
    Part.LEAD_DATA: "leads without their personal values",
    "remembered_calls": "idempotency keys",
    "cap_counters": "counters of past windows",
}


def add_parser(subparsers: Subparsers) -> None:
    """Name the options."""
    parser = subparsers.add_parser("purge", help="delete what campaigns keep no longer")
    add_option(parser, "config", "", "campaign files whose `retention` says what goes, instead of what is in force")
    add_store(parser)
    parser.add_argument("--campaign", metavar="NAME", help="of this campaign only")
    parser.add_argument("--older-than", metavar="90d", help="with --campaign: this age, also of one that is no more")
    parser.add_argument("--archive", metavar="FILE", type=Path, help="first write what goes to FILE, .jsonl.gz")
    parser.add_argument("--dry-run", action="store_true", help="count what is due, delete nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Delete, or count, what is due."""
    limits = Limits.from_environment()
    if options.dry_run:
        counts = asyncio.run(_count(options, limits))
        print(json.dumps({"due": counts}, indent=2) if options.json else _as_text(counts))
        return 0
    began = time.monotonic()
    gone = asyncio.run(_purge(options, limits))
    if options.json:
        print(json.dumps({"gone": gone, "seconds": round(time.monotonic() - began, 3)}, indent=2))
    else:
        print("\n".join(f"{NAMES[part]}: {count:,}" for part, count in gone.items()) or "nothing was due")
    return 0


async def _retentions(store: Store, options: argparse.Namespace) -> dict[str, Retention]:
    """What the command is to purge by: the campaigns' own ages, or for one campaign the age that is asked for."""
    campaigns = {campaign.campaign: campaign for campaign in (await _campaigns(store, options.config)).campaigns}
    if options.older_than is not None:
        if options.campaign is None:
            raise ConfigError("--older-than: expected --campaign beside it; others go by their `retention`")
        return {options.campaign: _by_hand(options.older_than, campaigns.get(options.campaign))}
    if options.campaign is None:
        return {name: campaign.retention for name, campaign in campaigns.items()}
    if options.campaign not in campaigns:
        known = ", ".join(sorted(campaigns))
        raise ConfigError(f"--campaign {options.campaign}: expected one of {known}, or --older-than 90d beside it")
    return {options.campaign: campaigns[options.campaign].retention}


async def _campaigns(store: Store, path: str) -> LoadedCampaigns:
    """Those of the files there, else those in force."""
    if path:
        return load_campaigns(Path(path), is_dev=True, pepper=pepper(), environment=os.environ)
    _, documents = await stored_documents(store)
    return load_documents(documents, Path(), is_dev=True, pepper=pepper(), environment=os.environ)


def _by_hand(age: str, campaign: Campaign | None) -> Retention:
    if not (match := DAYS.fullmatch(age)):
        raise ConfigError(f"--older-than {age}: expected days such as 90d")
    days = int(match[1])
    if campaign and campaign.duplicates and days * 24 < campaign.duplicates.window_h:
        raise ConfigError(
            f"--older-than {age}: expected no less than the {campaign.duplicates.window_h} h in which "
            f"{campaign.campaign} looks for duplicates"
        )
    return Retention(ping_days=days, lead_days=days)


async def _count(options: argparse.Namespace, limits: Limits) -> dict[str, dict[str, int]]:
    now_ms = SystemClock().now_ms()
    counts: dict[str, dict[str, int]] = {}
    async with existing_store(options.store, scan_ms=SCAN_MS) as store:
        for each in due(await _retentions(store, options), now_ms, limits.idempotency_h):
            for campaign, count in (await store.purges.count(each, now_ms)).items():
                counts.setdefault(campaign, {})[each.part] = count
    return counts


async def _purge(options: argparse.Namespace, limits: Limits) -> dict[str, int]:
    async with existing_store(options.store, scan_ms=SCAN_MS) as store:
        chosen = await _retentions(store, options)
        with Archive(options.archive) if options.archive else nullcontext() as archive:
            purge = Purge(store, SystemClock(), limits, rests=await _rests(store, limits), tell=Progress().tell)
            gone: Counter[str] = await purge.run(chosen, archive.keep if archive else None)
    return {part: count for part, count in gone.items() if count}


async def _rests(store: Store, limits: Limits) -> int:
    """Nobody has to be spared where nobody serves."""
    is_served = alive(await store.leases(), SystemClock().now_ms(), limits.lease_s * 1000)
    return RESTS if is_served else 0


def _as_text(counts: dict[str, dict[str, int]]) -> str:
    lines = [
        f"{campaign}: {NAMES[part]}: {count:,}" for campaign, parts in counts.items() for part, count in parts.items()
    ]
    return "\n".join(lines) or "nothing is due"


class Archive:
    """A file of JSON lines, compressed; what `keep` has returned from is on disk."""

    def __init__(self, path: Path) -> None:
        try:
            place = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # it holds people's data
        except FileExistsError:
            raise ConfigError(f"--archive {path}: expected a path where nothing is") from None
        except OSError as error:
            raise ConfigError(f"--archive {path}: cannot write there: {error.strerror}") from error
        self._file = os.fdopen(place, "wb")

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def keep(self, rows: Sequence[Ping | Lead]) -> None:
        """Append rows, as they are stored; each batch can be unpacked even if the next one was torn."""
        lines = [orjson.dumps({"lead" if isinstance(row, Lead) else "ping": row}) for row in rows]
        self._file.write(gzip.compress(b"\n".join([*lines, b""]), mtime=0))
        self._file.flush()
        os.fsync(self._file.fileno())


class Progress:
    """A line a second on stderr."""

    def __init__(self) -> None:
        self._told_s = time.monotonic()

    def tell(self, part: str, count: int, reached: str) -> None:
        """Write a line, if it is time."""
        if time.monotonic() >= self._told_s + LINE_S:
            self._told_s = time.monotonic()
            print(f"{NAMES[part]}: {count:,} so far, up to {reached}", file=sys.stderr, flush=True)
