"""Load: a closed loop of 50 calls in flight for some seconds, by ghz (gRPC) or wrk (HTTP), and what it saw."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.child import ROOT, BenchError
from bench.machine import pinned

IN_FLIGHT = 50
SPARE_S = 60
MOST_FAILED = 1 / 1_000  # of all calls
US_PER_MS, NS_PER_MS = 1_000, 1_000_000
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a load generator saw: of `calls`, so many `failures`. `client_cpu_s` is its own CPU time."""

    calls: int
    elapsed_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    failures: int
    why: str = ""  # some failed, where the generator tells
    client_cpu_s: float = 0.0

    @property
    def answered_per_s(self) -> float:
        """Calls that did not fail."""
        return (self.calls - self.failures) / self.elapsed_s


# Loads for so many seconds.
LoadFor = Callable[[float], Load]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """The generators and where they run. Without ghz, gRPC load comes from `bench.grpc_calls`."""

    ghz: str | None
    wrk: str | None
    cores: frozenset[int]

    def grpc(
        self,
        address: str,
        config: str,
        *,
        body: Path | None = None,
        calls: int | None = None,
        connections: int | None = None,
        in_flight: int = IN_FLIGHT,
        cores: frozenset[int] = frozenset(),
    ) -> LoadFor:
        """Call as `bench/ghz/<config>.json` says; with `calls`, exactly so many."""
        options = ["--config", str(ROOT / "bench" / "ghz" / f"{config}.json")]
        options += ["--data-file", str(body)] if body else []
        options += ["--connections", str(connections)] if connections else []
        options += ["--concurrency", str(in_flight)]

        def run(seconds: float) -> Load:
            until = ["--total", str(calls)] if calls else ["--duration", f"{seconds}s"]
            if self.ghz is None:
                command = [sys.executable, "-m", "bench.grpc_calls", "load", *options, *until, address]
                return _read_line(*self._run(command, seconds, cores))
            command = [self.ghz, *options, *until, "--format", "json", address]
            return _read_ghz(*self._run(command, seconds, cores))

        return run

    def open_grpc(self, address: str, rate: float) -> LoadFor:
        """Ping so often a second, whether answers come or not."""
        config = str(ROOT / "bench" / "ghz" / "ping.json")

        def run(seconds: float) -> Load:
            if self.ghz is None:
                raise BenchError("an open loop over gRPC needs ghz")
            command = [self.ghz, "--config", config, "--async", "--rps", str(round(rate)), "--duration", f"{seconds}s"]
            return _read_ghz(*self._run([*command, "--format", "json", address], seconds))

        return run

    def open_http(self, address: str, rate: float) -> LoadFor:
        """The same over REST."""

        def run(seconds: float) -> Load:
            command = [sys.executable, "-m", "bench.open_loop", address]
            command += ["--rate", str(rate), "--duration", str(seconds)]
            return _read_line(*self._run(command, seconds))

        return run

    def write_posts(self, address: str, seconds: float, out: Path) -> None:
        """Ping for so long, and write a post for every accepted ping into `out`."""
        command = [sys.executable, "-m", "bench.grpc_calls", "pings", "--duration", f"{seconds}s", "--out", str(out)]
        self._run([*command, address], seconds)

    def http(
        self, address: str, path: str, body: str = "", *, bodies: Path | None = None, in_flight: int = IN_FLIGHT
    ) -> LoadFor:
        """Post `bench/calls/<body>.json`, or with `bodies` each line of that file once."""
        env = os.environ | ({"BENCH_BODIES": str(bodies)} if bodies else {"BENCH_BODY": f"bench/calls/{body}.json"})

        def run(seconds: float) -> Load:
            if self.wrk is None:
                raise BenchError("wrk is missing")
            command = [self.wrk, "-t1", f"-c{in_flight}", "--timeout", "10s", "-s", "bench/wrk/post.lua"]
            command += [f"-d{max(1, round(seconds))}s", f"http://{address}{path}"]
            return _read_line(*self._run(command, seconds, env=env))

        return run

    def _run(
        self,
        command: list[str],
        seconds: float,
        cores: frozenset[int] = frozenset(),
        env: dict[str, str] | None = None,
    ) -> tuple[str, float]:
        """What the generator prints, and its CPU time."""
        name, limit_s = Path(command[0]).name, seconds + SPARE_S
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with pinned(cores or self.cores):
            try:
                done = subprocess.run(
                    command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=limit_s, check=False
                )
            except subprocess.TimeoutExpired as error:
                raise BenchError(f"{name} did not end within {limit_s:g} s") from error
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise BenchError(f"{name} failed: {(done.stderr or done.stdout).strip()[-400:]}")
        return done.stdout, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _read_ghz(text: str, cpu_s: float) -> Load:
    """From every call that was answered: ghz' own distribution ends at the 99th percentile."""
    found = json.loads(text)
    answered = [each["latency"] for each in found["details"] or () if each["status"] == "OK"]
    latencies_ns = sorted(answered) or [0]
    last = len(latencies_ns) - 1
    return Load(
        calls=found["count"],
        elapsed_s=found["total"] / 1e9,
        failures=found["count"] - found.get("statusCodeDistribution", {}).get("OK", 0),
        why="; ".join(found.get("errorDistribution") or {}),
        client_cpu_s=cpu_s,
        **{f"{name}_ms": latencies_ns[int(last * share)] / NS_PER_MS for name, share in PERCENTILES.items()},
    )


def _read_line(text: str, cpu_s: float) -> Load:
    found = json.loads(text.strip().splitlines()[-1])
    return Load(
        calls=found["calls"],
        elapsed_s=found["elapsed_us"] / 1e6,
        failures=found["failures"],
        why=found.get("why", ""),
        client_cpu_s=cpu_s,
        **{f"{name}_ms": found[f"{name}_us"] / US_PER_MS for name in PERCENTILES},
    )
