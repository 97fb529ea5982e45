"""The store that processes serve, over each engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.servers import TEMPLATE, Servers


@pytest.fixture(params=["sqlite", "postgres 18"])
def store(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> Iterator[str]:
    """The URL of a fresh store."""
    engine, _, version = request.param.partition(" ")
    if engine == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    with servers(version).database(TEMPLATE) as url:
        yield url
