"""The buyer client's deadlines and limits: what a call may cost in time and connections, cancelled or not."""

import asyncio
import ssl
from functools import partial
from math import inf
from typing import Any

import pytest

from lexchange.buyers.connection import ASKING_TRUSTED_S, TRUSTED_S, Connection, Pool
from lexchange.buyers.http_answer import ClientLimits
from tests.buyers.calls import (
    OK,
    OK_ANSWER,
    buyer_client,
    cancelled,
    full_backlog,
    open_files,
    result,
    send,
    until,
)
from tests.buyers.raw_buyer import Line, RawBuyer, answering, answering_always, closing_after, hang, raw_buyer

TIMEOUT = ("timeout", True)

# -------------------------------------------------------------------------------------- deadlines, cancelling


@pytest.mark.parametrize("within_s", [0.02, 0.1, 0.25])
async def test_deadline_is_kept_when_the_buyer_hangs(within_s):
    """A hanging buyer costs a call its deadline: not less, and hardly more."""
    loop = asyncio.get_running_loop()
    async with raw_buyer(answering()) as buyer, buyer_client() as client:
        started = loop.time()
        outcome = await send(client, buyer.url, within_s=within_s)
        took_s = loop.time() - started

    assert result(outcome) == TIMEOUT
    assert within_s - 0.003 <= took_s <= within_s + 0.15


async def test_deadline_is_each_calls_own_when_a_connection_is_reused():
    """Neither an earlier nor a later deadline of the call before cuts or stretches the next one."""
    loop = asyncio.get_running_loop()

    async def script(line: Line) -> None:
        await line.read()
        await line.send(OK)
        await line.read()
        await asyncio.sleep(0.15)
        await line.send(OK)
        await line.read()
        await hang()

    async with raw_buyer(script) as buyer, buyer_client() as client:
        assert await send(client, buyer.url, within_s=0.1) == OK_ANSWER
        assert await send(client, buyer.url, within_s=5) == OK_ANSWER
        started = loop.time()
        assert result(await send(client, buyer.url, within_s=0.1)) == TIMEOUT
        took_s = loop.time() - started

    assert 0.097 <= took_s <= 0.25
    assert buyer.connection_count == 1


async def test_nothing_is_sent_when_the_deadline_is_over():
    """A call that comes too late sends nothing, with and without an idle connection, and wastes none."""
    async with raw_buyer(answering_always(OK)) as buyer, buyer_client() as client:
        assert result(await send(client, buyer.url, within_s=-1)) == ("timeout", False)
        assert await send(client, buyer.url) == OK_ANSWER
        assert result(await send(client, buyer.url, within_s=-1)) == ("timeout", False)
        assert await send(client, buyer.url) == OK_ANSWER
    assert len(buyer.requests) == 2


async def test_cancelling_closes_the_connection_when_an_answer_is_awaited():
    """Nobody reads a cancelled call's answer, so its connection ends and its place is free."""
    ended = asyncio.Event()

    async def script(line: Line) -> None:
        await line.read()
        assert await line.read() == b""
        ended.set()

    async with raw_buyer(script) as buyer, buyer_client(max_connections_per_endpoint=1) as client:
        for _ in range(3):
            ended.clear()
            buyer.requests.clear()
            call = asyncio.create_task(send(client, buyer.url))
            await until(lambda: buyer.requests)
            await cancelled(call)
            await asyncio.wait_for(ended.wait(), 1)
    assert buyer.connection_count == 3


def has_connections(buyer: RawBuyer, count: int) -> bool:
    return buyer.connection_count == count


async def test_cancelling_leaks_nothing_when_a_connection_is_being_opened():
    """A call cancelled while connecting, or within the TLS handshake, leaves no socket and no place taken."""
    files = []
    tls = ssl.create_default_context()
    async with full_backlog() as port, raw_buyer(answering_always(OK)) as mute, buyer_client(tls=tls) as client:
        for count in (5, 10, 15):
            urls = [f"http://127.0.0.1:{port}/", f"https://127.0.0.1:{mute.port}/"] * 5
            calls = [asyncio.create_task(send(client, url)) for url in urls]
            await until(partial(has_connections, mute, count))
            for call in calls:
                await cancelled(call)
            async with asyncio.timeout(2):
                await asyncio.wait([task for task, _ in mute.lines])
            files.append(open_files())
        assert max(files) - min(files) < 5  # a round that leaks leaves five
        assert [pool._place_count for pool in client._pools.values()] == [0, 0]


