"""Power loss and rot of the write-ahead log: what was acknowledged by then comes back, and nothing half of it.

A disk that loses power keeps a prefix of what was appended, and perhaps rubbish behind it. What was synced is never
lost; that every commit is, `test_sqlite.py` shows.
"""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from lexchange.lead import LeadState
from lexchange.storage import Store
from lexchange.storage.connector import Statement
from lexchange.storage.sqlite import SqliteConnector
from tests.storage.examples import NOW_MS, a_lead, a_ping, ended, slot

STEPS = 40
CUTS = 200
FLIPS = 20
SECTOR_BYTES = 512
PAGE_BYTES = 8_192
NEW_PING = a_ping(999_999)

Fact = tuple[str, str]  # an id, and a state that it has had


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A fact, and the length of the log at which it is there for certain, and up to which it cannot be."""

    fact: Fact
    is_there_at: int
    is_absent_until: int


@dataclass(frozen=True, kw_only=True)
class History:
    """What was acknowledged, and the files in which it lies."""

    entries: list[Entry]
    file: Path

    @property
    def log(self) -> bytes:
        """The write-ahead log, whole."""
        return Path(f"{self.file}-wal").read_bytes()

    def required(self, length: int) -> set[Fact]:
        """What so much of the log holds at least."""
        return {entry.fact for entry in self.entries if entry.is_there_at <= length}

    def possible(self, length: int) -> set[Fact]:
        """What it may hold."""
        return {entry.fact for entry in self.entries if entry.is_absent_until < length}


class Recorder:
    """Changes the store and notes how long the log is when that is acknowledged."""

    def __init__(self, store: Store, log: Path) -> None:
        self._store = store
        self._log = log
        self._pings = 0
        self._leads = 0
        self.entries: list[Entry] = []

    async def pings(self, count: int) -> None:
        """Record pings at once; several share a commit or two."""
        before = self._length()
        numbers = range(self._pings + 1, self._pings + 1 + count)
        self._pings += count
        async with asyncio.TaskGroup() as group:
            for number in numbers:
                group.create_task(self._store.record_ping(a_ping(number)))
        after = self._length()
        for number in numbers:
            fact = (a_ping(number).ping_id, "offered")
            until = after - 1 if count == 1 else before
            self.entries.append(Entry(fact=fact, is_there_at=after, is_absent_until=until))

    async def sale(self) -> None:
        """Claim the next ping and deliver its lead: two acknowledgements."""
        self._leads += 1
        number = self._leads
        lead = a_lead(number, a_ping(number).ping_id, takes=[slot("c", 1_000)])
        await self._store.claim_lead(lead, takes=lead.takes, now_ms=NOW_MS)
        self._note((a_ping(number).ping_id, "claimed"), (lead.lead_id, "sending"))
        assert await self._store.finish_lead(ended(lead, LeadState.DELIVERED))
        self._note((lead.lead_id, "delivered"))

    def _note(self, *facts: Fact) -> None:
        length = self._length()
        self.entries += [Entry(fact=fact, is_there_at=length, is_absent_until=length - 1) for fact in facts]

    def _length(self) -> int:
        return self._log.stat().st_size


@asynccontextmanager
async def recorded(folder: Path) -> AsyncIterator[History]:
    """A store whose whole story lies in its log, which nobody has folded in yet."""
    file = folder / "store.db"
    connector = await SqliteConnector.open(str(file), busy_timeout_ms=1_000, waiting_units=1_000)
    try:
        await connector.write((Statement(sql="PRAGMA wal_autocheckpoint = 0"),))
        recorder = Recorder(Store(connector), Path(f"{file}-wal"))
        dice = random.Random(7)
        for step in range(STEPS):
            await (recorder.sale() if step % 3 == 2 else recorder.pings(dice.choice((1, 1, 1, 2, 5))))
        yield History(entries=recorder.entries, file=file)
    finally:
        await connector.aclose()


class Copy:
    """The files as a dead process leaves them, its shared index among them, with another log."""

    def __init__(self, file: Path, history: History) -> None:
        self.file = file
        self._history = history

    def lay_out(self, log: bytes) -> None:
        """Begin anew."""
        for suffix in ("", "-shm"):
            shutil.copyfile(f"{self._history.file}{suffix}", f"{self.file}{suffix}")
        Path(f"{self.file}-wal").write_bytes(log)


async def found_in(file: Path) -> set[Fact]:
    """What a restart finds, its parts in agreement with each other; the file must be whole then."""
    async with Store.open(f"sqlite:///{file}") as store:
        pings, leads = await store.audit.recent_pings(10_000), await store.audit.recent_leads(10_000)
        assert (await store.read_counters(["c"]))["c"] == len(leads)
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    claimed = {ping.ping_id for ping in pings if ping.state == "claimed"}
    assert claimed == {lead.ping_id for lead in leads}
    states: set[Fact] = {(ping.ping_id, "offered") for ping in pings} | {(ping_id, "claimed") for ping_id in claimed}
    states |= {(lead.lead_id, "sending") for lead in leads}
    return states | {(lead.lead_id, "delivered") for lead in leads if lead.state is LeadState.DELIVERED}


def rubbish(dice: random.Random, rest: bytes) -> bytes:
    """What lies behind the part that came to the disk: anything, or the rest but for its first sector."""
    if dice.random() < 0.5:
        return dice.randbytes(dice.randint(1, 3 * PAGE_BYTES))
    return bytes(byte ^ 0xFF for byte in rest[:SECTOR_BYTES]) + rest[SECTOR_BYTES:]


def cut(dice: random.Random, history: History, length: int) -> int:
    """Anywhere, or within a byte of an acknowledgement, where it matters most."""
    near = dice.choice(history.entries).is_there_at + dice.choice((-1, 0, 1))
    return dice.choice((dice.randint(0, length), min(near, length)))


async def test_acknowledged_comes_back_when_the_power_fails(tmp_path: Path, memory: Path) -> None:
    """Of 200 cuts of the log, half with rubbish behind: exactly what was acknowledged by then, and a whole file."""
    dice = random.Random(11)
    async with recorded(tmp_path) as history:
        log, copy = history.log, Copy(memory / "copy.db", history)
        for number in range(CUTS):
            length = cut(dice, history, len(log))
            torn = rubbish(dice, log[length:]) if number % 2 else b""
            copy.lay_out(log[:length] + torn)
            found = await found_in(copy.file)
            assert history.required(length) <= found <= history.possible(length), f"cut {number} at {length}"
        assert history.required(len(log)) == {entry.fact for entry in history.entries}


@pytest.mark.parametrize("part", ["anywhere", "tail"])
async def test_store_opens_when_its_log_is_corrupt(part: str, tmp_path: Path, memory: Path) -> None:
    """Everything before the damage is there, nothing after it, and what is stored from then on is there to stay."""
    dice = random.Random(13)
    async with recorded(tmp_path) as history:
        log, copy = history.log, Copy(memory / "copy.db", history)
        ends = sorted({entry.is_there_at for entry in history.entries})
        first, last = (0, len(log) - 1) if part == "anywhere" else (ends[-2], ends[-1] - 1)
        for number in range(FLIPS):
            place = dice.randint(first, last)
            copy.lay_out(log[:place] + bytes([log[place] ^ (1 << dice.randrange(8))]) + log[place + 1 :])
            found = await found_in(copy.file)
            assert history.required(place) <= found <= history.possible(place + 1), f"flip {number} at {place}"
            async with Store.open(f"sqlite:///{copy.file}") as store:
                await store.record_ping(NEW_PING)
            assert await found_in(copy.file) == found | {(NEW_PING.ping_id, "offered")}
