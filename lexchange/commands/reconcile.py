"""`lexchange reconcile`: leads whose outcome nobody knows, with the evidence, and an operator's word on them."""

import argparse
import asyncio
import json
from typing import Any

from lexchange.clock import SystemClock
from lexchange.commands.options import Subparsers, add_store, existing_store
from lexchange.errors import LexchangeError
from lexchange.explain import as_text, explain_lead
from lexchange.lead import LeadState


def add_parser(subparsers: Subparsers) -> None:
    """Name the options."""
    parser = subparsers.add_parser("reconcile", help="list leads of unknown outcome, and settle them")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="leads that are unknown or still in flight, oldest first")
    listing.add_argument("--json", action="store_true", help="print JSON")
    add_store(listing)
    listing.set_defaults(run=run_list)
    for name, to, text in (
        ("mark-delivered", LeadState.DELIVERED, "the buyer has the lead and owes its price"),
        ("mark-failed", LeadState.FAILED, "the buyer does not have it; its cap slots are given back"),
    ):
        marking = actions.add_parser(name, help=text)
        marking.add_argument("lead_id", metavar="L-…", help="a lead that `list` shows")
        marking.add_argument("--note", required=True, help="who says so and why, kept with the lead")
        add_store(marking)
        marking.set_defaults(run=run_mark, to=to)


def run_list(options: argparse.Namespace) -> int:
    """Print every unresolved lead with its attempts."""
    found = asyncio.run(_list(options))
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(as_text(facts) for facts in found) or "nothing to reconcile")
    return 0


async def _list(options: argparse.Namespace) -> list[dict[str, Any]]:
    async with existing_store(options.store) as store:
        return [explain_lead(lead) for lead in await store.audit.unresolved_leads()]


def run_mark(options: argparse.Namespace) -> int:
    """Settle one lead whose outcome nobody knows; refused when somebody does (by now)."""
    if not asyncio.run(_mark(options)):
        raise LexchangeError(
            f"{options.lead_id}: expected a lead whose outcome is unknown, or that has been sending for 5 minutes;"
            " see lexchange reconcile list"
        )
    print(f"{options.lead_id} is {options.to} now")
    return 0


async def _mark(options: argparse.Namespace) -> bool:
    async with existing_store(options.store) as store:
        now_ms = SystemClock().now_ms()
        return await store.audit.resolve_lead(options.lead_id, options.to, note=options.note, now_ms=now_ms)
