"""Tools that are no dependency of the product: ghz, wrk, nginx, and the peer's environment. Cached in .bench/."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench.child import ROOT, BenchError

CACHE = ROOT / ".bench"
GHZ_MODULE = "github.com/bojand/ghz/cmd/ghz"
GHZ_VERSION = "v0.120.0"
H2SPEC_MODULE = "github.com/summerwind/h2spec/cmd/h2spec"
H2SPEC_VERSION = "v2.2.1+incompatible"
PEER_REQUIREMENTS = ROOT / "bench" / "requirements.txt"
INSTALL_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Where they are. None: not here, and cannot be had; `notes` says why."""

    ghz: str | None
    wrk: str | None
    nginx: str | None
    peer_python: str | None
    notes: tuple[str, ...]


def find_tools(*, with_peer: bool) -> Tools:
    """Find what is installed and install what can be; whatever is missing costs its rows, not the run."""
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    notes: list[str] = []
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    found = {name: shutil.which(name, path=path) for name in ("wrk", "nginx")}
    notes += [f"{name} is missing: make debian" for name, place in found.items() if place is None]
    return Tools(
        ghz=_attempt(_ghz, notes),
        wrk=found["wrk"],
        nginx=found["nginx"],
        peer_python=_attempt(_peer_python, notes) if with_peer else None,
        notes=tuple(notes),
    )


def _attempt(install: Callable[[], str], notes: list[str]) -> str | None:
    try:
        return install()
    except (BenchError, OSError, subprocess.SubprocessError) as error:
        notes.append(str(error))
        return None


def h2spec() -> str:
    """The conformance suite of HTTP/2; raises BenchError."""
    return _of_go("h2spec", H2SPEC_MODULE, H2SPEC_VERSION)


def _ghz() -> str:
    try:
        return _of_go("ghz", GHZ_MODULE, GHZ_VERSION)
    except BenchError as error:
        raise BenchError(f"{error}: gRPC load comes from Python, which is slower than the server's C") from error


def _of_go(name: str, module: str, version: str) -> str:
    """Build a tool once."""
    binary = CACHE / f"{name}-{version}" / name
    if binary.exists():
        return str(binary)
    go = shutil.which("go", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/go/bin"]))
    if go is None:
        raise BenchError(f"{name} is missing and so is Go")
    print(f"bench: building {name} {version}", file=sys.stderr, flush=True)
    CACHE.mkdir(exist_ok=True)
    _run([go, "install", f"{module}@{version}"], env=os.environ | {"GOBIN": str(binary.parent)})
    return str(binary)


def _peer_python() -> str:
    environment = CACHE / "peer-venv"
    python, stamp = environment / "bin" / "python", environment / ".installed"
    wanted = hashlib.sha256(PEER_REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return str(python)
    print("bench: installing the peer into .bench/peer-venv", file=sys.stderr, flush=True)
    _run([sys.executable, "-m", "venv", "--clear", str(environment)])
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    _run([*pip, "install", "--require-hashes", "-r", str(PEER_REQUIREMENTS)])
    stamp.write_text(wanted)
    return str(python)


def _run(command: list[str], env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command[:4])} failed: {done.stderr.strip()[-300:]}")
