"""Entry: `lexchange COMMAND`, one module of `commands` each."""

import argparse
import os
import sys

from lexchange import __version__
from lexchange.errors import LexchangeError
from lexchange.garbage import collect_seldom

PIPE_CLOSED = 141  # as of a program that SIGPIPE has ended


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code. What went wrong is said in plain lines on stderr."""
    collect_seldom()
    # Here, because modules are many objects too.
    from lexchange.commands import (
        breaker,
        check,
        config,
        demo,
        key,
        migrate,
        purge,
        reconcile,
        serve,
        show,
        store,
        try_buyer,
    )

    parser = argparse.ArgumentParser(prog="lexchange", description="An open-source ping/post lead exchange.")
    parser.add_argument("--version", action="version", version=f"lexchange {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (serve, demo, check, try_buyer, show, reconcile, breaker, config, purge, store, migrate, key):
        command.add_parser(subparsers)
    options = parser.parse_args(arguments)
    try:
        code = int(options.run(options))
        sys.stdout.flush()
    except LexchangeError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # who reads has seen enough, as `head` has; the interpreter must not try again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return code


if __name__ == "__main__":
    sys.exit(main())