async def test_cancelling_takes_nothing_from_who_waits_behind():
    """A cancelled call in the line is skipped, also when it was just given its connection."""
    release = asyncio.Event()

    async def script(line: Line) -> None:
        while await line.read():
            await release.wait()
            await line.send(OK)

    async with raw_buyer(script) as buyer, buyer_client(max_connections_per_endpoint=1) as client:
        first, second, third, fourth = (asyncio.create_task(send(client, buyer.url)) for _ in range(4))
        await until(lambda: len(buyer.requests) == 1)
        await cancelled(second)
        release.set()
        await first
        third.cancel()  # the line's first: it may hold the connection already
        assert await fourth == OK_ANSWER
        await asyncio.wait([third])
        assert await send(client, buyer.url) == OK_ANSWER
    assert buyer.connection_count <= 2


async def test_close_ends_everything_under_way():
    """aclose leaves no call hanging and no socket open; later calls are refused."""
    files = open_files()
    async with raw_buyer(answering()) as buyer, buyer_client(max_connections_per_endpoint=1) as client:
        asked = asyncio.create_task(send(client, buyer.url))
        await until(lambda: len(buyer.requests) == 1)
        waiting = asyncio.create_task(send(client, buyer.url))
        await asyncio.sleep(0.01)
        await client.aclose()

        assert result(await asked) == ("client_closed", True)
        assert result(await waiting) == ("client_closed", False)
        assert result(await send(client, buyer.url)) == ("client_closed", False)
    await asyncio.sleep(0)
    assert open_files() <= files + 4


class IdleConnection(Connection):
    """Stands for an open connection that carries no call."""

    def __init__(self) -> None:
        self.is_closed = False
        self.used_at = -inf
        self.questions = 0

    def is_quiet(self) -> bool:
        self.questions += 1
        return True

    def adopt(self, give_back, on_closed) -> None: ...


@pytest.mark.parametrize("given", [None, IdleConnection()], ids=["place", "connection"])
async def test_cancelled_call_passes_on_what_it_was_just_given(given):
    """What a call in the line was given in the moment it was cancelled goes to the next one."""
    pool: Any = Pool(ClientLimits(max_connections_per_endpoint=1))
    assert await pool.take(inf) is None
    deadline = asyncio.get_running_loop().time() + 1
    first, second = (asyncio.create_task(pool.take(deadline)) for _ in range(2))
    await asyncio.sleep(0)

    if given is None:
        pool.free_place()
    else:
        pool.give_back(given)
    await cancelled(first)

    assert await second is given


async def test_line_skips_a_call_that_was_just_cancelled():
    """A place that becomes free in the moment the first in line is cancelled goes to the second."""
    pool = Pool(ClientLimits(max_connections_per_endpoint=1))
    assert await pool.take(inf) is None
    deadline = asyncio.get_running_loop().time() + 1
    first, second = (asyncio.create_task(pool.take(deadline)) for _ in range(2))
    await asyncio.sleep(0)

    first.cancel()
    pool.free_place()

    assert await second is None
    await cancelled(first)


@pytest.mark.parametrize(
    ("trusted_s", "ago_s", "questions"),
    [(TRUSTED_S, 0.009, 0), (TRUSTED_S, 0.011, 1), (ASKING_TRUSTED_S, 0.49, 0), (ASKING_TRUSTED_S, 0.51, 1)],
)
def test_connection_is_asked_whether_it_is_open_when_its_last_use_is_long_ago(trusted_s, ago_s, questions):
    """Sooner for a lead than for a ping; one that has not been used again yet is asked in any case."""
    pool: Any = Pool(ClientLimits())
    connection = IdleConnection()
    pool.give_back(connection)
    assert pool.take_idle(100.0, trusted_s) is connection
    assert connection.questions == 1
    connection.used_at = 100.0
    pool.give_back(connection)
    assert pool.take_idle(100.0 + ago_s, trusted_s) is connection
    assert connection.questions == 1 + questions


async def test_place_is_free_when_a_connection_ended_before_it_was_added():
    """A connection that ended right after it was opened takes no place for ever."""
    pool: Any = Pool(ClientLimits(max_connections_per_endpoint=1))
    ended = IdleConnection()
    ended.is_closed = True
    assert await pool.take(inf) is None

    pool.add(ended)

    assert await pool.take(0) is None
    assert pool.connections == set()


