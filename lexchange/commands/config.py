"""`lexchange config`: the configurations that a store knows, what each says, and a new one for all who serve it."""

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import Any

from lexchange.campaign_file import Documents, load_campaigns
from lexchange.clock import SystemClock
from lexchange.commands.options import Subparsers, add_flag, add_store, existing_store, pepper
from lexchange.errors import ConfigError
from lexchange.explain import time_text
from lexchange.storage import Store


def add_parser(subparsers: Subparsers) -> None:
    """Name the options."""
    parser = subparsers.add_parser("config", help="list the configurations of a store, show one, put one in force")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="every configuration that was ever in force, the oldest first")
    listing.set_defaults(run=run_list)
    showing = actions.add_parser("show", help="what a configuration says: its files, as they were")
    showing.add_argument(
        "version", nargs="?", help="as `list` and `lexchange show` print it (default the one in force)"
    )
    showing.set_defaults(run=run_show)
    publishing = actions.add_parser("publish", help="put campaign files in force in every process, within a second")
    publishing.add_argument("path", type=Path, help="a campaign file, or a folder of them")
    add_flag(publishing, "dev", "allow what `serve --dev` allows")
    publishing.set_defaults(run=run_publish)
    for action in (listing, showing, publishing):
        action.add_argument("--json", action="store_true", help="print JSON")
        add_store(action)


def run_list(options: argparse.Namespace) -> int:
    """Print one line for each."""
    found = asyncio.run(_list(options.store))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(map(_line, found)) or "no configuration has ever been in force")
    return 0


async def _list(url: str) -> list[dict[str, Any]]:
    async with existing_store(url) as store:
        current, known = await store.current_config(), await store.audit.configs()
    found = []
    for each in known:
        facts: dict[str, Any] = {"version": each.version, "first": time_text(each.loaded_ms), "campaigns": each.summary}
        is_current = current is not None and current.version == each.version
        if current is not None and is_current:
            facts |= {"since": time_text(current.published_ms), "generation": current.generation, "node": current.node}
        found.append(facts | {"is_current": is_current})
    return found


def _line(facts: dict[str, Any]) -> str:
    since = f"  in force since {facts['since']} by {facts['node']}" if facts["is_current"] else ""
    return f"{facts['version']}  first {facts['first']}{since}  {facts['campaigns']}"


def run_show(options: argparse.Namespace) -> int:
    """Print the files, each under its name."""
    version, documents = asyncio.run(_show(options.store, options.version))
    files = {name: content.decode() for name, content in (documents.files | documents.lists).items()}
    if options.json:
        print(json.dumps({"version": version, "files": files}, indent=2))
    else:
        print("\n".join(f"# ---- {name} ({version})\n{text}" for name, text in files.items()))
    return 0


async def _show(url: str, version: str | None) -> tuple[str, Documents]:
    async with existing_store(url) as store:
        return await stored_documents(store, version)


async def stored_documents(store: Store, version: str | None = None) -> tuple[str, Documents]:
    """A version and what it says, that in force where none is named; raises ConfigError where the store has none."""
    current = await store.current_config()
    wanted = version or (current.version if current else "")
    packed = await store.find_config(wanted)
    if packed is None:
        told = wanted or "no configuration is in force"
        raise ConfigError(f"{told}: expected a version that `lexchange config list` shows")
    return wanted, Documents.unpacked(packed)


def run_publish(options: argparse.Namespace) -> int:
    """Check the files as `serve` would here, then put them in force."""
    version = asyncio.run(_publish(options))
    print(json.dumps({"version": version}) if options.json else f"configuration {version} is in force")
    return 0


async def _publish(options: argparse.Namespace) -> str:
    from lexchange.configuration import node_name, summary_of

    loaded = load_campaigns(options.path, is_dev=options.dev, pepper=pepper(), environment=os.environ)
    async with existing_store(options.store) as store:
        packed, now_ms = loaded.documents.packed(), SystemClock().now_ms()
        await store.publish_config(loaded.version, packed, summary=summary_of(loaded), node=node_name(), now_ms=now_ms)
    return loaded.version
