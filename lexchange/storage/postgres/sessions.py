"""Connections to one database: a few of one kind, opened when they are needed and anew when they have broken.

Every wait is bounded. The bound cuts the connection and sends no cancel request: one that meets a COMMIT would have the
server answer before its standby has the commit.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import parse_qs

import asyncpg

from lexchange.errors import ConfigError, StorageError
from lexchange.storage.connector import LateGuard
from lexchange.storage.postgres.faults import Fault, failure, state_of

HOST_S = 2.0  # for one host of several to answer
GOODBYE_S = 1.0
RETRY_S = 0.1  # between two tries to connect
STATEMENTS = 256  # kept prepared: more than there are
DURABLE = ("on", "remote_apply")
EXPECTED = "expected postgresql://user:password@host:port/database"

Connection: TypeAlias = asyncpg.Connection

# Weaker ones acknowledge what a crash may lose; a stronger one stays.
SET_UP = """
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')
UNION ALL SELECT set_config(name, value, false) FROM UNNEST($1::text[], $2::text[]) AS settings (name, value)"""

# The user, the database or the way in are wrong: 28 authorization, 3D no such database.
REFUSED = ("28", "3D")


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Where a database is. Its `url` holds a password: only `place` is for people."""

    url: str
    place: str

    @classmethod
    def at(cls, url: str) -> "Database":
        """Check an URL; ConfigError says what was expected."""
        place = redacted(url)
        rest, _, query = url.partition("://")[2].partition("?")
        if not rest.rpartition("@")[2].partition("/")[2]:
            raise ConfigError(f"store URL: {EXPECTED}, got {place}")
        wanted = {name: values[-1] for name, values in parse_qs(query).items()}
        if wanted.get("target_session_attrs", "read-write") not in ("read-write", "primary", "any"):
            raise ConfigError(f"store URL: target_session_attrs: expected read-write, got {place}")
        if wanted.get("synchronous_commit", "on") not in DURABLE:
            raise ConfigError(f"store URL: synchronous_commit: expected one of {', '.join(DURABLE)}, got {place}")
        return cls(url=url, place=place)

    async def connect(self, settings: Mapping[str, str]) -> Connection:
        """A connection to the host that takes writes, which every read has to see."""
        connection: Connection = await asyncpg.connect(
            self.url,
            timeout=HOST_S,
            target_session_attrs="read-write",
            statement_cache_size=STATEMENTS,
            max_cached_statement_lifetime=0,
            server_settings={"application_name": "lexchange"},
        )
        try:
            await connection.fetch(SET_UP, list(settings), list(settings.values()))
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def connect_first(self, until: float) -> Connection:
        """As `connect`, with patience; ConfigError for a URL that no patience helps."""
        while True:
            try:
                async with asyncio.timeout_at(until):
                    return await self.connect({})
            except (asyncpg.ClientConfigurationError, ValueError) as error:
                raise ConfigError(f"store URL: {EXPECTED}, got {self.place}") from error
            except Fault as error:
                if state_of(error).startswith(REFUSED):
                    raise ConfigError(f"{self.place}: {failure(error)}; {EXPECTED} that exists") from None
                if asyncio.get_running_loop().time() + RETRY_S >= until:
                    raise _unreachable(self, error) from None
            await asyncio.sleep(RETRY_S)


class Sessions:
    """At most `limit` connections with these settings; `one` lends them."""

    def __init__(self, database: Database, limit: int, settings: Mapping[str, str]) -> None:
        self._database = database
        self._settings = settings
        self._turns = asyncio.Semaphore(limit)
        self._idle: list[Connection] = []

    @asynccontextmanager
    async def one(self, until: float) -> AsyncIterator[Connection]:
        """A connection until the block or the time ends, whichever is first; StorageError when there is none.

        What the block leaves in a transaction, or does not end, is cut.
        """
        try:
            async with asyncio.timeout_at(until):
                await self._turns.acquire()
        except TimeoutError:
            raise StorageError("the database is slow: all connections are taken") from None
        try:
            connection = self._an_idle_one() or await self._connect(until)
            fuse = asyncio.get_running_loop().call_at(until, connection.terminate)
            try:
                yield connection
            except (asyncpg.PostgresError, LateGuard):  # no fault of the connection
                self._take_back(connection)
                raise
            except (*Fault, StorageError):
                connection.terminate()
                raise
            except BaseException as error:
                is_cut = connection.is_closed()
                connection.terminate()
                if is_cut and isinstance(error, AttributeError):  # cut between two steps of the driver's own
                    raise StorageError("the database is slow: the connection was cut") from error
                raise
            else:
                self._take_back(connection)
            finally:
                fuse.cancel()
        finally:
            self._turns.release()

    async def aclose(self) -> None:
        """Close what is idle; whoever holds a connection has been waited for."""
        while self._idle:
            await close(self._idle.pop())

    def _an_idle_one(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _take_back(self, connection: Connection) -> None:
        if connection.is_closed() or connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append(connection)

    async def _connect(self, until: float) -> Connection:
        while True:
            try:
                async with asyncio.timeout_at(until):
                    return await self._database.connect(self._settings)
            except Fault as error:
                if asyncio.get_running_loop().time() + RETRY_S >= until:
                    raise _unreachable(self._database, error) from None
            await asyncio.sleep(RETRY_S)


async def close(connection: Connection) -> None:
    """Take leave of the server; of one that does not answer, without its word."""
    with suppress(*Fault):
        await connection.close(timeout=GOODBYE_S)


def _unreachable(database: Database, error: BaseException) -> StorageError:
    return StorageError(f"cannot connect to {database.place}: {failure(error)}")


def redacted(url: str) -> str:
    """The URL without its password and its options."""
    scheme, mark, rest = url.partition("?")[0].partition("://")
    login, at, place = rest.rpartition("@")
    return f"{scheme}{mark}{login.partition(':')[0]}{at}{place}"
