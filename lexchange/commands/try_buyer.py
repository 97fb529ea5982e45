"""`lexchange try BUYER`: the exact request a lead would become, and with --send how the buyer's answer reads."""

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import Any

import yaml

from lexchange.buyers.addresses import AddressRule
from lexchange.buyers.call import BuyerCall
from lexchange.buyers.client import BuyerClient
from lexchange.buyers.documents import Document, reparse
from lexchange.buyers.http_answer import ClientLimits
from lexchange.buyers.mapping import UnmappableLead
from lexchange.campaign_file import load_campaigns
from lexchange.catalog import Catalog, LiveBuyer, LiveCampaign
from lexchange.clock import SystemClock
from lexchange.commands.options import Subparsers, add_flag, add_option, pepper
from lexchange.config import Limits
from lexchange.errors import LexchangeError
from lexchange.trial import Facts, Sent, Trial, described


def add_parser(subparsers: Subparsers) -> None:
    """Name the options."""
    parser = subparsers.add_parser("try", help="show what a buyer would be sent for a lead, and how his answer reads")
    parser.add_argument("buyer", metavar="BUYER", help="his id, or CAMPAIGN/ID")
    add_option(parser, "config", None, "a campaign file, or a folder of them")
    parser.add_argument("--lead", type=Path, required=True, help='JSON or YAML: {"data": {…}}, or the fields alone')
    stage = parser.add_mutually_exclusive_group()
    stage.add_argument("--ping", action="store_true", help="his ping (the default, where he has one)")
    stage.add_argument("--post", action="store_true", help="his post")
    parser.add_argument("--ping-answer", type=Path, metavar="FILE", help="his ping answer, which the post takes from")
    parser.add_argument("--send", action="store_true", help="really send it; a post is preceded by its ping")
    add_flag(parser, "dev", "allow what `serve --dev` allows")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the trial; 1 when the lead cannot be written, or what was sent was not accepted."""
    live, campaign = _find(options)
    sources = [source.src for source in campaign.campaign.sources]
    trial = Trial(live, campaign, _read_lead(options.lead), sources[0] if sources else "", SystemClock())
    try:
        facts = asyncio.run(_try(options, live, trial))
    except UnmappableLead as error:
        raise LexchangeError(f"the lead cannot be written as {live.buyer.buyer} wants it: {error}") from error
    print(json.dumps(facts, indent=2, ensure_ascii=False) if options.json else _as_text(facts))
    return 0 if all(step.get("verdict", "accepted") == "accepted" for step in facts["calls"]) else 1


async def _try(options: argparse.Namespace, live: LiveBuyer, trial: Trial) -> Facts:
    is_post = options.post or live.ping is None
    if options.ping and live.ping is None:
        raise LexchangeError(f"{live.buyer.buyer} has no ping: expected --post")
    calls: list[Facts] = []
    promise = _read_answer(options.ping_answer) if options.ping_answer else None
    client = BuyerClient(limits=ClientLimits(), address_rule=AddressRule(allow_loopback_and_private=options.dev))
    try:
        if live.ping is not None and (not is_post or (options.send and promise is None)):
            sent = await _call("ping", live.ping, trial, None, client if options.send else None)
            calls.append(sent.facts)
            promise = sent.document
        if is_post and not (calls and calls[0].get("verdict") != "accepted"):
            calls.append((await _call("post", live.post, trial, promise, client if options.send else None)).facts)
    finally:
        await client.aclose()
    return {**trial.about(), "calls": calls}


async def _call(name: str, call: BuyerCall, trial: Trial, promise: Document | None, client: BuyerClient | None) -> Sent:
    request = trial.request(call, promise)
    facts = {"call": name, "request": described(call, request)}
    if client is None:
        return Sent(facts=facts)
    sent = await trial.send(call, request, client)
    return Sent(facts=facts | sent.facts, document=sent.document)


def _find(options: argparse.Namespace) -> tuple[LiveBuyer, LiveCampaign]:
    loaded = load_campaigns(Path(options.config), is_dev=options.dev, pepper=pepper(), environment=os.environ)
    catalog = Catalog(loaded.campaigns, version=loaded.version, limits=Limits.from_environment())
    wanted_campaign, _, wanted = options.buyer.rpartition("/")
    every = [(live, campaign) for campaign in catalog.live for live in campaign.buyers.values()]
    found = [
        (live, campaign)
        for live, campaign in every
        if live.buyer.buyer == wanted and wanted_campaign in ("", campaign.campaign.campaign)
    ]
    if len(found) != 1:
        names = ", ".join(f"{campaign.campaign.campaign}/{live.buyer.buyer}" for live, campaign in found or every)
        raise LexchangeError(f"{options.buyer}: expected one of {names or 'no buyers: there are none'}")
    return found[0]


def _read_lead(path: Path) -> dict[str, str]:
    """The fields, all as text as they are written: a ZIP code keeps its zeros."""
    try:
        document = yaml.load(_text(path), Loader=yaml.BaseLoader)  # noqa: S506 - makes nothing but texts, lists and mappings
    except yaml.YAMLError as error:
        raise LexchangeError(f"{path}: expected JSON or YAML: {error}") from error
    fields = document.get("data", document) if isinstance(document, dict) else None
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise LexchangeError(f'{path}: expected {{"data": {{field: value}}}} or {{field: value}}, values without depth')
    return {str(name): value for name, value in fields.items()}


def _read_answer(path: Path) -> Document:
    return reparse(_text(path), "")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LexchangeError(f"{path}: cannot be read: {error}") from error


def _as_text(facts: Facts) -> str:
    lines = [f"{facts['campaign']}/{facts['buyer']}, a lead from {facts['source'] or 'nobody'}"]
    if not facts["would_be_asked"]:
        lines.append(f"  he would not be asked: {facts['skip']}")
    lines += [f"  the lead has a problem: {each['field']}: {each['message']}" for each in facts["problems"]]
    for call in facts["calls"]:
        lines += ["", *_call_lines(call)]
    return "\n".join(lines)


def _call_lines(call: dict[str, Any]) -> list[str]:
    request = call["request"]
    lines = [f"{call['call']}: {request['method']} {request['url']}"]
    lines += [f"  with {request['certificate']}"] if request["certificate"] else []
    lines += [f"  {name}: {value}" for name, value in request["headers"].items()]
    lines += ["", *(f"  {line}" for line in request["body"].splitlines() or ["(no body)"])]
    if "verdict" not in call:
        return [*lines, "", "not sent: add --send"]
    status = f"HTTP {call['http_status']} {call['content_type']}, " if "http_status" in call else ""
    lines += ["", f"{status}{call['latency_ms']} ms: {call['verdict']}"]
    shown = ("detail", "bid", "bid_problem", "price", "reason")
    lines += [f"  {name.replace('_', ' ')}: {call[name]}" for name in shown if name in call]
    promised = call.get("ping_response", {}) if call["call"] == "ping" else {}
    lines += [f"  for the post: {path} = {'nothing there' if v is None else v}" for path, v in promised.items()]
    return [*lines, *(["", *(f"  {line}" for line in call["answer"].splitlines())] if "answer" in call else [])]
