"""What every test shares."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Machines that run these tests are shared and slow at times: a slow example is no failure.
settings.register_profile("shared_machine", deadline=None)
settings.load_profile("shared_machine")


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one, for stores that sync often and are not asked whether it lasts."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="lexchange-", dir=shared if shared.is_dir() else tmp_path) as folder:
        yield Path(folder)
