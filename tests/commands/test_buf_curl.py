"""Both gRPC engines as a client that is not ours speaks to them: `buf curl`, connect-go over HTTP/2 in the clear."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from tests.commands.processes import ROOT, Serving, serving
from tests.commands.test_serve import options
from tests.exchange.cases import BASE, campaign_of, replies_of
from tests.exchange.scripted_buyers import scripted_buyers

BUF = str(Path(sys.executable).with_name("buf"))
SERVICE = "leadexchange.v1.LeadExchange"
PROTOS = ("--schema", "protos")
REFLECTION = ("--reflect",)
UNAUTHENTICATED = 16 << 3  # its exit code is the gRPC code, shifted
TEST_PING = {**BASE["calls"]["ping"], "data": BASE["calls"]["ping"]["data"] | {"Test_Mode": "1"}}


@pytest.fixture(params=["turbo", "aio"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serving]:
    """An exchange that nobody but test mode can sell with."""
    (tmp_path / "auto.yaml").write_bytes(campaign_of({}, "127.0.0.1:1"))
    with serving(*options(tmp_path, "--grpc-engine", request.param)) as running:
        yield running


def curl(address: str, path: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    command = [BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", *flags, f"http://{address}{path}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def call(address: str, method: str, body: dict[str, Any], schema: Sequence[str] = PROTOS) -> dict[str, Any]:
    """A call that is answered."""
    done = curl(address, f"/{SERVICE}/{method}", *schema, "--data", json.dumps(body))
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("schema", [PROTOS, REFLECTION], ids=["protos", "reflection"])
def test_ping(server: Serving, schema: Sequence[str]) -> None:
    """A client that knows the protos, and one that asks the server for them, get the same answer."""
    answer = call(server.grpc, "Ping", TEST_PING, schema)
    assert answer["status"] == "PING_STATUS_ACCEPTED"
    assert answer["pingId"].startswith("PING-")


def test_list_methods(server: Serving) -> None:
    """Reflection names the three calls, and health."""
    methods = curl(server.grpc, "", *REFLECTION, "--list-methods").stdout.split()
    assert {f"{SERVICE}/{name}" for name in ("Ping", "Post", "DirectPost")} <= set(methods)
    assert "grpc.health.v1.Health/Check" in methods


def test_refused(server: Serving) -> None:
    """A refusal comes with its code and its details, which the client can read."""
    body = json.dumps({**TEST_PING, "KEY": "wrong"})
    refused = curl(server.grpc, f"/{SERVICE}/Ping", *PROTOS, "--data", body)
    assert refused.returncode == UNAUTHENTICATED
    (detail,) = json.loads(refused.stderr)["details"]
    assert detail["type"] == "google.rpc.ErrorInfo"
    assert ErrorInfo.FromString(base64.b64decode(detail["value"])).reason == "INVALID_KEY"


@pytest.mark.parametrize("engine", ["turbo", "aio"])
async def test_ping_and_post(engine: str, tmp_path: Path) -> None:
    """A lead is sold by two commands."""
    async with scripted_buyers(replies_of({})) as buyers:
        (tmp_path / "auto.yaml").write_bytes(campaign_of({}, buyers.address))
        with serving(*options(tmp_path, "--grpc-engine", engine)) as server:
            offered = await asyncio.to_thread(call, server.grpc, "Ping", BASE["calls"]["ping"])
            post = BASE["calls"]["post"] | {"ping_id": offered["pingId"]}
            sold = await asyncio.to_thread(call, server.grpc, "Post", post)
    assert sold["status"] == "POST_STATUS_DELIVERED"
    assert len(buyers.received["acme.post"]) == 1
