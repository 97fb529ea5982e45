"""gRPC over TLS, by either engine, as an operator starts it."""

import asyncio
import socket
import ssl
import subprocess
from pathlib import Path

import grpc
import pytest

from leadexchange.v1 import lead_exchange_pb2 as pb
from leadexchange.v1 import lead_exchange_pb2_grpc as pb_grpc
from tests.commands.processes import lexchange, serving
from tests.commands.test_serve import PING, options
from tests.exchange.cases import campaign_of
from tests.turbo.peers import greeted, running


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


@pytest.mark.parametrize("engine", ["turbo", "aio"])
@pytest.mark.parametrize(
    ("certificate", "key", "problem"),
    [
        ("cert.pem", "cert.pem", "one of them is no pem"),
        ("auto.yaml", "key.pem", "one of them is no pem"),
        ("cert.pem", "other.pem", "key values mismatch"),
        ("cert.pem", "locked.pem", "a key with a password"),
    ],
)
def test_files_that_do_not_fit(
    certificate: str, key: str, problem: str, engine: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """Said in a line, whoever serves; nobody is asked for a password."""
    (tmp_path / "auto.yaml").write_bytes(campaign_of({}, "127.0.0.1:1"))
    other, locked = str(tmp_path / "other.pem"), str(tmp_path / "locked.pem")
    for command in (
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", other],
        ["openssl", "ec", "-in", str(pair[1]), "-aes128", "-passout", "pass:x", "-out", locked],
    ):
        subprocess.run(command, check=True, capture_output=True)
    files = f"{tmp_path / certificate}:{tmp_path / key}"
    refused = lexchange(*options(tmp_path), "--grpc-engine", engine, "--grpc-tls", files)
    assert refused.returncode == 1
    assert refused.stderr == f"--grpc-tls {files}: expected PEM files that fit each other; got: {problem}\n"


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00"], ids=["nothing", "half a hello"])
async def test_who_does_not_shake_hands_is_hung_up_on(
    said: bytes, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as who does not greet."""
    monkeypatch.setattr("lexchange.turbo.server.GREETING_S", 0.3)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*pair)
    async with running(tls) as server, server.peer(is_greeting=False) as peer:
        peer.say(said)
        async with asyncio.timeout(5):
            assert await peer.reader.read() == b""


async def test_who_does_not_answer_the_end_of_tls_is_cut_off(pair: tuple[Path, Path]) -> None:
    """A client such as grpcio: what it has asked behind our farewell would wait for its deadline."""
    tls, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=pair[0])
    tls.load_cert_chain(*pair)
    async with running(tls) as server:
        host, _, port = server.address.rpartition(":")

        def greet() -> ssl.SSLSocket:
            connected = trust.wrap_socket(socket.create_connection((host, int(port))), server_hostname="localhost")
            connected.sendall(greeted(b""))
            return connected

        with await asyncio.to_thread(greet) as silent:
            assert await asyncio.to_thread(silent.recv, 9)
            async with asyncio.timeout(5):
                await server.server.stop(10)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """Said before anything listens."""
    (tmp_path / "auto.yaml").write_bytes(campaign_of({}, "127.0.0.1:1"))
    refused = lexchange(*options(tmp_path), "--grpc-tls", "cert.pem")
    assert refused.returncode == 1
    assert "--grpc-tls cert.pem: expected CERTIFICATE:KEY, two PEM files" in refused.stderr
