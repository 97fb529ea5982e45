"""Two PostgreSQL nodes under Patroni, the second a synchronous standby, with one etcd: all on loopback, in one folder.

`synchronous_mode` is not strict: of two nodes one is left after a failover, and it has to take writes alone until the
other is back. While both are there a commit is answered once both have it.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from tests.commands.processes import family, kill_all
from tests.storage.servers import DEBIAN, PASSWORD, home, run_apart

PATRONI, ETCD = "/usr/bin/patroni", "/usr/bin/etcd"
WAIT_S = 90
STOP_S = 20
# ttl: so long after the last word of a primary another may take its place.
TIMES = {"ttl": 20, "loop_wait": 5, "retry_timeout": 5}


def missing() -> list[str]:
    """The programs that are not here."""
    return [str(path) for path in (PATRONI, ETCD, DEBIAN / "postgres") if not Path(path).exists()]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]


class Member:
    """One node: a Patroni, and the PostgreSQL that it keeps."""

    def __init__(self, name: str, folder: Path, etcd_port: int) -> None:
        self.name = name
        self.port, self._rest_port = free_ports(2)
        self._folder = folder / name
        self._folder.mkdir(mode=0o700)
        (self._folder / "patroni.yml").write_text(json.dumps(self._settings(etcd_port)))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, user: dict[str, Any]) -> None:
        """Start Patroni, which starts the rest."""
        with (self._folder / "log").open("ab") as log:
            command = [PATRONI, str(self._folder / "patroni.yml")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, **user)

    def kill(self) -> None:
        """`kill -9` of Patroni and of all processes of its PostgreSQL: the machine is gone."""
        assert self.process is not None
        kill_all([self.process.pid, *self._postgres()])
        self.process.wait(STOP_S)

    def stop(self) -> None:
        """Let Patroni end its PostgreSQL and itself; by force if it does not."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def log(self) -> str:
        """The end of what Patroni and PostgreSQL have said."""
        return (self._folder / "log").read_text("utf-8", "replace")[-3_000:]

    def members(self) -> dict[str, str]:
        """Who is in the cluster, as this node sees it: roles by names; empty when it says nothing."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._rest_port}/cluster", timeout=2) as answer:
                found = json.load(answer)["members"]
        except (OSError, urllib.error.URLError, ValueError):
            return {}
        return {each["name"]: each["role"] for each in found if each["state"] in ("running", "streaming")}

    def _postgres(self) -> list[int]:
        """The pids of this node's PostgreSQL, the postmaster first."""
        try:
            return family(int((self._folder / "data" / "postmaster.pid").read_text().split()[0]))
        except (OSError, ValueError):
            return []

    def _settings(self, etcd_port: int) -> dict[str, Any]:
        superuser = {"username": "postgres", "password": PASSWORD}
        return {
            "scope": "lexchange",
            "name": self.name,
            "restapi": _address(self._rest_port),
            "etcd3": {"host": f"127.0.0.1:{etcd_port}"},
            "bootstrap": {
                "dcs": {
                    **TIMES,
                    "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True, "parameters": {"max_connections": 100}},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"],
                "pg_hba": [f"host {database} all 127.0.0.1/32 scram-sha-256" for database in ("all", "replication")],
            },
            "postgresql": {
                **_address(self.port),
                "data_dir": str(self._folder / "data"),
                "bin_dir": str(DEBIAN),
                "pgpass": str(self._folder / "pgpass"),
                "authentication": {
                    "superuser": superuser,
                    "rewind": superuser,
                    "replication": {"username": "replicator", "password": PASSWORD},
                },
                "parameters": {"unix_socket_directories": str(self._folder), "password_encryption": "scram-sha-256"},
            },
        }


class Cluster:
    """Both members; `url` names both hosts, and who connects takes the one that is primary."""

    def __init__(self, folder: Path, user: dict[str, Any]) -> None:
        self._folder = folder
        self._user = user
        self._etcd_ports = free_ports(2)
        self.members = [Member(name, folder, self._etcd_ports[0]) for name in ("one", "two")]
        self._etcd: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of the database, over both hosts."""
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"postgresql://lexchange:{PASSWORD}@{hosts}/lexchange"

    def start(self) -> None:
        """Start etcd and both members, and wait until the second follows the first synchronously."""
        self._start_etcd()
        self.members[0].start(self._user)
        self.wait("a primary", lambda: "leader" in self.roles().values())
        self.members[1].start(self._user)
        self.wait_for_standby()
        run_apart(self._make_database())

    def rejoin(self, member: Member) -> None:
        """Start a killed member again, and wait until it follows."""
        member.start(self._user)
        self.wait_for_standby()

    def wait_for_standby(self) -> None:
        """Wait until every commit goes to both."""
        self.wait("a synchronous standby", lambda: sorted(self.roles().values()) == ["leader", "sync_standby"])

    def roles(self) -> dict[str, str]:
        """Roles by names, as whoever answers first sees them."""
        return next(filter(None, (member.members() for member in self.members)), {})

    def primary(self) -> Member:
        """Who takes writes."""
        roles = self.roles()
        return next(member for member in self.members if roles.get(member.name) == "leader")

    def wait(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait for something that Patroni brings about."""
        until = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < until, f"no {what}: {[member.log() for member in self.members]}"
            time.sleep(0.2)

    def stop(self) -> None:
        """End everything, the standby first."""
        for member in self.members[::-1]:
            member.stop()
        if self._etcd is not None:
            self._etcd.terminate()
            self._etcd.wait(STOP_S)

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in self._etcd_ports)
        command = [ETCD, "--name", "only", "--data-dir", str(self._folder / "etcd"), "--logger", "zap"]
        command += ["--listen-client-urls", client, "--advertise-client-urls", client]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        command += ["--initial-cluster", f"only={peer}"]
        with (self._folder / "etcd.log").open("ab") as log:
            self._etcd = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, **self._user)

    async def _make_database(self) -> None:
        url = self.url.replace("//lexchange:", "//postgres:").replace("/lexchange", "/postgres")
        connection = await asyncpg.connect(url, target_session_attrs="read-write")
        await connection.execute(f"CREATE ROLE lexchange LOGIN PASSWORD '{PASSWORD}'")
        await connection.execute("CREATE DATABASE lexchange OWNER lexchange")
        await connection.close()


def _address(port: int) -> dict[str, str]:
    return {"listen": f"127.0.0.1:{port}", "connect_address": f"127.0.0.1:{port}"}


@contextmanager
def clustered() -> Iterator[Cluster]:
    """A cluster until the block ends. PostgreSQL refuses to run as root: there everything runs as nobody."""
    folder = Path(tempfile.mkdtemp(prefix="lexchange-cluster-", dir=home()))
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    cluster = Cluster(folder, user)
    for path in (folder, *folder.rglob("*")) if user else ():
        shutil.chown(path, "nobody", "nogroup")
    try:
        cluster.start()
        yield cluster
    finally:
        try:
            cluster.stop()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
