"""Workers: N processes on the same ports over the same store, kept alive by this one.

The kernel spreads connections over the processes (SO_REUSEPORT). Signals are passed on; a worker that dies is
started again, and the others settle its unfinished leads (`leases.py`).
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from types import FrameType

from gateway.server import address_of, open_socket
from lexchange.config import Settings
from lexchange.errors import ConfigError
from lexchange.telemetry import log_event

RESTART_PAUSE_S = 0.5
FOLLOW = "--follow"  # for those started again: they serve as their fellows, and not what somebody is editing
STORE = "LEXCHANGE_STORE"  # not on the command line, which everybody on the machine may read: it may hold a password


def run_workers(settings: Settings, count: int) -> int:
    """Run `count` workers until SIGTERM; returns 0 when all of them drained."""
    with _held_port("--grpc", settings.grpc) as grpc_socket, _held_port("--http", settings.http) as http_socket:
        grpc_address, http_address = address_of(grpc_socket), address_of(http_socket)
        pool = Pool(_command(settings, grpc_address, http_address), count, os.environ | {STORE: settings.store})
        pool.start()
        if not pool.wait_until_ready():
            return pool.stop()
        print(f"ready grpc={grpc_address} http={http_address}", flush=True)
        return pool.watch()


class Pool:
    """The worker processes."""

    def __init__(self, command: list[str], count: int, environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._count = count
        self._workers: list[subprocess.Popen[str]] = []
        self._is_stopping = False

    def start(self) -> None:
        """Start all workers and pass signals on to them."""
        signal.signal(signal.SIGTERM, self._pass_stop)
        signal.signal(signal.SIGINT, self._pass_stop)
        signal.signal(signal.SIGHUP, self._pass_hangup)
        self._workers = [self._spawn() for _ in range(self._count)]

    def wait_until_ready(self) -> bool:
        """Whether every worker said that it answers."""
        return all(_says_ready(worker) for worker in self._workers)

    def watch(self) -> int:
        """Keep the workers alive until told to stop; returns the exit code."""
        while not self._is_stopping:
            for index, worker in enumerate(self._workers):
                if worker.poll() is not None and not self._is_stopping:
                    log_event("worker_died", pid=worker.pid, exit_code=worker.returncode)
                    time.sleep(RESTART_PAUSE_S)
                    self._workers[index] = self._spawn(FOLLOW)
            time.sleep(0.1)
        return self.stop()

    def stop(self) -> int:
        """Let every worker drain; 0 when all of them ended well."""
        self._is_stopping = True
        self._signal(signal.SIGTERM)
        codes = {worker.wait() for worker in self._workers}
        codes.discard(-signal.SIGTERM)  # it was not ready yet, so it had nothing to drain
        return max(map(abs, codes), default=0)

    def _spawn(self, *more: str) -> subprocess.Popen[str]:
        command = [*self._command, *more]
        return subprocess.Popen(  # noqa: S603 - our own command
            command, env=self._environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def _pass_stop(self, number: int, frame: FrameType | None) -> None:
        self._is_stopping = True
        self._signal(signal.SIGTERM)

    def _pass_hangup(self, number: int, frame: FrameType | None) -> None:
        self._signal(signal.SIGHUP)

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.poll() is None:
                worker.send_signal(number)


def _says_ready(worker: subprocess.Popen[str]) -> bool:
    assert worker.stdout is not None
    return worker.stdout.readline().startswith("ready ")


def _command(settings: Settings, grpc_address: str, http_address: str) -> list[str]:
    command = [sys.executable, "-m", "lexchange", "serve", "--workers", "1"]
    command += ["--config", str(settings.config)]
    command += ["--grpc", grpc_address, "--http", http_address, "--shared-ports"]
    command += ["--grpc-engine", settings.grpc_engine]
    if settings.tls is not None:
        command += ["--grpc-tls", f"{settings.tls.certificate}:{settings.tls.key}"]
    command += ["--dev"] if settings.is_dev else []
    return [*command, FOLLOW] if settings.follows_store else command


def _held_port(option: str, address: str) -> socket.socket:
    """A bound, never listening socket: it picks the port and keeps it ours while workers come and go."""
    try:
        open_socket(address).close()  # refuses a port that somebody else has, though he may share it
        return open_socket(address, is_shared=True)
    except OSError as error:
        raise ConfigError(f"{option} {address}: cannot listen there: {error.strerror}") from error
