"""The product's own processes, as an operator starts them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]


class Serving:
    """A server process that has said that it is ready."""

    def __init__(self, process: subprocess.Popen[str], ready: str, pid: int) -> None:
        self.process = process
        self.pid = pid  # the product's own, where another program runs it
        addresses = dict(part.split("=") for part in ready.split()[1:])
        self.grpc, self.http = addresses.get("grpc", ""), addresses["http"]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and wait for the end; its exit code."""
        os.kill(self.pid, number)
        return self.process.wait(40)


@contextmanager
def serving(
    *arguments: str,
    module: str = "lexchange",
    log: IO[str] | None = None,
    within: Sequence[str] = (),
    **variables: str,
) -> Iterator[Serving]:
    """`python -m MODULE ARGUMENTS…`, from the ready line on; killed when the block ends and it still runs.

    `within` is a command that runs it.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("LEXCHANGE_")}
    environment = own | {"LEXCHANGE_DRAIN_NOTICE_MS": "1"} | variables
    command = [*within, sys.executable, "-m", module, *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            assert ready.startswith("ready "), f"{ready!r}, exit {process.wait(10)}"
            yield Serving(process, ready, children(process.pid)[0] if within else process.pid)
        finally:
            if process.poll() is None:
                kill_all(family(process.pid))


def children(pid: int) -> list[int]:
    """The pids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def family(pid: int) -> list[int]:
    """A process of ours and all that descend from it."""
    found = [pid]
    for each in found:
        with suppress(OSError):
            found += children(each)
    return found


def kill_all(pids: Sequence[int]) -> None:
    """`kill -9`, in this order."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def lexchange(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "lexchange", *arguments]
    own = {name: value for name, value in os.environ.items() if not name.startswith("LEXCHANGE_")}
    return subprocess.run(
        command, cwd=ROOT, env=own | environment, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
