"""Statements that take cap slots, hold them, and give them back: of the shared counter, or of what is leased of it.

Whoever spends his own lease waits for nobody but who gives leases back: his statement changes his row alone, and only
looks at the counter. Whoever touches the counter waits for all others who do.
"""

from collections.abc import Iterable

from lexchange.blocks import Draw, Way
from lexchange.caps import campaign_of
from lexchange.lead import CapTake, Ping
from lexchange.storage import statements
from lexchange.storage.connector import Statement, Unit, Value

COUNTERS = "counters"
"""Shared by all who change counters or holds, locked by who gives back whatever has expired."""


def take_caps(draws: Iterable[Draw]) -> Unit:
    """Every slot, or none; a draw that cannot be met in its way is the guard that fails."""
    return tuple(statement for draw in draws for statement in _WAYS[draw.way](draw))


def give_back(releases: Iterable[CapTake]) -> Unit:
    """To the counters, wherever the slots were taken from."""
    return tuple(give_cap_back(take.counter, take.amount) for take in releases)


def give_cap_back(counter: str, amount: int) -> Statement:
    """A negative amount takes, whatever the cap says."""
    params = (amount, *_key(counter))
    return Statement(sql=statements.GIVE_CAP_BACK, params=params, locks=_counter(counter), shares=COUNTERS)


def hold_caps(ping: Ping, draws: Iterable[Draw]) -> Unit:
    """Keep what was taken for the ping, until it expires."""
    return tuple(
        Statement(
            sql=statements.HOLD_CAP,
            params=(ping.campaign, ping.ping_id, draw.take.counter, draw.take.amount, ping.expires_ms),
            shares=COUNTERS,
        )
        for draw in draws
    )


def release_holds(campaign: str, ping_id: str) -> Unit:
    """A ping's own slots are free for its lead's takes, which follow in the same unit: nobody comes in between."""
    held = (campaign, ping_id)
    return (
        Statement(sql=statements.GIVE_HOLDS_BACK, params=(*held, campaign, *held), shares=COUNTERS),
        Statement(sql=statements.DROP_HOLDS, params=held, shares=COUNTERS),
    )


def release_expired_holds(campaign: str, now_ms: int) -> Unit:
    """Give back the slots of a campaign's pings that expired unclaimed."""
    expired = (campaign, now_ms)
    return (
        Statement(sql=statements.GIVE_EXPIRED_HOLDS_BACK, params=(*expired, campaign, *expired), locks=COUNTERS),
        Statement(sql=statements.DROP_EXPIRED_HOLDS, params=expired, locks=COUNTERS),
    )


def return_lease(counter: str, worker: str) -> Unit:
    """Give back what is left of one process's lease; nothing where there is none."""
    return _return_leases(counter, statements.END_CAP_LEASE, worker)


def _take_shared(draw: Draw) -> Unit:
    take, amount = draw.take, draw.take.amount + draw.block
    return (
        Statement(
            sql=statements.TAKE_CAP_AND_TELL if draw.worker else statements.TAKE_CAP,
            params=(*_key(take.counter), amount, amount, take.limit, take.limit),
            guard=draw,
            locks=_counter(take.counter),
            shares=COUNTERS,
        ),
    )


def _take_leased(draw: Draw) -> Unit:
    take, key = draw.take, _key(draw.take.counter)
    params = (take.amount, *key, draw.worker, take.amount, *key, take.limit)
    return (_of_lease(draw, statements.TAKE_LEASED, params, guard=draw),)


def _take_block(draw: Draw) -> Unit:
    params = (*_key(draw.take.counter), draw.worker, draw.block)
    return (*_take_shared(draw), _of_lease(draw, statements.KEEP_LEASE, params))


def _recall(draw: Draw) -> Unit:
    return (*_return_leases(draw.take.counter, statements.END_CAP_LEASES), *_take_shared(draw))


_WAYS = {Way.SHARED: _take_shared, Way.LEASE: _take_leased, Way.BLOCK: _take_block, Way.RECALL: _recall}


def _return_leases(counter: str, end: str, *worker: str) -> Unit:
    """All leases of a counter, or one worker's."""
    key, locks = _key(counter), _leases(counter)
    return (
        Statement(sql=end, params=(*key, *worker), locks=locks),
        Statement(sql=statements.GIVE_LEASES_BACK, params=(*key, *key), locks=_counter(counter), shares=COUNTERS),
        Statement(sql=statements.DROP_LEASES, params=key, locks=locks),
    )


def _of_lease(draw: Draw, sql: str, params: tuple[Value, ...], guard: Draw | None = None) -> Statement:
    counter = draw.take.counter
    locks = f"lease {counter} {draw.worker}"
    return Statement(sql=sql, params=params, guard=guard, locks=locks, shares=_leases(counter))


def _key(counter: str) -> tuple[str, str]:
    return campaign_of(counter), counter


def _counter(counter: str) -> str:
    return f"counter {counter}"


def _leases(counter: str) -> str:
    return f"leases {counter}"
