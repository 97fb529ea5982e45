"""The way to a buyer: names, checked addresses and TLS."""

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from lexchange.access import TlsFiles
from lexchange.buyers import client as client_module
from lexchange.buyers.client import AddressRule, BuyerFailure, FailureKind
from lexchange.buyers.http_answer import not_sent
from tests.buyers.calls import OK, OK_ANSWER, buyer_client, full_backlog, result, send
from tests.buyers.raw_buyer import Line, answering_always, closing_after, hang, raw_buyer
from tests.buyers.test_addresses import LOOPBACK_AND_PRIVATE, METADATA, NOWHERE

# ------------------------------------------------------------------------------------- names and addresses

HOSTS = [f"[{address}]" if ":" in address else address for address in [*METADATA, *LOOPBACK_AND_PRIVATE, *NOWHERE]]
HOSTS += ["2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "0177.0.0.1", "127.0.1", "127.0.0.1.", "①②⑦.0.0.1"]
HOSTS += [
    "localhost",
    "LOCALHOST.",
    "inner.example",
    "metadata.google.internal",
    "acme.example@127.0.0.1",
    "[::1%25lo]",
]


def test_there_are_enough_inner_hosts():
    assert len(set(HOSTS)) >= 70


@pytest.mark.parametrize("host", HOSTS)
async def test_no_connection_is_made_when_an_address_is_inside(host, monkeypatch):
    """Without the development profile no spelling of an inner host is as much as tried."""
    tried: list[str] = []

    async def connect(address: str, *_: object) -> BuyerFailure:
        tried.append(address)
        return not_sent(FailureKind.CONNECT, "tried")

    monkeypatch.setattr(client_module, "_connect", connect)
    async with raw_buyer(answering_always(OK)) as buyer:
        async with buyer_client(AddressRule(), resolve=lambda _: ["127.0.0.1", "::1"]) as client:
            try:
                outcome = await send(client, f"http://{host}:{buyer.port}/")
            except ValueError:
                outcome = None  # refused when the configuration was read
        await asyncio.sleep(0.01)

    assert outcome is None or result(outcome) == ("refused_address", False)
    assert (tried, buyer.connection_count) == ([], 0)


async def test_address_is_checked_again_when_a_name_turns_inside():
    """A name that resolved well once is checked anew for the next connection (DNS rebinding)."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    rule = AddressRule(allowed_networks=(ip_network("127.0.0.1/32"),))
    async with raw_buyer(closing_after(OK)) as buyer, buyer_client(rule, resolve=lambda _: next(answers)) as client:
        url = f"http://buyer.example:{buyer.port}/"

        assert await send(client, url) == OK_ANSWER
        await asyncio.sleep(0.02)
        outcome = await send(client, url)

    assert result(outcome) == ("refused_address", False)
    assert outcome.detail == "127.0.0.2 is not a global address"


async def test_next_address_is_tried_when_one_refuses():
    """Refused and dead addresses are passed over for one that may be and can be reached."""
    rule = AddressRule(allowed_networks=(ip_network("127.0.0.0/8"),))
    addresses = ["10.0.0.1", "127.0.0.3", "127.0.0.1"]
    async with raw_buyer(answering_always(OK)) as buyer, buyer_client(rule, resolve=lambda _: addresses) as client:
        assert await send(client, f"http://buyer.example:{buyer.port}/") == OK_ANSWER
        assert buyer.requests[0].split(b"\r\n")[1] == b"Host: buyer.example:%d" % buyer.port


async def test_hanging_address_leaves_time_for_the_next():
    """Each address gets its share of the time left, so that a dead one does not use up the deadline."""
    addresses = ["127.0.0.1", "127.0.0.2"]
    with socket.socket() as listening:
        async with full_backlog() as port, buyer_client(resolve=lambda _: addresses) as client:
            listening.bind(("127.0.0.2", port))
            listening.listen()
            call = asyncio.create_task(send(client, f"http://buyer.example:{port}/", within_s=0.4))
            listening.setblocking(False)
            sock, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(listening), 0.35)
            sock.close()
            assert result(await call) == ("reset", True)


async def test_name_is_resolved_when_it_is_real():
    """The default resolver asks the system."""
    async with raw_buyer(answering_always(OK)) as buyer, buyer_client() as client:
        assert await send(client, f"http://localhost:{buyer.port}/") == OK_ANSWER


async def test_call_fails_unsent_when_a_name_has_no_address():
    """A name unknown, or known without an address, is the name's failure."""

    def unknown(host: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def empty(host: str) -> list[str]:
        return []

    for resolve in (unknown, empty):
        async with buyer_client(resolve=resolve) as client:
            assert result(await send(client, "http://nobody.example/")) == ("dns", False)


async def test_hanging_resolver_is_asked_once_and_slows_no_other_name():
    """A thread cannot be stopped, so calls to a name share one look-up; each keeps its own deadline."""
    release = threading.Event()
    asked: list[str] = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        if host == "hanging.example":
            release.wait(5)
        return ["127.0.0.1"]

    async with raw_buyer(answering_always(OK)) as buyer, buyer_client(resolve=resolve) as client:
        url = f"http://hanging.example:{buyer.port}/"
        calls = [asyncio.create_task(send(client, url, within_s=0.1)) for _ in range(50)]
        assert await send(client, f"http://good.example:{buyer.port}/") == OK_ANSWER
        assert {result(await call) for call in calls} == {("timeout", False)}
        release.set()
        assert await send(client, url) == OK_ANSWER
    assert asked.count("hanging.example") <= 2


# --------------------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A folder with a root `ca.pem`, and `buyer.pem` / `buyer.key` for buyer.example and 127.0.0.1, made by it."""
    folder = tmp_path_factory.mktemp("tls")
    ca = ["-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem", "-addext", "keyUsage=critical,keyCertSign"]
    leaf = ["-subj", "/CN=buyer", "-keyout", "buyer.key", "-out", "buyer.pem", "-CA", "ca.pem", "-CAkey", "ca.key"]
    leaf += [
        "-addext",
        "subjectAltName=DNS:buyer.example,IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]
    for options in (ca, leaf):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        subprocess.run([*command, "-days", "2", *options], cwd=folder, check=True, capture_output=True)
    return folder


@asynccontextmanager
async def tls_buyer(certificates, answers: bytes, *, is_ragged=False, asks_back=False) -> AsyncIterator[int]:
    """A TLS buyer that gives every request the same answer.

    Ragged: he then cuts the line without TLS's farewell. Asks back: he wants our certificate, made by the same root.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "buyer.pem", certificates / "buyer.key")
    if asks_back:
        context.load_verify_locations(certificates / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b'"90210"}'):
                writer.write(answers)
                await writer.drain()
                if b"Content-Length" not in answers:
                    if is_ragged:
                        await asyncio.sleep(0.02)
                        writer.transport.abort()
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def trusting(certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def test_https_answers_when_the_certificate_is_trusted(certificates):
    """TLS verifies the endpoint's host, name or number, and keeps connections alive like plain HTTP."""
    lab = TlsFiles(ca=str(certificates / "ca.pem"))
    async with (
        tls_buyer(certificates, OK) as port,
        buyer_client(resolve=lambda _: ["127.0.0.1"], max_connections_per_endpoint=1) as client,
    ):
        for host in ("buyer.example", "127.0.0.1"):
            for _ in range(3):
                assert await send(client, f"https://{host}:{port}/", tls=lab) == OK_ANSWER
                await asyncio.sleep(0.02)
        assert sum(len(pool.connections) for pool in client._pools.values()) == 2


async def test_https_fails_unsent_when_the_certificate_is_not_trusted(certificates):
    """An unknown root or another host's certificate ends the call before any byte of the request leaves."""
    lab = TlsFiles(ca=str(certificates / "ca.pem"))
    async with (
        tls_buyer(certificates, OK) as port,
        buyer_client(resolve=lambda _: ["127.0.0.1"]) as client,
    ):
        unknown_root = await send(client, f"https://buyer.example:{port}/")
        other_host = await send(client, f"https://other.example:{port}/", tls=lab)

    assert result(unknown_root) == ("tls", False)
    assert unknown_root.detail.startswith("certificate: ")
    assert result(other_host) == ("tls", False)
    assert other_host.detail.startswith("certificate: Hostname mismatch")


async def test_https_answers_when_the_buyer_asks_for_our_certificate(certificates):
    """Who asks and gets none, or one of another root, hears no request; each certificate has its own connections."""
    ca = str(certificates / "ca.pem")
    ours = TlsFiles(ca=ca, certificate=str(certificates / "buyer.pem"), key=str(certificates / "buyer.key"))
    async with tls_buyer(certificates, OK, asks_back=True) as port, buyer_client() as client:
        url = f"https://127.0.0.1:{port}/"
        assert await send(client, url, tls=ours) == OK_ANSWER
        assert await send(client, url, tls=ours) == OK_ANSWER
        without = await send(client, url, tls=TlsFiles(ca=ca))
        strangers = TlsFiles(
            ca=ca, certificate="campaigns/every_key/certificate.pem", key="campaigns/every_key/key.pem"
        )
        with_another = await send(client, url, tls=strangers)
    for outcome in (without, with_another):
        assert isinstance(outcome, BuyerFailure)
        assert outcome.kind in (FailureKind.TLS, FailureKind.RESET)  # TLS 1.3 refuses after the handshake


async def test_https_fails_unsent_when_the_buyer_speaks_no_tls(certificates):
    """Plain text, silence and an end instead of a handshake are failures of TLS, or of time."""
    tls = trusting(certificates)

    async def plain(line: Line) -> None:
        await line.send(OK)
        await hang()

    async def end(line: Line) -> None:
        line.close()

    async def mute(line: Line) -> None:
        await hang()

    for script, within_s, connect_timeout_s, outcome in [
        (plain, 2, 2, ("tls", False)),
        (end, 2, 2, ("tls", False)),
        (mute, 0.1, 2, ("timeout", False)),
        (mute, 2, 0.1, ("tls", False)),
    ]:
        async with raw_buyer(script) as buyer, buyer_client(tls=tls, connect_timeout_s=connect_timeout_s) as client:
            assert result(await send(client, f"https://127.0.0.1:{buyer.port}/", within_s=within_s)) == outcome


async def test_https_answer_without_length_counts_only_when_tls_ends_it(certificates):
    """Anybody on the way can cut a line; only the buyer can say within TLS that his answer is over."""
    tls = trusting(certificates)
    answer = b"HTTP/1.1 200 OK\r\n\r\nwhole"
    async with tls_buyer(certificates, answer) as port, buyer_client(tls=tls) as client:
        whole = await send(client, f"https://127.0.0.1:{port}/")
    async with tls_buyer(certificates, answer, is_ragged=True) as port, buyer_client(tls=tls) as client:
        cut = await send(client, f"https://127.0.0.1:{port}/")

    assert result(whole) == b"whole"
    assert result(cut) == ("reset", True)
