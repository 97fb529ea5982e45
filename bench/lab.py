"""Lab: starts what is measured, each on its core, and stops all of it at the end."""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.answers import Answers
from bench.buyers import BUYER_COUNT, Buyers
from bench.campaigns import CampaignShape, write_campaigns
from bench.child import BenchError, Child
from bench.databases import Postgres
from bench.envoy import write_envoy_config
from bench.load import SPARE_S, Generator
from bench.machine import Cores, free_ports
from bench.tools import Tools, make_cache

# 50 calls in flight are overload where a ping has much to do; a closed loop has to be served, not refused.
PATIENCE_MS = 5_000


class Running(Protocol):
    """A process with its children, or a server of several."""

    def cpu_seconds(self) -> float: ...

    def resident_bytes(self) -> int: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running server: its addresses, the processes whose time counts as its own, and how long it took to start."""

    grpc: str = ""
    http: str = ""
    children: tuple[Running, ...] = field(default=())
    started_s: float = 0.0

    def cpu_seconds(self) -> float:
        """CPU time used so far."""
        return sum(child.cpu_seconds() for child in self.children)

    def resident_bytes(self) -> int:
        """Memory held now."""
        return sum(child.resident_bytes() for child in self.children)

    def stop(self) -> None:
        """End it before its lab does."""
        for child in self.children:
            child.stop()


class Lab:
    """Everything that runs for a group of measurements; leaving the block ends it."""

    def __init__(self, cores: Cores, tools: Tools) -> None:
        self.cores = cores
        self.tools = tools
        self.generator = Generator(ghz=tools.ghz, wrk=tools.wrk, cores=frozenset([cores.load]))
        self._stack = ExitStack()
        self._count = 0
        self._answers: list[Answers] = []

    def __enter__(self) -> "Lab":
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=make_cache()))
        self.folder.chmod(0o755)
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def buyers(self, count: int = BUYER_COUNT, *, delay_ms: int = 0) -> Buyers:
        """Start nginx as so many buyers, whose bids take so long."""
        if self.tools.nginx is None:
            raise BenchError("nginx is missing")
        buyers = Buyers(self.tools.nginx, self.folder, self.cores.load, count=count, delay_ms=delay_ms)
        self._stack.callback(buyers.child.stop)
        buyers.wait_until_ready()
        return buyers

    def postgres(self) -> Postgres:
        """Start a PostgreSQL server on all cores."""
        server = Postgres(self.folder / "postgres", self.cores.all)
        self._stack.callback(server.stop)
        return server

    def exchange(
        self,
        shapes: Sequence[CampaignShape],
        *,
        workers: int = 1,
        limits: Mapping[str, int] | None = None,
        engine: str = "turbo",
        store: str = "",
        cores: frozenset[int] = frozenset(),
        may_say_no: bool = False,
        python: Sequence[str] = (sys.executable,),
    ) -> Served:
        """Start ours, with a store of its own. `limits` by their names in lexchange.config. `check_answers` sees to it
        that it says yes, unless it `may_say_no`."""
        folder = Path(tempfile.mkdtemp(prefix="exchange-", dir=self.folder))
        config = write_campaigns(folder / "campaigns", shapes)
        command = [*python, "-m", "lexchange", "serve", "--dev", "--workers", str(workers)]
        command += ["--config", str(config), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        command += ["--grpc-engine", engine]
        told = {"drain_notice_ms": 1, "queue_ms": PATIENCE_MS, **(limits or {})}
        env = {f"LEXCHANGE_{key.upper()}": str(value) for key, value in told.items()}
        env["LEXCHANGE_STORE"] = store = store or f"sqlite:///{folder}/store.db"
        if not may_say_no:
            self._answers.append(Answers(store))
        own = self.cores.workers if workers > 1 else self._server_core
        return self._served("exchange", command, cores or own, env)

    def check_answers(self) -> None:
        """Raises BenchError when an exchange that was started here did not sell or deliver what it should have."""
        for each in self._answers:
            each.check()

    def gateway(self, exchange: Served) -> Served:
        """Start a gateway of its own process in front of ours, on the same core; both count."""
        command = [sys.executable, "-m", "gateway", "--upstream", exchange.grpc, "--http", "127.0.0.1:0"]
        return _in_front(self._served("gateway", command, self._server_core), exchange)

    def envoy(self, exchange: Served) -> Served:
        """Likewise Envoy."""
        if self.tools.envoy is None:
            raise BenchError("Envoy could not be installed")
        (port,) = free_ports(1)
        config = write_envoy_config(self.folder / "envoy.json", port=port, upstream=exchange.grpc)
        command = [self.tools.envoy, "--config-path", str(config), "--concurrency", "1", "--disable-hot-restart"]
        child = self._child("envoy", [*command, "--log-level", "error"], self._server_core, None)
        child.wait_until_listening(port)
        return _in_front(Served(http=f"127.0.0.1:{port}", children=(child,)), exchange)

    def grpc_gateway(self, upstream: Served) -> Served:
        """Likewise grpc-gateway, in front of ours or of the Go echo."""
        return _in_front(
            self._served("grpc-gateway", [self._go_peer(), "gateway", upstream.grpc], self._server_core), upstream
        )

    def go_echo(self) -> Served:
        """Start the echo of grpc-go."""
        return self._served("go-echo", [self._go_peer(), "echo"], self._server_core)

    def echo(self, kind: str) -> Served:
        """Start a bare server: kind is grpc or http."""
        command = [sys.executable, "-m", f"bench.servers.{kind}_echo"]
        return self._served(f"{kind}-echo", command, self._server_core)

    def slow_buyer_urls(self) -> tuple[str, ...]:
        """Start buyers that hold every ping for seconds."""
        command = [sys.executable, "-m", "bench.servers.slow_buyer"]
        ready = self._start("slow-buyer", command, frozenset([self.cores.load]))[1]
        return tuple(f"http://{address}" for address in ready.values())

    def peer(self, urls: Sequence[str]) -> Served:
        """Start the FastAPI peer."""
        if self.tools.fastapi_python is None:
            raise BenchError("the peer could not be installed")
        command = [self.tools.fastapi_python, "bench/peers/fastapi_peer.py"]
        command += ["--store", str(self.folder / "peer.db"), *urls]
        return self._served("peer", command, self._server_core)

    def start(self, name: str, command: list[str]) -> Child:
        """Start something on the core of the load."""
        return self._child(name, command, frozenset([self.cores.load]), None)

    def outbound(self, what: str, seconds: float, urls: Sequence[str]) -> dict[str, float]:
        """Run `bench.outbound` on the server's core, for it is what is measured."""
        command = [sys.executable, "-m", "bench.outbound", what, "--seconds", str(seconds), *urls]
        child = self._child(f"outbound-{what}", command, self._server_core, None)
        child.check_success(seconds + SPARE_S)
        found: dict[str, float] = json.loads(child.output().splitlines()[-1])
        return found

    @property
    def _server_core(self) -> frozenset[int]:
        return frozenset([self.cores.server])

    def _go_peer(self) -> str:
        if self.tools.go_peer is None:
            raise BenchError("the Go peer could not be built")
        return self.tools.go_peer

    def _served(
        self, name: str, command: list[str], cores: frozenset[int], env: Mapping[str, str] | None = None
    ) -> Served:
        began_s = time.monotonic()
        child, ready = self._start(name, command, cores, env)
        started_s = time.monotonic() - began_s
        return Served(grpc=ready.get("grpc", ""), http=ready.get("http", ""), children=(child,), started_s=started_s)

    def _start(
        self, name: str, command: list[str], cores: frozenset[int], env: Mapping[str, str] | None = None
    ) -> tuple[Child, dict[str, str]]:
        child = self._child(name, command, cores, env)
        return child, child.wait_until_ready()

    def _child(self, name: str, command: list[str], cores: frozenset[int], env: Mapping[str, str] | None) -> Child:
        self._count += 1
        child = Child(
            f"{name}-{self._count}", command, folder=self.folder, cores=cores, env={**os.environ, **(env or {})}
        )
        self._stack.callback(child.stop)
        return child


def _in_front(served: Served, upstream: Served) -> Served:
    return Served(http=served.http, children=(*served.children, *upstream.children))
