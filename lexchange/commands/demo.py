"""`lexchange demo`: the whole product in small. Exchange, demo campaign, three real buyers, calls to paste."""

import argparse
import contextlib
from importlib import resources
from pathlib import Path

import uvloop

from lexchange.commands.options import Subparsers, add_option, pepper
from lexchange.commands.serve import add_listeners
from lexchange.config import Limits, Settings
from lexchange.demo.calls import pasteable
from lexchange.storage import place_of

STORE = "sqlite:///lexchange-demo.db"


def add_parser(subparsers: Subparsers) -> None:
    """Name the options."""
    parser = subparsers.add_parser("demo", help="serve a demo campaign with three buyers and print calls to paste")
    add_listeners(parser)
    add_option(parser, "store", STORE, "where pings and leads are kept: sqlite:///PATH or postgresql://…")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve the demo until Ctrl-C."""
    with contextlib.ExitStack() as stack:
        settings = Settings(
            config=stack.enter_context(demo_campaign()),
            store=options.store,
            grpc=options.grpc,
            http=options.http,
            pepper=pepper(),
            is_dev=True,
        )
        return uvloop.run(_demo(settings))


def demo_campaign() -> contextlib.AbstractContextManager[Path]:
    """The demo's campaign file: packaged in a wheel, under campaigns/ in a checkout."""
    packaged = resources.files("lexchange.demo") / "demo.yaml"
    if packaged.is_file():
        return resources.as_file(packaged)
    return contextlib.nullcontext(Path(__file__).parents[2] / "campaigns" / "demo.yaml")


async def _demo(settings: Settings) -> int:
    # Here, so that the other commands start without gRPC and HTTP.
    from lexchange.demo.buyers import buyers_running, demo_buyers
    from lexchange.server import Server, serve

    def on_ready(server: Server) -> None:
        print(f"ready grpc={server.grpc} http={server.http}", flush=True)
        print(pasteable(http=server.http, grpc=server.grpc, store=place_of(settings.store)), flush=True)

    async with buyers_running(demo_buyers()):
        return await serve(settings, Limits.from_environment(), on_ready)
