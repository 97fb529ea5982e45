"""The only outbound HTTP: sends one exact request to a buyer's endpoint and gives its answer or why there is none.

It owns pools of keep-alive connections, name resolution and the address check of every new connection. It
knows nothing of leads, bids or retries, follows no redirect, decodes no body and reads no proxy settings.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from lexchange import failpoints
from lexchange.access import OAuth2Client
from lexchange.buyers.addresses import AddressRule, Endpoint
from lexchange.buyers.connection import ASKING_TRUSTED_S, CLOCK_TICK_S, CLOSED, Connection, Hear, Pool
from lexchange.buyers.http_answer import (
    AnswerReader,
    BuyerAnswer,
    BuyerFailure,
    ClientLimits,
    FailureKind,
    KnownHeads,
    Outcome,
    not_sent,
)
from lexchange.buyers.request import BuyerRequest, Head
from lexchange.buyers.tls import tls_context
from lexchange.buyers.tokens import Tokens
from lexchange.frozen import replace

__all__ = [
    "AddressRule",
    "BuyerAnswer",
    "BuyerClient",
    "BuyerFailure",
    "BuyerRequest",
    "ClientLimits",
    "Endpoint",
    "FailureKind",
]

MAX_ADDRESSES_TRIED = 8
MAX_LOOKUPS = 32  # names resolved at once; a name that hangs occupies one place, however many calls wait for it
MAX_HEADS_KEPT = 1_024
UNAUTHORIZED = 401

Resolve = Callable[[str], Sequence[str]]


class BuyerClient:
    """Sends requests to buyers. One per process, used in one event loop; `aclose` ends every connection.

    `default_tls` replaces the verifying context of endpoints that bring no TLS files.
    `resolve` gives the addresses of a host name; it runs in a thread and raises OSError.
    """

    def __init__(
        self,
        *,
        limits: ClientLimits,
        address_rule: AddressRule,
        default_tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()  # asking for it costs a system call each time
        self._limits = limits
        self._address_rule = address_rule
        self._default_tls = default_tls
        self._tokens = Tokens(self._post)
        self._resolve = resolve or _resolve
        self._resolvers = ThreadPoolExecutor(MAX_LOOKUPS, thread_name_prefix="buyer-names")
        self._lookups: dict[str, asyncio.Future[Sequence[str]]] = {}
        self._heads: dict[tuple[str, bytes, str, tuple[tuple[str, str], ...]], Head] = {}
        self._pools: dict[str, Pool] = {}
        self._known_heads: KnownHeads = {}
        self._is_closed = False

    def send_at_once(self, request: BuyerRequest, hear: Hear, *, deadline: float) -> Connection | None:
        """Send what only asks, without a task, where a connection is free; None where none is, and nothing was sent.

        `hear` is told the outcome in a later turn of the loop, or nothing once the connection was told to `abandon` it.
        """
        now = self._loop.time()
        if request.oauth2 is not None or now >= deadline:
            return None
        try:
            head, message, pool = self._prepare(request)
        except ValueError:
            return None
        connection = pool.take_idle(now, ASKING_TRUSTED_S)
        if connection is None:
            return None
        connection.start(message, hear, deadline, head.is_head, head.is_last)
        failpoints.reach("request_sent")
        return connection

    async def send_soon(self, request: BuyerRequest, hear: Hear, *, deadline: float) -> Connection | None:
        """As `send_at_once`, having waited for a connection; without one `hear` is told why, and None returned."""
        if request.oauth2 is not None:
            hear(await self._send_with_token(request, request.oauth2, deadline))
            return None
        started = await self._start(request, hear, deadline)
        if isinstance(started, BuyerFailure):
            hear(started)
            return None
        return started

    async def send(self, request: BuyerRequest, *, deadline: float) -> Outcome:
        """Send once; `deadline` is on the loop's clock. Raises nothing but CancelledError, which ends the call."""
        if request.oauth2 is not None:
            return await self._send_with_token(request, request.oauth2, deadline)
        call: asyncio.Future[Outcome] = self._loop.create_future()
        hear = partial(_settle, call)
        started = await self._start(request, hear, deadline)
        if isinstance(started, BuyerFailure):
            return started
        try:
            return await call
        except asyncio.CancelledError:
            started.abandon(hear)
            raise

    async def _start(self, request: BuyerRequest, hear: Hear, deadline: float) -> Connection | BuyerFailure:
        """Wait for a connection, then send; a failure says that nothing was sent, and `hear` is not told."""
        try:
            head, message, pool = self._prepare(request)
        except ValueError as error:
            return not_sent(FailureKind.REFUSED_REQUEST, str(error))
        loop = self._loop
        now = loop.time()
        connection = pool.take_idle(now)
        if connection is None:
            taken = await self._take(pool, request.endpoint, deadline)
            if isinstance(taken, BuyerFailure):
                return taken
            connection, now = taken, loop.time()
        if now >= deadline:
            pool.give_back(connection)
            return not_sent(FailureKind.TIMEOUT, "the deadline passed before anything was sent")
        connection.start(message, hear, deadline, head.is_head, head.is_last)
        failpoints.reach("request_sent")
        return connection

    def _prepare(self, request: BuyerRequest) -> tuple[Head, bytes, Pool]:
        """The request as bytes, and where connections for it are; raises ValueError for one that may not be sent."""
        endpoint = request.endpoint
        head = request.head or self._head(request)
        message = head.write(request.query, request.body)
        return head, message, self._pools.get(endpoint.origin) or self._open_pool(endpoint)

    async def _send_with_token(self, request: BuyerRequest, oauth2: OAuth2Client, deadline: float) -> Outcome:
        """A token that the buyer does not take is not used again; the request is never repeated with another."""
        header = await self._tokens.header(oauth2, deadline)
        if isinstance(header, BuyerFailure):
            return header
        answer = await self.send(
            replace(request, headers=(*request.headers, header), oauth2=None, head=None), deadline=deadline
        )
        if isinstance(answer, BuyerAnswer) and answer.status == UNAUTHORIZED:
            self._tokens.forget(oauth2, header)
        return answer

    async def _post(
        self, endpoint: Endpoint, headers: tuple[tuple[str, str], ...], body: bytes, deadline: float
    ) -> Outcome:
        request = BuyerRequest(endpoint=endpoint, method="POST", headers=headers, body=body)
        return await self.send(request, deadline=deadline)

    async def aclose(self) -> None:
        """Close all connections; calls under way end as failures, later ones are refused."""
        self._is_closed = True
        await self._tokens.aclose()
        connections = [connection for pool in self._pools.values() for connection in pool.connections]
        for pool in self._pools.values():
            pool.close()
        self._resolvers.shutdown(wait=False)
        for connection in connections:
            await connection.lost

    def _head(self, request: BuyerRequest) -> Head:
        """Heads are built once for a while. Raises ValueError as check_headers does."""
        endpoint = request.endpoint
        key = (endpoint.origin, endpoint.target, request.method, request.headers)
        head = self._heads.get(key)
        if head is None:
            head = Head.build(endpoint, request.method, request.headers)
            if len(self._heads) >= MAX_HEADS_KEPT:
                self._heads.clear()
            self._heads[key] = head
        return head

    def _open_pool(self, endpoint: Endpoint) -> Pool:
        pool = self._pools[endpoint.origin] = Pool(self._limits, endpoint.connection_limit)
        return pool

    # ------------------------------------------------------------------------------- opening connections

    async def _take(self, pool: Pool, endpoint: Endpoint, deadline: float) -> Connection | BuyerFailure:
        """A connection that is free, becomes free or can be opened before the deadline."""
        connection = await pool.take(deadline)
        if connection is not None:
            return connection
        opened: Connection | BuyerFailure | None = None
        try:
            opened = await self._open(endpoint, deadline)
        finally:
            if isinstance(opened, Connection):
                pool.add(opened)
            else:
                pool.free_place()
        if isinstance(opened, Connection) and opened.is_closed:
            return not_sent(FailureKind.RESET, "the connection ended before anything was sent")
        return opened

    async def _open(self, endpoint: Endpoint, deadline: float) -> Connection | BuyerFailure:
        if self._is_closed:
            return not_sent(FailureKind.CLIENT_CLOSED, CLOSED)
        loop = self._loop
        opened = await self._establish(endpoint, min(deadline, loop.time() + self._limits.connect_timeout_s))
        if isinstance(opened, BuyerFailure) and loop.time() >= deadline - CLOCK_TICK_S:
            return not_sent(FailureKind.TIMEOUT, f"the deadline passed before a connection: {opened.detail}")
        return opened

    async def _establish(self, endpoint: Endpoint, until: float) -> Connection | BuyerFailure:
        addresses = await self._find(endpoint, until)
        if isinstance(addresses, BuyerFailure):
            return addresses
        sock = await self._reach(endpoint, addresses, until)
        if isinstance(sock, BuyerFailure):
            return sock
        return await self._wrap(endpoint, sock, until)

    async def _find(self, endpoint: Endpoint, until: float) -> list[str] | BuyerFailure:
        """The numeric addresses that may be connected to; resolved and checked anew for every connection."""
        try:
            async with asyncio.timeout_at(until):
                found = await self._addresses(endpoint.host)
        except TimeoutError:
            return not_sent(FailureKind.DNS, "the name was not resolved in time")
        except (OSError, UnicodeError):
            return not_sent(FailureKind.DNS, "the name cannot be resolved")
        refusals = {address: self._address_rule.refuse(address) for address in found}
        allowed = [address for address, refusal in refusals.items() if refusal is None]
        if refusals and not allowed:
            return not_sent(FailureKind.REFUSED_ADDRESS, next(filter(None, refusals.values())))
        return allowed[:MAX_ADDRESSES_TRIED] or not_sent(FailureKind.DNS, "the name has no address")

    async def _addresses(self, host: str) -> Sequence[str]:
        if _is_numeric(host):
            return [host]
        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = self._loop.run_in_executor(self._resolvers, self._resolve, host)
            self._lookups[host] = lookup
            lookup.add_done_callback(partial(self._looked_up, host))
        return await asyncio.shield(lookup)  # a thread cannot be stopped: calls share its answer and leave it alone

    def _looked_up(self, host: str, lookup: asyncio.Future[Sequence[str]]) -> None:
        del self._lookups[host]
        if not lookup.cancelled():
            lookup.exception()  # seen, even if every call that waited for it has given up

    async def _reach(self, endpoint: Endpoint, addresses: list[str], until: float) -> socket.socket | BuyerFailure:
        """Connect to the first address that lets us; each gets an equal share of what time is left."""
        loop = self._loop
        reached: socket.socket | BuyerFailure = not_sent(FailureKind.CONNECT, "no address")
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            now = loop.time()
            reached = await _connect(address, endpoint.port, now + (until - now) / left)
            if isinstance(reached, socket.socket):
                break
        return reached

    async def _wrap(self, endpoint: Endpoint, sock: socket.socket, until: float) -> Connection | BuyerFailure:
        """Give the connected socket to the loop, through TLS when the endpoint is https."""
        loop = self._loop
        is_tls = endpoint.scheme == "https"
        connection = Connection(AnswerReader(self._limits, self._known_heads), loop)
        try:
            async with asyncio.timeout_at(until):
                await loop.create_connection(
                    lambda: connection,
                    sock=sock,
                    ssl=self._tls_context(endpoint) if is_tls else None,
                    server_hostname=endpoint.host if is_tls else None,
                )
        except TimeoutError:
            return not_sent(FailureKind.TLS, "the TLS handshake was not finished in time")
        except (OSError, ValueError) as error:
            return not_sent(FailureKind.TLS if is_tls else FailureKind.CONNECT, _name(error))
        return connection

    def _tls_context(self, endpoint: Endpoint) -> ssl.SSLContext:
        if endpoint.tls is None and self._default_tls is not None:
            return self._default_tls
        return tls_context(endpoint.tls)


async def _connect(address: str, port: int, until: float) -> socket.socket | BuyerFailure:
    sock = None
    try:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        sock.setblocking(False)
        async with asyncio.timeout_at(until):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
        connected, sock = sock, None
        return connected
    except TimeoutError:
        return not_sent(FailureKind.CONNECT, f"no connection to {address} in time")
    except OSError as error:
        return not_sent(FailureKind.CONNECT, f"no connection to {address}: {_name(error)}")
    finally:
        if sock is not None:
            sock.close()


def _resolve(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _settle(call: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not call.done():  # else its caller has gone in this very turn
        call.set_result(outcome)


def _is_numeric(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _name(error: Exception) -> str:
    """What went wrong, in words that no buyer chose."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return error.reason or "TLS failed"
    number = error.errno if isinstance(error, OSError) else None
    return errno.errorcode.get(number or 0, type(error).__name__)
