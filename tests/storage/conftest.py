"""The store over each engine; a new engine is one more parameter here."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from lexchange.storage import Store
from lexchange.storage.sqlite import SqliteConnector
from tests.storage.servers import TEMPLATE, Servers


@pytest.fixture(params=["sqlite", "postgres 18", "postgres 15"])
def url(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> Iterator[str]:
    """A fresh database of the engine."""
    engine, _, version = request.param.partition(" ")
    if engine == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    with servers(version).database(TEMPLATE) as database:
        yield database


@pytest.fixture(params=["sqlite", "postgres 18", "postgres 15"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> Iterator[str]:
    """A database that no store has been in."""
    engine, _, version = request.param.partition(" ")
    if engine == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    with servers(version).database() as database:
        yield database


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with Store.open(url) as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "store.db")


@pytest.fixture
async def connector(file: str) -> AsyncIterator[SqliteConnector]:
    opened = await SqliteConnector.open(file, busy_timeout_ms=50, waiting_units=150)
    yield opened
    await opened.aclose()
