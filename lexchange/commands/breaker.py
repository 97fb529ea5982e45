"""`lexchange breaker`: which buyers are left alone because they fail, and an operator's word that one is back."""

import argparse
import asyncio
import json
from dataclasses import asdict
from typing import Any

from lexchange.breaker import BreakerState
from lexchange.clock import SystemClock
from lexchange.commands.options import Subparsers, add_store, existing_store
from lexchange.errors import LexchangeError
from lexchange.explain import time_text


def add_parser(subparsers: Subparsers) -> None:
    """Name the options."""
    parser = subparsers.add_parser("breaker", help="list the circuit breakers of buyers, and reset them")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="every breaker that has ever opened, with its state and why")
    listing.add_argument("--json", action="store_true", help="print JSON")
    add_store(listing)
    listing.set_defaults(run=run_list)
    reset = actions.add_parser("reset", help="close a buyer's breakers in every process, within a second")
    reset.add_argument("buyer", metavar="CAMPAIGN/BUYER", help="a buyer that `list` shows")
    add_store(reset)
    reset.set_defaults(run=run_reset)


def run_list(options: argparse.Namespace) -> int:
    """Print what each process said last."""
    found = asyncio.run(_list(options))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(each["text"] for each in found) or "no breaker has ever opened")
    return 0


async def _list(options: argparse.Namespace) -> list[dict[str, Any]]:
    async with existing_store(options.store) as store:
        return [_facts(asdict(row)) for row in await store.audit.breakers()]


def _facts(row: dict[str, Any]) -> dict[str, Any]:
    changed, retry_ms = time_text(row.pop("changed_ms")), row.pop("retry_ms")
    retry = time_text(retry_ms) if retry_ms is not None else None
    shadow = "" if row["is_enforced"] else ", in shadow: he is asked all the same"
    why = f": {row['why']}" if row["why"] else ""
    until = f", until {retry}" if row["state"] == BreakerState.OPEN else ""
    text = f"{row['campaign']}/{row['buyer']} {row['stage']}  {row['state']} since {changed}{until}{shadow}{why}"
    return {**row, "changed": changed, "retry": retry, "text": text}


def run_reset(options: argparse.Namespace) -> int:
    """Close both breakers of one buyer."""
    if not asyncio.run(_reset(options)):
        raise LexchangeError(f"{options.buyer}: expected CAMPAIGN/BUYER as lexchange breaker list shows it")
    print(f"{options.buyer} is asked again")
    return 0


async def _reset(options: argparse.Namespace) -> bool:
    campaign, _, buyer = options.buyer.partition("/")
    async with existing_store(options.store) as store:
        return await store.audit.reset_breakers(campaign, buyer, now_ms=SystemClock().now_ms())
