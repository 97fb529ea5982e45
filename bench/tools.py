"""Tools that are no dependency of the product: load generators, nginx, and the peers that are measured beside it.

What Debian does not bring is installed or built here, once, into .bench/: Go programs from their modules, Python ones
from bench/requirements/ into an environment each.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from bench.child import ROOT, BenchError

CACHE = ROOT / ".bench"
GHZ_MODULE = "github.com/bojand/ghz/cmd/ghz"
GHZ_VERSION = "v0.120.0"
H2SPEC_MODULE = "github.com/summerwind/h2spec/cmd/h2spec"
H2SPEC_VERSION = "v2.2.1+incompatible"
REQUIREMENTS = ROOT / "bench" / "requirements"
GO_PEER = ROOT / "bench" / "peers" / "go"
GO_PEER_MODULE = "lexchange.bench/peers"
PROTO_FOLDERS = (ROOT / "protos", ROOT / "bench" / "ghz")
# Where the Go peer has the code that is generated of each proto.
GO_PACKAGES = {"leadexchange/v1/lead_exchange.proto": "gen/leadexchange", "echo.proto": "gen/bench"}
INSTALL_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Where they are. None: not needed, not here, or not to be had; `notes` says why."""

    ghz: str | None
    wrk: str | None
    nginx: str | None
    fastapi_python: str | None
    envoy: str | None
    go_peer: str | None
    notes: tuple[str, ...]


def find_tools(groups: Collection[str]) -> Tools:
    """Find what is installed and install what these groups need; what is missing costs its rows, not the run."""
    make_cache()
    notes: list[str] = []
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    found = {name: shutil.which(name, path=path) for name in ("wrk", "nginx")}
    notes += [f"{name} is missing: make debian" for name, place in found.items() if place is None]
    return Tools(
        ghz=_attempt(_ghz, notes),
        wrk=found["wrk"],
        nginx=found["nginx"],
        fastapi_python=_attempt(lambda: python_with("fastapi"), notes) if "auction" in groups else None,
        envoy=_attempt(_envoy, notes) if "peers" in groups else None,
        go_peer=_attempt(_go_peer, notes) if "peers" in groups else None,
        notes=tuple(notes),
    )


def make_cache() -> Path:
    """The folder of all this and of stores: on the disk of the repository, for /tmp may be memory."""
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    return CACHE


def h2spec() -> str:
    """The conformance suite of HTTP/2; raises BenchError."""
    make_cache()
    return _of_go("h2spec", H2SPEC_MODULE, H2SPEC_VERSION)


def python_with(name: str) -> str:
    """The Python of an environment that has what bench/requirements/NAME.txt says; raises BenchError."""
    requirements = REQUIREMENTS / f"{name}.txt"
    environment = CACHE / name
    python, stamp = environment / "bin" / "python", environment / ".installed"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return str(python)
    _say(f"installing {requirements.relative_to(ROOT)} into .bench/{name}")
    _run([sys.executable, "-m", "venv", "--clear", str(environment)])
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    _run([*pip, "install", "--require-hashes", "-r", str(requirements)])
    stamp.write_text(wanted)
    return str(python)


def _attempt(install: Callable[[], str], notes: list[str]) -> str | None:
    try:
        return install()
    except (BenchError, OSError, subprocess.SubprocessError) as error:
        notes.append(str(error))
        return None


def _ghz() -> str:
    try:
        return _of_go("ghz", GHZ_MODULE, GHZ_VERSION)
    except BenchError as error:
        raise BenchError(f"{error}: gRPC load comes from Python, which is slower than the server's C") from error


def _envoy() -> str:
    return str(Path(python_with("envoy")).with_name("envoy"))


def _of_go(name: str, module: str, version: str) -> str:
    """Build a published tool once."""
    binary = CACHE / f"{name}-{version}" / name
    if not binary.exists():
        go = _go(name)
        _say(f"building {name} {version}")
        _run([go, "install", f"{module}@{version}"], env=os.environ | {"GOBIN": str(binary.parent)})
    return str(binary)


def _go_peer() -> str:
    """Build bench/peers/go with the code that its own plugins generate; again when it or a proto has changed."""
    protos = [folder / name for name in GO_PACKAGES for folder in PROTO_FOLDERS if (folder / name).exists()]
    sources = sorted(file for file in GO_PEER.iterdir())
    version = hashlib.sha256(b"".join(file.read_bytes() for file in [*sources, *protos])).hexdigest()[:16]
    folder = CACHE / f"go-peer-{version}"
    binary = folder / "peer"
    if not binary.exists():
        go = _go("the Go peer")
        _say("building bench/peers/go")
        shutil.copytree(GO_PEER, folder, dirs_exist_ok=True)
        _run([go, "install", "tool"], folder, env=os.environ | {"GOBIN": str(folder / "bin")})
        _generate_go(folder)
        _run([go, "build", "-o", str(binary), "."], folder)
    return str(binary)


def _generate_go(folder: Path) -> None:
    packages = ",".join(f"M{proto}={GO_PEER_MODULE}/{package}" for proto, package in GO_PACKAGES.items())
    command = [sys.executable, "-m", "grpc_tools.protoc", *(f"-I{each}" for each in PROTO_FOLDERS)]
    for plugin in ("go", "go-grpc", "grpc-gateway"):
        command += [f"--plugin={folder}/bin/protoc-gen-{plugin}", f"--{plugin}_out={folder}"]
        command += [f"--{plugin}_opt=module={GO_PEER_MODULE},{packages}"]
    # Routes of methods that name none: POST /package.Service/Method.
    _run([*command, "--grpc-gateway_opt=generate_unbound_methods=true", *GO_PACKAGES])


def _go(what: str) -> str:
    go = shutil.which("go", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/go/bin"]))
    if go is None:
        raise BenchError(f"{what} is missing and so is Go")
    return go


def _say(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr, flush=True)


def _run(command: list[str], folder: Path = ROOT, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command[:4])} failed: {done.stderr.strip()[-300:]}")