async def test_large_request_is_dropped_when_its_call_is_over():
    """A buyer who reads nothing cannot keep a call's socket open, or get the rest of its request later."""
    over = asyncio.Event()

    async def script(line: Line) -> None:
        await over.wait()
        assert await line.read() == b""

    async with raw_buyer(script) as buyer, buyer_client() as client:
        assert result(await send(client, buyer.url, within_s=0.1, body=b"x" * 20_000_000)) == TIMEOUT
        over.set()
        async with asyncio.timeout(2):
            await asyncio.wait([task for task, _ in buyer.lines])


# ------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(("calls", "connections"), [(2, 2), (3, 3), (4, 3)])
async def test_connections_stop_at_their_limit(calls, connections):
    """Up to the limit each call at once has a connection; one more waits for the first that becomes free."""
    release = asyncio.Event()

    async def script(line: Line) -> None:
        while await line.read():
            await release.wait()
            await line.send(OK)

    async with raw_buyer(script) as buyer, buyer_client(max_connections_per_endpoint=3) as client:
        tasks = [asyncio.create_task(send(client, buyer.url)) for _ in range(calls)]
        await until(lambda: len(buyer.requests) == connections)
        await asyncio.sleep(0.05)
        assert len(buyer.requests) == connections
        release.set()
        assert [await task for task in tasks] == [OK_ANSWER] * calls
    assert buyer.connection_count == connections


async def test_waiting_call_fails_unsent_when_its_deadline_comes():
    """Without a free connection by the deadline a call has timed out, exactly then, and nothing of it is sent."""
    loop = asyncio.get_running_loop()
    async with raw_buyer(answering()) as buyer, buyer_client(max_connections_per_endpoint=1) as client:
        first = asyncio.create_task(send(client, buyer.url, within_s=1))
        await until(lambda: len(buyer.requests) == 1)
        started = loop.time()
        outcome = await send(client, buyer.url, within_s=0.1)
        took_s = loop.time() - started
        await cancelled(first)

    assert result(outcome) == ("timeout", False)
    assert 0.097 <= took_s <= 0.25
    assert len(buyer.requests) == 1


@pytest.mark.parametrize("keeps", [True, False])
async def test_waiting_calls_are_served_in_their_order(keeps):
    """First come, first served, on a connection handed over or on a new one in its place."""
    script = answering_always(OK) if keeps else closing_after(OK)
    async with raw_buyer(script) as buyer, buyer_client(max_connections_per_endpoint=1) as client:
        calls = [asyncio.create_task(send(client, buyer.url, body=b"%d" % n)) for n in range(6)]
        assert [await call for call in calls] == [OK_ANSWER] * 6

    assert [body[-1:] for body in buyer.requests] == [b"0", b"1", b"2", b"3", b"4", b"5"]


async def test_line_has_an_end():
    """A call beyond the longest line allowed fails at once."""
    async with (
        raw_buyer(answering()) as buyer,
        buyer_client(max_connections_per_endpoint=1, max_waiting_per_endpoint=2) as client,
    ):
        calls = [asyncio.create_task(send(client, buyer.url)) for _ in range(3)]
        await asyncio.sleep(0.02)

        assert result(await send(client, buyer.url)) == ("pool_full", False)
        for call in calls:
            await cancelled(call)


async def test_hanging_buyer_slows_no_other():
    """With every connection to one buyer hanging and its line full, another buyer is answered at once."""
    loop = asyncio.get_running_loop()
    async with raw_buyer(answering()) as hanging, raw_buyer(answering_always(OK)) as good, buyer_client() as client:
        calls = [asyncio.create_task(send(client, hanging.url)) for _ in range(80)]
        await asyncio.sleep(0.1)
        started = loop.time()
        assert [await send(client, good.url) for _ in range(10)] == [OK_ANSWER] * 10
        took_s = loop.time() - started
        assert hanging.connection_count == 64
        for call in calls:
            await cancelled(call)

    assert took_s < 0.25


async def test_many_calls_at_once_get_their_own_answers():
    """Under load every call gets the answer to its own request."""

    async def echo(line: Line) -> None:
        while request := await line.read():
            body = request.partition(b"\r\n\r\n")[2]
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with raw_buyer(echo) as buyer, buyer_client(max_connections_per_endpoint=8) as client:
        bodies = [b"body %d" % n for n in range(400)]
        calls = [asyncio.create_task(send(client, buyer.url, body=body)) for body in bodies]
        assert [(await call).body for call in calls] == bodies
    assert buyer.connection_count == 8
