"""`lexchange show`: one auction or lead, explained; or the latest ones, a line each."""

import argparse
import asyncio
import json
from typing import Any

from lexchange.commands.options import Subparsers, add_store, existing_store
from lexchange.errors import LexchangeError
from lexchange.explain import as_text, explain_lead, explain_ping, line_of_lead, line_of_ping
from lexchange.storage import place_of


def add_parser(subparsers: Subparsers) -> None:
    """Name the options."""
    parser = subparsers.add_parser("show", help="explain one ping or lead: who won, lost or was never asked, and why")
    parser.add_argument("id", nargs="?", metavar="PING-…|L-…|DEL-…", help="what to explain")
    parser.add_argument("--recent", type=int, metavar="N", help="list the newest N pings, then the newest N leads")
    parser.add_argument("--src", default="", help="with --recent: of this source only")
    parser.add_argument("--reason", default="", help="with --recent: with this reason only")
    parser.add_argument("--data", action="store_true", help="show the lead's values, which are masked otherwise")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_store(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the explanation; 1 when the store has nothing under this id."""
    if (options.id is None) == (options.recent is None):
        raise LexchangeError("show: expected an id (PING-…, L-… or DEL-…) or --recent N")
    if options.recent is not None:
        lines = asyncio.run(_recent(options))
        print(json.dumps(lines, indent=2) if options.json else "\n".join(line["text"] for line in lines))
        return 0
    facts = asyncio.run(_explain(options))
    if facts is None:
        raise LexchangeError(f"{options.id}: not in {place_of(options.store)}")
    print(json.dumps(facts, indent=2, ensure_ascii=False) if options.json else as_text(facts))
    return 0


async def _explain(options: argparse.Namespace) -> dict[str, Any] | None:
    wanted, shows_data = options.id, options.data
    async with existing_store(options.store) as store:
        if wanted.startswith("PING-"):
            ping = await store.audit.find_ping(wanted)
            lead = await store.audit.find_lead_of_ping(wanted)
            return explain_ping(ping, lead, shows_data=shows_data) if ping else None
        find = store.audit.find_delivery if wanted.startswith("DEL-") else store.audit.find_lead
        lead = await find(wanted)
        if lead and lead.ping_id and (ping := await store.audit.find_ping(lead.ping_id)):
            return explain_ping(ping, lead, shows_data=shows_data)
        return explain_lead(lead, shows_data=shows_data) if lead else None


async def _recent(options: argparse.Namespace) -> list[dict[str, Any]]:
    async with existing_store(options.store) as store:
        pings = await store.audit.recent_pings(options.recent, src=options.src, reason=options.reason)
        leads = await store.audit.recent_leads(options.recent, src=options.src, reason=options.reason)
    return [line_of_ping(ping) for ping in pings] + [line_of_lead(lead) for lead in leads]
