"""`lexchange key`: make a source's KEY, shown once, or take one that there is; the hash goes into the campaign file."""

import argparse
import json
import sys

from lexchange.commands.options import Subparsers, pepper
from lexchange.errors import LexchangeError
from lexchange.keys import hash_key, is_well_formed, new_key


def add_parser(subparsers: Subparsers) -> None:
    """Name the options."""
    parser = subparsers.add_parser("key", help="make a source's key, or hash one that there is")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    new = actions.add_parser("new", help="print a new key, and its hash for the campaign file")
    new.add_argument("--json", action="store_true", help="print JSON")
    new.set_defaults(run=run_new)
    known = actions.add_parser("hash", help="read a KEY from standard input and print its hash for the campaign file")
    known.add_argument("--json", action="store_true", help="print JSON")
    known.set_defaults(run=run_hash)


def run_new(options: argparse.Namespace) -> int:
    """Print a new key; it is stored nowhere."""
    key = new_key()
    hashed = hash_key(key, pepper())
    if options.json:
        print(json.dumps({"key": key, "hash": hashed}))
    else:
        print(f"KEY for the publisher, shown once:  {key}")
        _print_entry(hashed)
    return 0


def run_hash(options: argparse.Namespace) -> int:
    """Print the hash of a key that a publisher has already. It is no argument: others could see those."""
    key = sys.stdin.readline().rstrip("\r\n")
    if not key.strip():
        raise LexchangeError("key hash: expected the KEY as one line of standard input")
    if not is_well_formed(key):
        print("this is no key of `lexchange key new`, or it is mistyped: is it long and random?", file=sys.stderr)
    hashed = hash_key(key, pepper())
    if options.json:
        print(json.dumps({"hash": hashed}))
    else:
        _print_entry(hashed)
    return 0


def _print_entry(hashed: str) -> None:
    print(f"for the source in the campaign file:  keys: [{{hash: {hashed}}}]")
    if not pepper():
        print("LEXCHANGE_PEPPER is not set; the hash holds only while `serve` runs without it too.")
