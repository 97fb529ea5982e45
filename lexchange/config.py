"""What the exchange was started with, and its limits, named with their units and read from `LEXCHANGE_<NAME>`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from lexchange.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """A certificate with its chain, and its key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `lexchange serve` was started with. Addresses are HOST:PORT; port 0 picks a free one."""

    config: Path
    store: str
    grpc: str
    http: str
    pepper: bytes
    is_dev: bool
    shares_ports: bool = False  # with other processes that serve the same
    grpc_engine: str = "turbo"  # a name of engines.ENGINES
    tls: TlsFiles | None = None  # of gRPC
    follows_store: bool = False  # from the start, whatever the campaign files say


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes, counts and times. The environment variable of `body_bytes` is LEXCHANGE_BODY_BYTES, and so on."""

    body_bytes: int = 65_536  # a request, REST or gRPC
    field_count: int = 200  # fields in `data`
    value_bytes: int = 4_096  # one value, as UTF-8
    buyer_answer_bytes: int = 262_144  # read from a buyer at most
    stored_answer_bytes: int = 4_096  # kept of an answer that is not a bid
    connections_per_buyer: int = 64
    in_flight: int = 512  # pings and direct posts at once in a process, those in line too; and so many posts
    queue_ms: int = 100  # a ping or direct post is refused when the first in line has waited so long
    ping_timeout_floor_ms: int = 50  # a buyer with less time left is not asked
    answer_reserve_ms: int = 30  # kept back from the caller's deadline for our own work
    store_busy_ms: int = 5_000  # a write waits so long for other processes, or for a server that is away
    store_writer_count: int = 4  # connections of a process that commit, where the store has several
    lease_s: int = 10  # a process that has not been heard of for so long is gone; its leads in flight are swept
    hot_cap_per_s: int = 50  # a cap that a process takes from so often is leased in blocks, where the store is shared
    late_grace_ms: int = 1_000  # a buyer's answer is still recorded, as late, so long after his time-out
    drain_notice_ms: int = 1_000  # on SIGTERM health says NOT_SERVING so long before calls are taken no more
    drain_s: int = 30  # in-flight calls get this long on SIGTERM
    purge_pause_s: int = 600  # between two runs of the purge
    idempotency_h: int = 24  # how long an idempotency key is remembered

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Limits":
        """Read overrides; raises ConfigError naming the variable and what was expected."""
        found: dict[str, int] = {}
        for limit in fields(cls):
            name = f"LEXCHANGE_{limit.name.upper()}"
            text = environment.get(name)
            if text is None:
                continue
            if not text.isdecimal() or int(text) < 1:
                raise ConfigError(f"{name}: expected a whole number of at least 1, got {text!r}")
            found[limit.name] = int(text)
        return cls(**found)
