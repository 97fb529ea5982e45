"""The checker of the crash and failover suites, shown what it has to find."""

import copy
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.commands.invariants import History, a_call, check, world
from tests.exchange.running import exchange_for
from tests.exchange.scripted_buyers import ScriptedBuyers
from tests.exchange.transports import transport

LEADS = 4
Deed = Callable[[History, ScriptedBuyers], None]


async def sold(folder: Path) -> tuple[History, ScriptedBuyers]:
    """Two leads that acme took, and two that he left to bright."""
    history = History()
    async with exchange_for(world(LEADS), folder) as (server, buyers), transport("grpc", server) as source:
        for number in range(LEADS):
            history.pings[number] = (await source.send(a_call("ping", number)))[1]
            post = a_call("post", number, ping_id=history.pings[number]["ping_id"])
            history.posts[number] = (await source.send(post))[1]
    return history, buyers


def sent_twice(_: History, buyers: ScriptedBuyers) -> None:
    buyers.received["bright.post"].append(copy.deepcopy(buyers.received["bright.post"][0]))


def sold_twice(_: History, buyers: ScriptedBuyers) -> None:
    buyers.received["bright.post"].append(buyers.received["acme.post"][1])


def not_sent(_: History, buyers: ScriptedBuyers) -> None:
    del buyers.received["bright.post"][0]


def ping_lost(history: History, _: ScriptedBuyers) -> None:
    history.pings[0] = {"ping_id": "PING-0"}


def post_lost(history: History, _: ScriptedBuyers) -> None:
    history.posts[0] = {"status": "delivered", "lead_id": "L-0"}


SQL = {
    "nobody's lead": "DELETE FROM leads WHERE buyer = 'acme'",
    "in flight": "UPDATE leads SET state = 'sending' WHERE buyer = 'acme'",
    "not delivered": "UPDATE leads SET state = 'rejected' WHERE buyer = 'acme'",
    "a slot too many": "UPDATE cap_counters SET used = used + 1",
    "a lease that is not counted": "INSERT INTO cap_leases SELECT campaign, counter, 'w', 1, 0 FROM cap_counters",
}


async def test_a_clean_record_passes(tmp_path: Path) -> None:
    """Where nothing went wrong nothing is found, and the states are counted."""
    history, buyers = await sold(tmp_path)
    assert await check(f"sqlite:///{tmp_path}/store.db", history, buyers) == {"delivered": LEADS}


@pytest.mark.parametrize("deed", [sent_twice, sold_twice, not_sent, ping_lost, post_lost])
async def test_a_broken_promise_is_found(deed: Deed, tmp_path: Path) -> None:
    """What a source was told or a buyer has, and is not stored so, fails the check."""
    history, buyers = await sold(tmp_path)
    deed(history, buyers)
    with pytest.raises(AssertionError):
        await check(f"sqlite:///{tmp_path}/store.db", history, buyers)


@pytest.mark.parametrize("name", SQL)
async def test_a_wrong_store_is_found(name: str, tmp_path: Path) -> None:
    """What is stored, and is not so, fails the check."""
    history, buyers = await sold(tmp_path)
    with closing(sqlite3.connect(tmp_path / "store.db")) as database, database:
        database.execute(SQL[name])
    with pytest.raises(AssertionError):
        await check(f"sqlite:///{tmp_path}/store.db", history, buyers)
