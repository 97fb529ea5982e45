"""Disks that a test can fill and make refuse, under a running server: one of its own where mounting is permitted."""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import Protocol

import pytest

from tests.commands.processes import Serving

DISK_BYTES = 24 * 1024 * 1024  # more than the log of the store takes before it is folded in


class Disk(Protocol):
    """A folder on a disk, and the fault that it may have."""

    folder: Path

    def break_under(self, server: Serving) -> None:
        """From now on the server's writes fail."""

    def mend_under(self, server: Serving) -> None:
        """They do no more."""


class SmallDisk:
    """A file system of its own, which anything can fill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def break_under(self, server: Serving) -> None:
        """Fill it to the last byte."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in (65_536, 4_096, 1):
                with pytest.raises(OSError, match="No space left"):
                    write_on(ballast, size)

    def mend_under(self, server: Serving) -> None:
        """Somebody clears up."""
        self._ballast.unlink()


def write_on(file: RawIOBase, size: int) -> None:
    """Until the system refuses."""
    while True:
        file.write(bytes(size))


class RefusingDisk:
    """The system refuses that the server's files grow beyond a size, 0 for not a byte of any: no other user notices."""

    def __init__(self, folder: Path, *, is_full: bool) -> None:
        self.folder = folder
        self._is_full = is_full

    def break_under(self, server: Serving) -> None:
        """As far as its longest file is now, or nowhere."""
        longest = max(file.stat().st_size for file in self.folder.iterdir()) if self._is_full else 0
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (longest, hard))

    def mend_under(self, server: Serving) -> None:
        """No limit but the old one."""
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def mounted(folder: Path) -> Iterator[bool]:
    """A small file system in the folder; False where only root may mount one, and this is not root."""
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "lexchange-test", str(folder)]
    try:
        is_mounted = subprocess.run(mounting, capture_output=True, check=False).returncode == 0
    except OSError:
        is_mounted = False
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def disk(kind: str, folder: Path) -> Iterator[Disk]:
    """A disk that is going to be `full`, or to refuse `every write` as one does that has turned read-only."""
    if kind == "every write":
        yield RefusingDisk(folder, is_full=False)
        return
    with mounted(folder) as is_own:
        yield SmallDisk(folder) if is_own else RefusingDisk(folder, is_full=True)


@contextmanager
def read_only(folder: Path, *, is_own: bool) -> Iterator[None]:
    """The folder's file system turns read-only; one that is not ours alone takes no write of ours and our children."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if is_own:
        remount(folder, "ro")
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        if is_own:
            remount(folder, "rw")
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def remount(folder: Path, how: str) -> None:
    """Refused by the system while any file there is open for writing."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)
