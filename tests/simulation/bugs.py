"""Bugs that the checker must find: each breaks the exchange in one place while it lasts.

A checker that finds none of them would prove nothing by finding none in the exchange.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from lexchange import exchange, fields, sale
from lexchange.buyers.client import BuyerClient, BuyerFailure
from lexchange.exchange import Exchange
from lexchange.lead import AttemptOutcome
from lexchange.leases import Lease
from lexchange.once import Once
from lexchange.sale import Sale
from lexchange.storage import ClaimOutcome, ClaimResult, Store, statements, units

claim, send, record_ping = Store.claim_lead, BuyerClient.send, Store.record_ping
_unheeded: set[asyncio.Task[Any]] = set()


def _later(story: Any) -> None:
    task = asyncio.get_running_loop().create_task(story)
    _unheeded.add(task)
    task.add_done_callback(_unheeded.discard)


async def _claim_after_send(store: Store, lead: Any, **given: Any) -> ClaimResult:
    async def at_last() -> None:
        await asyncio.sleep(1)
        await claim(store, lead, **given)

    _later(at_last())
    return ClaimResult(outcome=ClaimOutcome.CLAIMED)


async def _answer_before_commit(store: Store, ping: Any, holds: Any = ()) -> None:
    _later(record_ping(store, ping, holds))


async def _send_again(client: BuyerClient, request: Any, *, deadline: float) -> Any:
    answer = await send(client, request, deadline=deadline)
    if isinstance(answer, BuyerFailure) and answer.is_sent:
        return await send(client, request, deadline=deadline + 1)
    return answer


async def _nobody_lives(lease: Lease, now_ms: int) -> set[str]:
    return set()


async def _keyless(once: Once, call: Any, progress: Any, story: Any) -> Any:
    return await story()


async def _never_mended(sale: Sale, lead_id: str) -> None:
    return None


async def _none_returned(store: Store, alive: Any) -> int:
    return 0


async def _broken(store: Store) -> None:
    raise KeyError("what nobody expected")


async def _never_asked_again(exchange: Exchange, lead: Any, due: Any) -> None:
    return None


UNKNOWN_TOO = frozenset(AttemptOutcome) - {AttemptOutcome.ACCEPTED}
ANY_SOURCE = statements.CLAIM_PING.replace("src = ?", "(src = ? OR 1)")
KEPT_HOLDS = f"{statements.GIVE_EXPIRED_HOLDS_BACK} AND 0"
TWICE = statements.GIVE_LEASES_BACK.replace("SUM(amount_back)", "SUM(amount_back) * 2")
KEPT_LEASES = f"{statements.DROP_LEASES} AND 0"
UNCOUNTED = statements.KEEP_LEASE.replace("(?, ?, ?, ?)", "(?, ?, ?, ? + 1)")
UNGUARDED = {
    name: getattr(statements, name).replace("<= ?", "<= ? + 99000000") for name in ("TAKE_CAP", "TAKE_CAP_AND_TELL")
}
ANY_TIME = statements.CLAIM_PING.replace("expires_ms > ?", "(expires_ms > ? OR 1)")

# By name: the promise that must be seen broken, and what is put in place of what.
BUGS: dict[str, tuple[str, list[Any]]] = {
    "claim_after_send": ("sold_once", [(Store, "claim_lead", _claim_after_send)]),
    "sweep_without_lease": ("sweep", [(Lease, "_alive", _nobody_lives)]),
    "cap_not_returned": ("slots", [(units, "give_back", lambda releases: ())]),
    "hold_not_returned": ("slots", [(statements, "GIVE_EXPIRED_HOLDS_BACK", KEPT_HOLDS)]),
    "cap_not_guarded": ("caps", [(statements, name, UNGUARDED[name]) for name in UNGUARDED]),
    "lease_returned_twice": ("slots", [(statements, "GIVE_LEASES_BACK", TWICE)]),
    "returned_lease_is_kept": ("slots", [(statements, "DROP_LEASES", KEPT_LEASES)]),
    "lease_not_counted": ("caps", [(statements, "KEEP_LEASE", UNCOUNTED)]),
    "lease_not_swept": ("slots", [(Store, "return_orphaned_caps", _none_returned)]),
    "answer_before_commit": ("kept", [(Store, "record_ping", _answer_before_commit)]),
    "sent_again": ("sold_once", [(BuyerClient, "send", _send_again)]),
    "next_bidder_after_silence": ("sold_once", [(exchange, "AFTER_REJECTION", UNKNOWN_TOO)]),
    "key_forgotten": ("one_key", [(Once, "_run_once", _keyless)]),
    "outcome_forgotten": ("in_flight", [(Sale, "mend", _never_mended)]),
    "turn_breaks": ("breaks", [(Store, "return_idle_caps", _broken)]),
    "never_asked_again": ("asked_again", [(Exchange, "ask_again", _never_asked_again)]),
    "asked_without_leave": (
        "sold_once",
        [
            (sale, "_may_repeat", lambda leg: leg.is_kept and not leg.is_sold),
            (exchange, "_has_repeatable", lambda route, lead: True),
        ],
    ),
    "test_is_live": ("tests", [(fields, "read_test_mode", lambda data: False)]),
    "foreign_post": (
        "foreign",
        [(exchange, "_is_postable", lambda ping, lead: True), (statements, "CLAIM_PING", ANY_SOURCE)],
    ),
    "expired_post": (
        "expiry",
        [(exchange, "_is_postable", lambda ping, lead: ping.src == lead.src), (statements, "CLAIM_PING", ANY_TIME)],
    ),
}


@contextmanager
def bug(name: str) -> Iterator[None]:
    """Have the exchange carry this bug; none for an empty name."""
    patches = [patch.object(place, what, instead) for place, what, instead in BUGS[name][1]] if name else []
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()
