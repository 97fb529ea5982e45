"""`lexchange serve`: host the exchange until SIGTERM; SIGHUP reads the campaign files again."""

import argparse
from pathlib import Path

import uvloop

from lexchange.commands.options import Subparsers, add_flag, add_option, add_store, pepper
from lexchange.config import Limits, Settings, TlsFiles
from lexchange.errors import ConfigError

ENGINES = ("turbo", "aio")  # of engines.py, which is slow to import


def add_parser(subparsers: Subparsers) -> None:
    """Name the options."""
    parser = subparsers.add_parser("serve", help="host the exchange: gRPC and REST")
    add_option(parser, "config", None, "a campaign file, or a folder of them")
    add_listeners(parser)
    add_store(parser)
    add_option(parser, "workers", "1", "processes on the same ports over the same store", type=int)
    add_option(parser, "grpc-engine", "turbo", "what serves gRPC: our own HTTP/2 server, or grpc.aio", choices=ENGINES)
    add_option(parser, "grpc-tls", "", "CERTIFICATE:KEY, PEM files; gRPC is plain without")
    add_flag(parser, "dev", "allow loopback and private buyer addresses and plaintext keys, serve reflection")
    add_flag(parser, "follow", "start with what is in force in the store, whatever the campaign files say by now")
    add_flag(parser, "shared-ports", "let other processes listen on the same ports too (SO_REUSEPORT)")
    parser.set_defaults(run=run)


def add_listeners(parser: argparse.ArgumentParser) -> None:
    """Add `--grpc` and `--http`."""
    add_option(parser, "grpc", "127.0.0.1:50051", "HOST:PORT for gRPC, port 0 picks a free one")
    add_option(parser, "http", "127.0.0.1:8080", "HOST:PORT for REST, port 0 picks a free one")


def settings_of(options: argparse.Namespace) -> Settings:
    """What the options say."""
    return Settings(
        config=Path(options.config),
        store=options.store,
        grpc=options.grpc,
        http=options.http,
        pepper=pepper(),
        is_dev=options.dev,
        shares_ports=options.shared_ports,
        grpc_engine=options.grpc_engine,
        tls=tls_files(options.grpc_tls),
        follows_store=options.follow,
    )


def tls_files(text: str) -> TlsFiles | None:
    """The files of `--grpc-tls`; raises ConfigError."""
    if not text:
        return None
    certificate, _, key = text.partition(":")
    for path in (certificate, key):
        if not Path(path).is_file():
            raise ConfigError(f"--grpc-tls {text}: expected CERTIFICATE:KEY, two PEM files; there is no file {path!r}")
    return TlsFiles(certificate=Path(certificate), key=Path(key))


def run(options: argparse.Namespace) -> int:
    """Serve in this process, or in several under this one."""
    # Here, so that the other commands start without gRPC and HTTP.
    from lexchange.configuration import load
    from lexchange.server import Server, serve
    from lexchange.workers import run_workers

    def print_ready(server: Server) -> None:
        print(f"ready grpc={server.grpc} http={server.http}", flush=True)

    settings, limits = settings_of(options), Limits.from_environment()
    if options.workers > 1:
        if not settings.follows_store:
            load(settings, limits)  # refuse a bad file once, before anything starts
        return run_workers(settings, options.workers)
    return uvloop.run(serve(settings, limits, print_ready))
