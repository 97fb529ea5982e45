"""The tables of a store as a copy sees them: columns, keys, and a sum that says whether two hold the same rows.

Pure, and of no engine. A test compares the columns with those of both engines, so that no table is forgotten. Of what
is stored two tables are not part of a store's contents: `workers` says who serves it now, `migrations` how it is made.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

from lexchange.storage.connector import Row
from lexchange.storage.rows import LEAD_COLUMNS, PING_COLUMNS

NOT_COPIED = frozenset({"workers", "migrations"})
SUM_BITS = 128
DAY_MS = 86_400_000
TIME_DIGITS = 12  # of an id, after its prefix; see ids.py
LAST_MS = 1 << 47  # in the year 6429; what claims to be later is no time


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table. The first `key_length` columns are its primary key, all of them texts."""

    name: str
    columns: tuple[str, ...]
    key_length: int = 1
    batch_rows: int = 1_000  # that memory can hold
    id_prefix: str = ""  # where the key is an id, whose time says in which month the row lies

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key."""
        return self.columns[: self.key_length]

    def key_of(self, row: Row) -> tuple[str, ...]:
        """The primary key of a row."""
        return row[: self.key_length]


TABLES = (
    Table(name="config_versions", columns=("version", "loaded_ms", "summary", "documents"), batch_rows=10),
    Table(name="current_configuration", columns=("name", "generation", "version", "published_ms", "node")),
    Table(name="pings", columns=(*PING_COLUMNS, "record"), id_prefix="PING-"),
    Table(name="leads", columns=(*LEAD_COLUMNS, "record"), id_prefix="L-"),
    Table(name="past_deliveries", columns=("delivery_id", "lead_id", "campaign")),
    Table(name="late_answers", columns=("campaign", "owner_id", "buyer", "answer"), key_length=3),
    Table(name="cap_counters", columns=("campaign", "counter", "used"), key_length=2),
    Table(name="cap_leases", columns=("campaign", "counter", "worker", "amount_left", "amount_back"), key_length=3),
    Table(name="cap_holds", columns=("campaign", "ping_id", "counter", "amount", "expires_ms"), key_length=3),
    Table(name="fingerprints", columns=("campaign", "digest", "scope_key", "lead_id", "created_ms"), key_length=4),
    Table(name="turns", columns=("campaign", "buyer", "last_sale_ms"), key_length=2),
    Table(
        name="remembered_calls",
        columns=("src", "idempotency_key", "body_hash", "state", "answer", "lead_id", "created_ms", "worker"),
        key_length=2,
    ),
    Table(
        name="breakers",
        columns=(*("campaign", "buyer", "stage", "state", "is_enforced", "why", "changed_ms", "retry_ms", "reset_ms"),),
        key_length=3,
    ),
)


class Checksum:
    """How many rows, and the sum of their digests: the same for the same rows in any order, from any engine."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Count these in."""
        for row in rows:
            self.rows += 1
            self._sum += int.from_bytes(_digest(row))

    @property
    def digits(self) -> str:
        """The sum, as people compare it."""
        return f"{self._sum % (1 << SUM_BITS):0{SUM_BITS // 4}x}"


def _digest(row: Row) -> bytes:
    """`ascii` writes a tuple of texts, integers, bytes and None so that Python could read exactly it again."""
    return blake2b(ascii(row).encode("ascii"), digest_size=SUM_BITS // 8).digest()


def days_of(table: Table, rows: Iterable[Row]) -> Iterator[int]:
    """The days that the ids of these rows are of, in epoch ms, each once and in order; some ids are of none."""
    moments = (_moment_of(row[0], table.id_prefix) for row in rows if table.id_prefix)
    days = {moment // DAY_MS for moment in moments if moment is not None}
    return (day * DAY_MS for day in sorted(days))


def _moment_of(token: str, prefix: str) -> int | None:
    digits = token.removeprefix(prefix)[:TIME_DIGITS]
    is_ours = token.startswith(prefix) and len(digits) == TIME_DIGITS and set(digits) <= set("0123456789ABCDEF")
    moment = int(digits, 16) if is_ours else LAST_MS
    return moment if moment < LAST_MS else None
