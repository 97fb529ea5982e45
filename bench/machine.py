"""The machine: which cores there are, what processes on them have used, and what to call it in a table."""

import os
import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PACKAGES = ("grpcio", "protobuf", "uvloop", "httptools", "starlette", "uvicorn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Who runs where. `workers` are the cores of a server with two workers."""

    load: int
    server: int
    workers: frozenset[int]

    @property
    def all(self) -> frozenset[int]:
        """Every core that is used."""
        return self.workers | {self.load, self.server}

    @property
    def is_single(self) -> bool:
        """Whether load and server have to share the only core."""
        return self.load == self.server

    @property
    def is_load_apart(self) -> bool:
        """Whether two workers leave the load a core of its own."""
        return self.load not in self.workers


def choose_cores() -> Cores:
    """Core 0 for load and buyers, core 1 for the server, as far as there are so many."""
    found = sorted(os.sched_getaffinity(0))
    workers = found[1:3] if len(found) > 2 else found
    return Cores(load=found[0], server=found[1 % len(found)], workers=frozenset(workers))


@contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """Processes started in the block stay on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            with suppress(OSError):  # it has ended meanwhile
                found += [int(child) for child in task.read_text().split()]
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time that the processes have used."""
    return sum(_ticks(pid)[0] for pid in pids) / TICKS_PER_S


def reaped_cpu_seconds(pid: int) -> float:
    """What children of the process had used that have ended."""
    return _ticks(pid)[1] / TICKS_PER_S


def _ticks(pid: int) -> tuple[int, int]:
    """Of the process, and of its ended children; none of one that has ended meanwhile."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, 0
    return int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])


def resident_bytes(pids: list[int]) -> int:
    """Resident memory of the processes."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES for pid in pids)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def describe() -> str:
    """The machine in a line."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    memory_gib = os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES / 2**30
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return (
        f"{model}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {versions}"
    )
