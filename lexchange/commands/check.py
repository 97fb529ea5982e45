"""`lexchange check PATH`: are these campaign files fit to serve? Every problem at once, as `file:line: expected …`."""

import argparse
import json
import os
import sys
from pathlib import Path

from lexchange.campaign_file import describe, load_campaigns
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
        loaded = load_campaigns(options.path, is_dev=options.dev, pepper=pepper(), environment=os.environ)
    except ConfigError as error:
        problems = str(error).splitlines()
        if options.json:
            print(json.dumps({"ok": False, "problems": problems}))
        else:
            print(error, file=sys.stderr)
        return 1
    lines = describe(loaded)
    if options.json:
        print(json.dumps({"ok": True, "config_version": loaded.version, "campaigns": lines}))
    else:
        print("\n".join(lines))
        print(f"configuration {loaded.version}")
    return 0
