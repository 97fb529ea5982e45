"""What every test shares."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from tests.storage.servers import TEMPLATE, PostgresServer, Servers, binaries, migrate, run_apart, running

# Machines that run these tests are shared and slow at times: a slow example is no failure.
settings.register_profile("shared_machine", deadline=None)
settings.load_profile("shared_machine")


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one, for stores that sync often and are not asked whether it lasts."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="lexchange-", dir=shared if shared.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Servers by their version, each started when it is first asked for."""
    started: dict[str, PostgresServer] = {}
    with ExitStack() as stack:

        def server(version: str) -> PostgresServer:
            if binaries(version) is None:
                pytest.skip(f"PostgreSQL {version} is not installed: make debian")
            if version not in started:
                started[version] = stack.enter_context(running(version))
                started[version].execute(f"CREATE DATABASE {TEMPLATE}")
                run_apart(migrate(started[version].url(TEMPLATE)))
            return started[version]

        yield server
