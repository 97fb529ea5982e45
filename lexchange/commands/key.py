"""`lexchange key new`: make a source's KEY, shown once, and the hash that goes into the campaign file."""

import argparse
import json

from lexchange.commands.options import Subparsers, pepper
from lexchange.keys import hash_key, new_key


def add_parser(subparsers: Subparsers) -> None:
    """Name the options."""
    parser = subparsers.add_parser("key", help="make a source's key")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    new = actions.add_parser("new", help="print a new key, and its hash for the campaign file")
    new.add_argument("--json", action="store_true", help="print JSON")
    new.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a new key; it is stored nowhere."""
    key = new_key()
    hashed = hash_key(key, pepper())
    if options.json:
        print(json.dumps({"key": key, "hash": hashed}))
    else:
        print(f"KEY for the publisher, shown once:  {key}")
        print(f"for the source in the campaign file:  keys: [{{hash: {hashed}}}]")
        if not pepper():
            print("LEXCHANGE_PEPPER is not set; the hash holds only while `serve` runs without it too.")
    return 0
