"""Server: the composition root. Opens store, buyer client and catalog, serves gRPC and REST in one event loop.

Everything is closed in reverse: calls in flight finish first, then deliveries under way, then the store.
"""

import asyncio
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.app import create_app
from gateway.server import HttpServer, address_of, open_socket
from leadexchange.v1 import lead_exchange_pb2 as pb
from leadexchange.v1 import lead_exchange_pb2_grpc as pb_grpc
from lexchange.background import Background
from lexchange.blocks import BlockRule
from lexchange.buyers.addresses import AddressRule
from lexchange.buyers.client import BuyerClient
from lexchange.buyers.http_answer import ClientLimits
from lexchange.cap_leases import leasing_caps
from lexchange.catalog import Catalog
from lexchange.clock import SystemClock
from lexchange.config import Limits, Settings
from lexchange.configuration import Configuration, load
from lexchange.engines import ENGINES, Engine
from lexchange.errors import ConfigError
from lexchange.exchange import Exchange, Identity
from lexchange.garbage import Apart, collect_seldom
from lexchange.health import Health
from lexchange.in_process import InProcessStub
from lexchange.leases import leased
from lexchange.purge import purging
from lexchange.reflection import add_reflection
from lexchange.resends import resending
from lexchange.servicer import LeadExchangeServicer
from lexchange.storage import Store
from lexchange.upkeep import kept_up
from lexchange.watches import Watches

OPEN_FILES = 65_536  # connections are files
SERVICE = pb.DESCRIPTOR.services_by_name["LeadExchange"].full_name


class Server:
    """A running exchange and what it is made of. `grpc` and `http` are the addresses that answer."""

    def __init__(self, exchange: Exchange, store: Store, configuration: Configuration, listeners: "Listeners") -> None:
        self.exchange = exchange
        self.store = store
        self._configuration = configuration
        self.grpc = listeners.grpc_address
        self.http = listeners.http_address

    async def reload(self) -> bool:
        """Read the campaign files again, for all processes of the store; an invalid set changes nothing."""
        return await self._configuration.reload()


def _take(exchange: Exchange, apart: Apart, catalog: Catalog) -> None:
    """Serve another catalog from the next call on; calls under way keep theirs."""
    exchange.catalog = catalog
    apart.add()


def _allow_files() -> None:
    """As many connections as the system lets us have: what a shell or a service begins with is mostly 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def serve(settings: Settings, limits: Limits, on_ready: Callable[[Server], None]) -> int:
    """Serve until SIGTERM or SIGINT; calls in flight finish first. SIGHUP reads the campaign files again."""
    _allow_files()
    stop, hangup = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    async with serving(settings, limits) as server, asyncio.TaskGroup() as group:
        on_ready(server)
        reloads = group.create_task(_reload_on(hangup, server))
        await stop.wait()
        reloads.cancel()
    return 0


async def _reload_on(hangup: asyncio.Event, server: Server) -> None:
    while True:
        await hangup.wait()
        hangup.clear()
        await server.reload()


@asynccontextmanager
async def serving(settings: Settings, limits: Limits) -> AsyncIterator[Server]:
    """Serve until the block ends; both listeners answer when it begins."""
    own = None if settings.follows_store else load(settings, limits)  # before anything is opened
    collect_seldom()
    apart = Apart()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(_open_store(settings, limits))
        clock = SystemClock()
        await stack.enter_async_context(kept_up(store, clock))
        worker = await stack.enter_async_context(leased(store, clock, limits.lease_s))
        if not settings.store.startswith("sqlite:"):  # there one writer at a time is the engine's own way
            rule = BlockRule(hot_per_s=limits.hot_cap_per_s)
            await stack.enter_async_context(leasing_caps(store, worker, rule))
        client = BuyerClient(
            limits=ClientLimits(
                max_answer_bytes=limits.buyer_answer_bytes,
                max_connections_per_endpoint=limits.connections_per_buyer,
            ),
            address_rule=AddressRule(allow_loopback_and_private=settings.is_dev),
        )
        stack.push_async_callback(client.aclose)
        background = Background()
        stack.push_async_callback(background.drain, limits.drain_s)
        configuration = Configuration(settings, limits, store, clock)
        exchange = Exchange(
            catalog=await (configuration.begin(own) if own else configuration.begin_as_fellows()),
            store=store,
            client=client,
            background=background,
            clock=clock,
            limits=limits,
            identity=Identity(worker=worker, pepper=settings.pepper),
        )
        await stack.enter_async_context(resending(store, exchange, clock))
        await stack.enter_async_context(configuration.followed(partial(_take, exchange, apart)))
        await stack.enter_async_context(
            purging(store, clock, limits, worker=worker, retentions=lambda: exchange.catalog.retentions)
        )
        listeners = Listeners(settings, exchange, limits)
        stack.push_async_callback(listeners.stop)
        await listeners.start()
        apart.add()
        yield Server(exchange, store, configuration, listeners)


def _open_store(settings: Settings, limits: Limits) -> AbstractAsyncContextManager[Store]:
    return Store.open(settings.store, busy_timeout_ms=limits.store_busy_ms, writers=limits.store_writer_count)


class Listeners:
    """gRPC and REST in front of one exchange. Both are bound before either answers, and they stop together."""

    def __init__(self, settings: Settings, exchange: Exchange, limits: Limits) -> None:
        self._exchange = exchange
        self._limits = limits
        self._app = create_app(InProcessStub(exchange))
        self._http = HttpServer()
        self._watches = Watches()
        self._health = Health(self._watches)
        self._grpc = _grpc_engine(settings, limits)
        self._serve_on(self._grpc.adds, is_dev=settings.is_dev)
        self.grpc_address = self._grpc.address
        self._socket = _http_socket(settings)
        self.http_address = address_of(self._socket)

    async def start(self) -> None:
        """Answer on both."""
        await self._grpc.start()
        places = self._exchange.places
        await self._http.start(self._app, self._socket, lambda: places.is_full)
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """Say so to whoever asks for our health, and when they have heard, let the calls in flight end."""
        self._app.is_draining = True
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(self._limits.drain_notice_ms / 1000)
        self._watches.let_go()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._grpc.stop(self._limits.drain_s))
            group.create_task(self._http.stop(self._limits.drain_s))

    def _serve_on(self, adds: Any, *, is_dev: bool) -> None:
        """Add what speaks gRPC to an engine."""
        pb_grpc.add_LeadExchangeServicer_to_server(LeadExchangeServicer(self._exchange), adds)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, adds)
        if is_dev:
            services = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
            add_reflection(services, self._watches, adds)


def _grpc_engine(settings: Settings, limits: Limits) -> Engine:
    if settings.grpc_engine not in ENGINES:
        raise ConfigError(f"--grpc-engine {settings.grpc_engine}: expected one of {', '.join(ENGINES)}")
    return ENGINES[settings.grpc_engine](settings, limits)


def _http_socket(settings: Settings) -> socket.socket:
    try:
        return open_socket(settings.http, is_shared=settings.shares_ports)
    except OSError as error:
        raise ConfigError(f"--http {settings.http}: cannot listen there: {error.strerror}") from error
