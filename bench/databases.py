"""A PostgreSQL server to measure stores on: the one in the wheel, on the disk of the repository, with safe settings."""

from contextlib import ExitStack, suppress
from pathlib import Path

from bench.child import BenchError
from bench.machine import PAGE_BYTES, cpu_seconds, family, pinned, reaped_cpu_seconds
from tests.storage.servers import PostgresServer, binaries

VERSION = "18"


class Postgres:
    """One running server."""

    def __init__(self, folder: Path, cores: frozenset[int]) -> None:
        programs = binaries(VERSION)
        if programs is None:
            raise BenchError(f"PostgreSQL {VERSION} is missing")
        folder.mkdir()
        self._databases = ExitStack()
        with pinned(cores):
            try:
                self._server = PostgresServer(programs, folder, ())
                self._server.start()
            except (OSError, AssertionError) as error:
                raise BenchError(f"PostgreSQL {VERSION} does not start: {error}") from error

    def database(self) -> str:
        """A fresh database; its URL."""
        return self._databases.enter_context(self._server.database())

    def cpu_seconds(self) -> float:
        """CPU time used so far, by sessions that have ended too."""
        pid = self._server.pid
        return reaped_cpu_seconds(pid) + cpu_seconds(family(pid))

    def resident_bytes(self) -> int:
        """Memory that its processes hold now, and what they share once."""
        found = []
        for pid in family(self._server.pid):
            with suppress(OSError):
                found.append([int(pages) * PAGE_BYTES for pages in Path(f"/proc/{pid}/statm").read_text().split()])
        return sum(resident - shared for _, resident, shared, *_ in found) + max(shared for _, _, shared, *_ in found)

    def stop(self) -> None:
        """End it."""
        self._databases.close()
        with suppress(ProcessLookupError):
            self._server.stop()
