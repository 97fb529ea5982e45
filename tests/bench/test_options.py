"""What would make a run useless is said before it begins."""

import subprocess
import sys

import pytest

from bench.child import ROOT


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rows", "0"], "--rows: expected 1 or more: 0"),
        (["--json", "nowhere/out.json"], "--json: expected a file in a folder that exists: nowhere/out.json"),
        (["--plots", "README.md"], "--plots: expected a folder: README.md"),
        (["--only", "nothing"], "invalid choice: 'nothing'"),
    ],
)
def test_bad_option(options: list[str], said: str) -> None:
    """An error of one line, and nothing is measured."""
    command = [sys.executable, "-m", "bench", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
