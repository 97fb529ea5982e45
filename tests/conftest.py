"""What every test shares."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import settings

from tests.storage.servers import TEMPLATE, PostgresServer, Servers, binaries, migrate, run_apart, running

# Machines that run these tests are shared and slow at times: a slow example is no failure.
settings.register_profile("shared_machine", deadline=None)
settings.load_profile("shared_machine")


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
