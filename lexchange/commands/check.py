"""`lexchange check PATH`: are these campaign files fit to serve? Every problem at once, as `file:line: expected …`."""

import argparse
import json
import os
import sys
from pathlib import Path

from lexchange.campaign_file import LoadedCampaigns, describe, load_campaigns
from lexchange.commands.options import Subparsers, add_flag, pepper
from lexchange.errors import ConfigError


def add_parser(subparsers: Subparsers) -> None:
    """Name the options."""
    parser = subparsers.add_parser("check", help="validate campaign files")
    parser.add_argument("path", type=Path, help="a campaign file, or a folder of them")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_flag(parser, "dev", "allow what `serve --dev` allows")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """0 when every file can be served, 1 with a line per problem otherwise."""
    try:
        loaded, dev_only = _load(options)
    except ConfigError as error:
        if options.json:
            print(json.dumps({"ok": False, "problems": str(error).splitlines()}))
        else:
            print(error, file=sys.stderr)
        return 1
    lines = describe(loaded)
    if options.json:
        print(json.dumps({"ok": True, "config_version": loaded.version, "campaigns": lines, "dev_only": dev_only}))
        return 0
    print("\n".join([*lines, f"configuration {loaded.version}"]))
    if dev_only:
        print("\n".join(["only `serve --dev` takes this:", *dev_only]), file=sys.stderr)
    return 0


def _load(options: argparse.Namespace) -> tuple[LoadedCampaigns, list[str]]:
    """The campaigns, and what in them needs --dev: no mistake in itself, but production refuses it."""

    def read(is_dev: bool) -> LoadedCampaigns:
        return load_campaigns(options.path, is_dev=is_dev, pepper=pepper(), environment=os.environ)

    try:
        return read(options.dev), []
    except ConfigError as error:
        try:
            return read(is_dev=True), str(error).splitlines()
        except ConfigError:
            raise error from None
