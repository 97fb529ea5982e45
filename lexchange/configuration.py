"""Configuration: which campaigns this process serves, and how all processes of a store come to serve the same.

Campaign files are read at the start and on SIGHUP. What they say goes into the store and is in force from then on:
every process looks there twice a second, and takes a newer configuration as it would take its own files'. One that it
cannot take is told in the log, once, and the process stays with what it has.
"""

import asyncio
import os
import platform
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from lexchange.background import beside, describe, keep_on
from lexchange.campaign_file import Documents, LoadedCampaigns, load_campaigns, load_documents
from lexchange.catalog import Catalog
from lexchange.clock import Clock
from lexchange.config import Limits, Settings
from lexchange.errors import ConfigError
from lexchange.garbage import none_collected
from lexchange.storage import ANY_GENERATION, CurrentConfig, Store
from lexchange.telemetry import log_event

LOOK_S = 0.5

Take = Callable[[Catalog], None]


class Loaded(NamedTuple):
    """A configuration, compiled, and the documents it was compiled from."""

    catalog: Catalog
    documents: Documents


def load(settings: Settings, limits: Limits) -> Loaded:
    """Read and compile the campaign files; raises ConfigError with every problem."""
    with none_collected():
        loaded = load_campaigns(settings.config, is_dev=settings.is_dev, pepper=settings.pepper, environment=os.environ)
        return Loaded(_compile(loaded, loaded.version, limits), loaded.documents)


def _compile(loaded: LoadedCampaigns, version: str, limits: Limits) -> Catalog:
    return Catalog(loaded.campaigns, version=version, limits=limits, calls=loaded.calls)


def summary_of(loaded: LoadedCampaigns | Catalog) -> str:
    """What a configuration is told apart by in a list: its campaigns."""
    return ", ".join(campaign.campaign for campaign in loaded.campaigns)


def node_name() -> str:
    """What this machine is called among those that publish: LEXCHANGE_NODE, else its host name."""
    return os.environ.get("LEXCHANGE_NODE") or platform.node()


class Configuration:
    """What one process serves. `begin` it, then keep it `followed`."""

    def __init__(self, settings: Settings, limits: Limits, store: Store, clock: Clock) -> None:
        self._settings = settings
        self._limits = limits
        self._store = store
        self._clock = clock
        self._node = node_name()
        self._seen: tuple[int, str] | None = None  # the last generation that was taken, or refused
        self._version = ""
        self._take: Take = lambda catalog: None
        self._turn = asyncio.Lock()

    async def begin(self, own: Loaded) -> Catalog:
        """What to serve first: what this machine's files say, unless another one has replaced just that.

        Files that the store does not know yet are news, and so are those of the machine that spoke last.
        """
        version = own.catalog.version
        while True:
            current = await self._store.current_config()
            is_news = current is None or current.node == self._node or await self._store.find_config(version) is None
            if current is not None and current.version == version:
                break
            if current is None or is_news:
                if await self._publish(own, over=current.generation if current else 0):
                    break
                continue  # somebody has spoken since we looked
            found = await self._find(current)
            if found is None:
                break
            log_event(
                "config_superseded",
                config_version=version,
                by=current.version,
                node=current.node,
                hint="serving what the store says; SIGHUP makes this machine's files the ones in force",
            )
            return found
        self._version = version
        return own.catalog

    async def begin_as_fellows(self) -> Catalog:
        """What to serve first in place of a process that has died: what is in force, whatever the files say by now.

        Where that cannot be served here, what the files say, if it was in force once; raises ConfigError.
        """
        current = await self._store.current_config()
        found = await self._find(current) if current is not None else None
        if found is not None:
            return found
        own = await asyncio.to_thread(load, self._settings, self._limits)
        if current is None:
            return await self.begin(own)
        if await self._store.find_config(own.catalog.version) is None:
            raise ConfigError(f"{current.version} is in force, is refused here, and the files say what never was")
        self._version = own.catalog.version
        return own.catalog

    async def reload(self) -> bool:
        """Read the campaign files again and put them in force everywhere; an invalid set changes nothing.

        Nor does one that cannot be stored now: no ping runs under a version that nobody can look up.
        """
        async with self._turn:
            try:
                own = await asyncio.to_thread(load, self._settings, self._limits)
                await self._publish(own)
                self._version = own.catalog.version
            except Exception as error:  # noqa: BLE001 - whatever a file breaks, this process stays with what it has
                log_event("reload_refused", problems=describe(error))
                return False
            self._put_in_force(own.catalog, "reloaded")
            return True

    @asynccontextmanager
    async def followed(self, take: Take) -> AsyncIterator[None]:
        """Hand over each newer catalog until the block ends."""
        self._take = take
        async with beside(keep_on(LOOK_S, self._look, "config_not_looked_up")):
            yield

    async def _look(self) -> None:
        async with self._turn:
            current = await self._store.current_config()
            if current is None or _generation(current) == self._seen:
                return
            if current.version == self._version:
                self._seen = _generation(current)
                return
            found = await self._find(current)
            if found is not None:
                self._put_in_force(found, "config_followed")

    async def _find(self, current: CurrentConfig) -> Catalog | None:
        """The catalog of the configuration in force; None, with a line in the log, where it cannot be served here."""
        packed = await self._store.find_config(current.version)
        self._seen = _generation(current)
        try:
            if packed is None:
                raise ConfigError("its documents are not in the store")
            catalog = await asyncio.to_thread(self._compile, packed, current.version)
        except Exception as error:  # noqa: BLE001 - as in `reload`
            log_event("config_refused", config_version=current.version, node=current.node, problems=describe(error))
            return None
        self._version = current.version
        return catalog

    def _compile(self, packed: bytes, version: str) -> Catalog:
        settings = self._settings
        with none_collected():
            loaded = load_documents(
                Documents.unpacked(packed),
                settings.config,
                is_dev=settings.is_dev,
                pepper=settings.pepper,
                environment=os.environ,
            )
            return _compile(loaded, version, self._limits)

    async def _publish(self, own: Loaded, *, over: int = ANY_GENERATION) -> bool:
        """Put it in force, over a generation up to this; False where it was so already, or a later one is."""
        return await self._store.publish_config(
            own.catalog.version,
            own.documents.packed(),
            summary=summary_of(own.catalog),
            node=self._node,
            now_ms=self._clock.now_ms(),
            over=over,
        )

    def _put_in_force(self, catalog: Catalog, event: str) -> None:
        self._take(catalog)
        log_event(event, config_version=catalog.version, campaigns=len(catalog.campaigns))


def _generation(current: CurrentConfig) -> tuple[int, str]:
    """Number and version: a store that has lost its latest changes gives their numbers again."""
    return current.generation, current.version
