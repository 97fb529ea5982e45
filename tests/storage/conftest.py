"""The store over each engine; a new engine is one more parameter here."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lexchange.storage import Store
from lexchange.storage.sqlite import SqliteConnector


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of the engine."""
    return {"sqlite": f"sqlite:///{tmp_path}/store.db"}[request.param]


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
