"""The unit for systemd is one that it takes, and exposes little."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "lexchange.service"
MOST_EXPOSURE = 2.0


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that is there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed: make debian")
    text = UNIT.read_text().replace("/opt/lexchange/bin/lexchange", "/bin/true")
    (tmp_path / UNIT.name).write_text(text)
    return tmp_path / UNIT.name


def test_unit_is_understood(unit: Path) -> None:
    """No unknown key, no value out of range."""
    found = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert [line for line in found.stderr.splitlines() if UNIT.name in line] == []


def test_unit_exposes_little(unit: Path) -> None:
    """What systemd reckons that a break-in could reach."""
    command = ["systemd-analyze", "security", "--offline=true", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert exposure is not None, said[-300:]
    assert float(exposure[1]) <= MOST_EXPOSURE
