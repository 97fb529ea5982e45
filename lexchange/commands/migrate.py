"""`lexchange migrate`: bring a store's schema up to date before an exchange does, and say what was done."""

import argparse
import asyncio
import json
from collections.abc import Sequence

from lexchange.commands.options import Subparsers, add_store
from lexchange.storage import Store, place_of


def add_parser(subparsers: Subparsers) -> None:
    """Name the options."""
    parser = subparsers.add_parser("migrate", help="make a store, or bring its schema up to date; `serve` does it too")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_store(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Apply what is missing, and name it."""
    applied = list(asyncio.run(_migrate(options.store)))
    if options.json:
        print(json.dumps({"store": place_of(options.store), "applied": applied}))
    else:
        print("\n".join([*(f"applied {name}" for name in applied), f"{place_of(options.store)} is up to date"]))
    return 0


async def _migrate(url: str) -> Sequence[str]:
    async with Store.open(url) as store:
        return store.applied
