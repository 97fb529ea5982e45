"""Child: a process of ours on cores of its own; it is ended by its pid, whatever happens."""

import socket
import subprocess
import time
from pathlib import Path

from bench.machine import cpu_seconds, family, pinned, resident_bytes

ROOT = Path(__file__).resolve().parents[1]
READY_S = 60.0
STOP_S = 15.0
SHOWN_CHARACTERS = 600


class BenchError(Exception):
    """A measurement cannot be made; the text says why."""


class Child:
    """A running process. Its output goes into `<folder>/<name>.log`."""

    def __init__(
        self, name: str, command: list[str], *, folder: Path, cores: frozenset[int], env: dict[str, str]
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with pinned(cores), self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def wait_until_ready(self) -> dict[str, str]:
        """What its line `ready name=HOST:PORT …` says; raises BenchError when there is none in time."""
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            for line in self.output().splitlines():
                if line.startswith("ready "):
                    return dict(part.split("=", 1) for part in line.split()[1:])
            self.pause_while_running()
        raise BenchError(f"{self.name} is not ready: {self.output()[-SHOWN_CHARACTERS:].strip()}")

    def wait_until_listening(self, port: int) -> None:
        """Wait until it takes connections on this port of 127.0.0.1; raises BenchError when it does not in time."""
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except OSError:
                self.pause_while_running()
            else:
                return
        raise BenchError(f"{self.name} does not listen: {self.output()[-SHOWN_CHARACTERS:].strip()}")

    def pause_while_running(self) -> None:
        """Give it a moment; raises BenchError when it has ended."""
        if self._process.poll() is not None:
            raise BenchError(f"{self.name} has ended: {self.output()[-SHOWN_CHARACTERS:].strip()}")
        time.sleep(0.02)

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def check_success(self, limit_s: float) -> None:
        """Wait for its end; raises BenchError when it failed, or does not end in time."""
        try:
            code = self._process.wait(limit_s)
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{self.name} did not end within {limit_s:g} s") from error
        if code:
            raise BenchError(f"{self.name} failed: {self.output()[-SHOWN_CHARACTERS:].strip()}")

    def output(self) -> str:
        """All that it has printed."""
        return self._log.read_text("utf-8", "replace")

    def cpu_seconds(self) -> float:
        """CPU time used so far, by it and its children."""
        return cpu_seconds(family(self._process.pid))

    def resident_bytes(self) -> int:
        """Memory that it and its children hold now."""
        return resident_bytes(family(self._process.pid))

    def stop(self) -> None:
        """End it: by its own means first."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pids = family(self._process.pid)
            self._process.kill()
            self._process.wait()
            _kill_orphans(pids[1:])


def _kill_orphans(pids: list[int]) -> None:
    for pid in pids:
        subprocess.run(["kill", "-KILL", str(pid)], check=False, stderr=subprocess.DEVNULL)
