"""Options that several commands share. Each also reads LEXCHANGE_<NAME>; a flag wins."""

import argparse
import os
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from lexchange.errors import ConfigError
from lexchange.storage import Store, file_of

STORE = "sqlite:///lexchange.db"
Subparsers = Any  # argparse keeps the type of add_subparsers() to itself


def add_option(parser: argparse.ArgumentParser, name: str, default: str | None, text: str, **more: Any) -> None:
    """Add `--name`, whose default is LEXCHANGE_<NAME>, then `default`; without either it is required."""
    variable = f"LEXCHANGE_{name.upper().replace('-', '_')}"
    value = os.environ.get(variable, default)
    shown = f"{text} (default {default})" if default else text
    parser.add_argument(f"--{name}", default=value, required=value is None, help=f"{shown} [{variable}]", **more)


def add_flag(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    """Add the switch `--name`, on as well with LEXCHANGE_<NAME> of 1, true or yes."""
    variable = f"LEXCHANGE_{name.upper().replace('-', '_')}"
    is_on = os.environ.get(variable, "").lower() in ("1", "true", "yes")
    parser.add_argument(f"--{name}", action="store_true", default=is_on, help=f"{text} [{variable}]")


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add `--store`."""
    add_option(parser, "store", STORE, "where pings and leads are kept: sqlite:///PATH or postgresql://…")


def existing_store(url: str, **more: Any) -> AbstractAsyncContextManager[Store]:
    """Open a store that is there, with `more` for Store.open; a mistyped path is told, not made."""
    check_exists(url)
    return Store.open(url, **more)


def check_exists(url: str) -> None:
    """ConfigError for a store in a file that is not there; of one on a server its opening tells."""
    path = file_of(url)
    if path and not Path(path).is_file():
        raise ConfigError(f"--store {url}: there is no such file; expected the store that `serve` writes")


def pepper() -> bytes:
    """The secret that source keys are hashed with: LEXCHANGE_PEPPER. Empty is allowed for keys made by `key new`."""
    return os.environ.get("LEXCHANGE_PEPPER", "").encode()
