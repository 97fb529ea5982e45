"""gRPC over TLS, by either engine, as an operator starts it."""

import subprocess
from pathlib import Path

import grpc
import pytest

from leadexchange.v1 import lead_exchange_pb2 as pb
from leadexchange.v1 import lead_exchange_pb2_grpc as pb_grpc
from tests.commands.processes import lexchange, serving
from tests.commands.test_serve import PING, options
from tests.exchange.cases import campaign_of


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost, and its key."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return certificate, key


@pytest.mark.parametrize("engine", ["turbo", "aio"])
async def test_call_over_tls(engine: str, pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A client that trusts the certificate is served; one that speaks plainly is not."""
    (tmp_path / "auto.yaml").write_bytes(campaign_of({}, "127.0.0.1:1"))
    more = ("--grpc-engine", engine, "--grpc-tls", f"{pair[0]}:{pair[1]}")
    ping = pb.PingRequest(src=PING.body["SRC"], key=PING.body["KEY"], data=PING.body["data"] | {"Test_Mode": "1"})
    with serving(*options(tmp_path, *more)) as server:
        address = server.grpc.replace("127.0.0.1", "localhost")
        trust = grpc.ssl_channel_credentials(pair[0].read_bytes())
        async with grpc.aio.secure_channel(address, trust) as channel:
            answer = await pb_grpc.LeadExchangeStub(channel).Ping(ping)
        assert answer.status == pb.PING_STATUS_ACCEPTED
        async with grpc.aio.insecure_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await pb_grpc.LeadExchangeStub(channel).Ping(ping, timeout=3)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """Said before anything listens."""
    (tmp_path / "auto.yaml").write_bytes(campaign_of({}, "127.0.0.1:1"))
    refused = lexchange(*options(tmp_path), "--grpc-tls", "cert.pem")
    assert refused.returncode == 1
    assert "--grpc-tls cert.pem: expected CERTIFICATE:KEY, two PEM files" in refused.stderr
