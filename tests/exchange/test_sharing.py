"""Leads that several buyers share: who gets them, what each pays, what the source earns, and which slots stay taken."""

import asyncio
import copy
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from lexchange import resends
from lexchange.lead import LeadState
from lexchange.storage import Store
from tests.exchange.cases import BASE, Case, Names
from tests.exchange.running import exchange_for
from tests.exchange.transports import Answer, transport, wait_until

SOLD = {"json": {"result": "sold"}}
NO = {"json": {"result": "rejected"}}
GARBAGE = {"text": "<html>"}
SHARED = {"sell_to": 2, "mode": "highest_bid", "post_timeout_ms": 5000, "min_bid": 0.5}
FOLLOWED = SHARED | {"on_post_reject": "next_bidder"}


def a_case(bids: dict[str, float], posts: dict[str, Any] | None = None, **changes: Any) -> Case:
    """Buyers with these bids, who take every post but where `posts` says what they answer; `NAME_key` changes one."""
    buyers: list[dict[str, Any]] = []
    replies: dict[str, Any] = {}
    for name, bid in bids.items():
        buyer = copy.deepcopy(BASE["campaign"]["buyers"][1])
        for stage in ("ping", "post"):
            buyer[stage]["url"] = f"http://{{buyers}}/{name}/{stage}"
        own = {key.removeprefix(f"{name}_"): value for key, value in changes.items() if key.startswith(f"{name}_")}
        buyers.append(buyer | {"buyer": name, "priority": len(buyers)} | own)
        replies[f"{name}.ping"] = [{"json": {"status": "ok", "bid": bid}}]
        replies[f"{name}.post"] = [(posts or {}).get(name, SOLD)]
    given = {key: value for key, value in changes.items() if key.partition("_")[0] not in bids}
    return {"change": {"buyers": buyers, "routing": SHARED} | given, "replies": replies}


CAPS = [{"window": "total", "limit": 10}, {"window": "total", "budget": 100}]
SOURCES = [{"src": "SRC_MAIN", "keys": [{"key": "live_key_value"}], "caps": CAPS}]


class Outcome:
    """What a source was told of one lead, what the buyers saw, and what is kept."""

    def __init__(self, answers: list[Answer], posts: dict[str, int], folder: Path) -> None:
        self.answers = answers
        self.posts = posts
        self.file = folder / "store.db"
        with sqlite3.connect(self.file) as database:
            self.counters = dict(database.execute("SELECT counter, used FROM cap_counters WHERE used > 0"))
            rows = database.execute("SELECT state, buyer, price_micros, payout_micros FROM leads")
            self.leads = [(row[0], row[1], row[2], row[3]) for row in rows]
        database.close()

    def used(self, owner: str) -> list[int]:
        return [used for counter, used in sorted(self.counters.items()) if f":{owner}:" in counter]


async def sold(case: Case, folder: Path, road: str = "rest") -> Outcome:
    """A ping and its post; or a direct post, where the campaign takes those."""
    names = Names()
    is_direct = case["change"].get("traffic_type") == "direct_post"
    async with exchange_for(case, folder) as (server, buyers), transport(road, server) as source:
        answers: list[Answer] = []
        for call in ["direct_post"] if is_direct else ["ping", "post"]:
            step = {"call": call} | ({"ping_id": answers[0].get("ping_id")} if call == "post" else {})
            _, answer = await source.send(names.call(step))
            answers.append(answer)
        posts = {name.removesuffix(".post"): count for name, count in buyers.calls.items() if name.endswith(".post")}
    return Outcome(answers, posts, folder)


def told(answer: Answer) -> tuple[str, Any]:
    return answer["status"], answer.get("bid", answer.get("payout", answer.get("reason")))


ACME_BRIGHT_CORNER = {"acme": 7.0, "bright": 5.0, "corner": 4.0}


@pytest.mark.parametrize("road", ["grpc", "rest", "rest_over_channel"])
async def test_two_buyers_share_a_lead(road: str, tmp_path: Path) -> None:
    """The source hears the sum and earns it; each buyer gets the lead once and pays his own price."""
    outcome = await sold(a_case(ACME_BRIGHT_CORNER), tmp_path, road)
    assert told(outcome.answers[0]) == ("accepted", 10_200_000)
    assert told(outcome.answers[1]) == ("delivered", None)
    assert outcome.posts == {"acme": 1, "bright": 1}
    assert outcome.leads == [("delivered", "acme", 12_000_000, 10_200_000)]
    async with Store.open(f"sqlite:///{outcome.file}") as store:
        lead = await store.audit.find_lead(outcome.answers[1]["lead_id"])
        assert lead is not None
        assert [(each.buyer, each.bid_micros, each.payout_micros, each.outcome) for each in lead.attempts] == [
            ("acme", 7_000_000, 5_950_000, "accepted"),
            ("bright", 5_000_000, 4_250_000, "accepted"),
        ]
        assert lead.delivery_id == lead.attempts[0].delivery_id == outcome.answers[1]["delivery_id"]
        assert await store.audit.find_delivery(lead.attempts[1].delivery_id) == lead


NO_GARBAGE_NO = {"acme": NO, "bright": GARBAGE, "corner": NO}
REJECTED = ("rejected", "buyer_rejected")
INVALID = ("failed", "downstream_invalid_response")


@pytest.mark.parametrize(
    ("routing", "posts", "answer", "reached", "lead"),
    [
        (SHARED, {"acme": NO}, ("delivered", None), "acme bright", ("delivered", "bright", 5.0, 4.25)),
        (SHARED, {"bright": NO}, ("delivered", None), "acme bright", ("delivered", "acme", 7.0, 5.95)),
        (SHARED, {"acme": NO, "bright": NO}, REJECTED, "acme bright", ("rejected", "bright", 5.0, 4.25)),
        (FOLLOWED, {"acme": NO}, ("delivered", None), "acme bright corner", ("delivered", "bright", 9.0, 7.65)),
        (FOLLOWED, {"bright": NO}, ("delivered", None), "acme bright corner", ("delivered", "acme", 11.0, 9.35)),
        (FOLLOWED, {"corner": NO}, ("delivered", None), "acme bright", ("delivered", "acme", 12.0, 10.2)),
        (FOLLOWED, {"acme": GARBAGE}, ("delivered", None), "acme bright", ("unknown", "bright", 5.0, 4.25)),
        (SHARED, {"bright": GARBAGE}, ("delivered", None), "acme bright", ("unknown", "acme", 7.0, 5.95)),
        (FOLLOWED, NO_GARBAGE_NO, INVALID, "acme bright corner", ("unknown", "bright", 5.0, 4.25)),
    ],
)
async def test_place_that_is_not_taken(
    routing: Any, posts: Any, answer: Any, reached: str, lead: Any, tmp_path: Path
) -> None:
    """A rejection is not paid for, and with next_bidder leaves the place to the next; an unknown outcome keeps it."""
    outcome = await sold(a_case(ACME_BRIGHT_CORNER, posts, routing=routing), tmp_path)
    assert told(outcome.answers[1]) == answer
    assert outcome.posts == dict.fromkeys(reached.split(), 1)
    state, buyer, price, payout = lead
    assert outcome.leads == [(state, buyer, round(price * 1_000_000), round(payout * 1_000_000))]


@pytest.mark.parametrize(
    ("to", "price", "payout", "bright"),
    [(LeadState.DELIVERED, 12_000_000, 10_200_000, [1, 5_000_000]), (LeadState.FAILED, 7_000_000, 5_950_000, [])],
)
async def test_unknown_place_is_settled_by_an_operator(
    to: LeadState, price: int, payout: int, bright: list[int], tmp_path: Path
) -> None:
    """The source heard that it is delivered, and hears so again; whether bright pays is the operator's to say."""
    more = {"routing": SHARED | {"mode": "round_robin"}, "sources": SOURCES}
    case = a_case(ACME_BRIGHT_CORNER, {"bright": GARBAGE}, acme_caps=CAPS, bright_caps=CAPS, **more)
    names = Names()
    async with exchange_for(case, tmp_path) as (server, _), transport("rest", server) as source:
        _, ping = await source.send(names.call({"call": "ping"}))
        step = {"call": "post", "ping_id": ping["ping_id"], "headers": {"Idempotency-Key": "k"}}
        first = await source.send(names.call(step))
        assert await source.send(names.call(step)) == first
        _, again = await source.send(names.call(step | {"headers": {}}))
        assert (again["reason"], again["outcome"]) == ("ping_id_already_consumed", "delivered")
        async with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
            (lead,) = await store.audit.unresolved_leads()
            assert (lead.lead_id, lead.takers) == (first[1]["lead_id"], ["acme"])
            assert await store.audit.resolve_lead(lead.lead_id, to, note="asked", now_ms=lead.updated_ms)
            assert await store.audit.unresolved_leads() == []
            assert set(await store.last_sales("auto")) == (
                {"acme", "bright"} if to is LeadState.DELIVERED else {"acme"}
            )
    outcome = Outcome([], {}, tmp_path)
    assert outcome.leads == [("delivered", "acme", price, payout)]
    assert (outcome.used("acme"), outcome.used("bright")) == ([1, 7_000_000], bright)
    assert outcome.used("SRC_MAIN") == [1, payout]


async def test_final_price_is_settled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Acme names his price when he takes the lead; that bright is asked then, and once more, changes it no more."""
    monkeypatch.setattr(resends, "LOOK_S", 0.05)
    monkeypatch.setattr(resends, "PAUSES_S", (0, 600))
    case = a_case(ACME_BRIGHT_CORNER, {"acme": {"json": {"result": "sold", "price": 6.0}}}, acme_caps=CAPS)
    case["replies"]["bright.post"] = [{"reset": True, "delay_ms": 200}, SOLD]
    acme, bright, _ = case["change"]["buyers"]
    acme["post"]["post_response_settings"]["price_path"] = "price"
    bright["post"]["idempotent"] = True
    names = Names()
    async with exchange_for(case, tmp_path) as (server, buyers), transport("rest", server) as source:
        _, ping = await source.send(names.call({"call": "ping"}))
        post = asyncio.create_task(source.send(names.call({"call": "post", "ping_id": ping["ping_id"]})))
        await wait_until(lambda: "bright.post" in buyers.calls)
        assert Outcome([], {}, tmp_path).used("acme") == [1, 6_000_000]
        await post
        await wait_until(lambda: buyers.calls["bright.post"] == 2)
        await wait_until(lambda: Outcome([], {}, tmp_path).leads[0][0] == "delivered")
    outcome = Outcome([], {}, tmp_path)
    assert outcome.leads == [("delivered", "acme", 11_000_000, 10_200_000)]
    assert outcome.used("acme") == [1, 6_000_000]


@pytest.mark.parametrize(
    ("exclusive_bid", "bid_micros", "reached"),
    [
        (10.0, 8_500_000, "corner"),
        (9.01, 7_658_500, "corner"),
        (9.0, 7_650_000, "acme bright"),
        (8.0, 7_650_000, "acme bright"),
    ],
)
@pytest.mark.parametrize("routing", [SHARED, FOLLOWED])
async def test_exclusive_buyer_against_the_others_together(
    exclusive_bid: float, bid_micros: int, reached: str, routing: Any, tmp_path: Path
) -> None:
    """He wins with more than their sum, and then nobody else gets the lead; else he gets nothing."""
    case = a_case({"acme": 5.0, "bright": 4.0, "corner": exclusive_bid}, corner_exclusive=True, routing=routing)
    outcome = await sold(case, tmp_path)
    assert told(outcome.answers[0]) == ("accepted", bid_micros)
    assert outcome.posts == dict.fromkeys(reached.split(), 1)


async def test_exclusive_buyer_takes_no_place_beside_another(tmp_path: Path) -> None:
    """When bright rejects, corner may not follow him to acme; the place stays empty."""
    case = a_case(ACME_BRIGHT_CORNER, {"bright": NO}, corner_exclusive=True, routing=FOLLOWED)
    assert (await sold(case, tmp_path)).posts == {"acme": 1, "bright": 1}


async def test_exclusive_buyer_by_priority(tmp_path: Path) -> None:
    """In the other modes he has it alone when he stands first, whatever the others bid."""
    case = a_case({"acme": 1.0, "bright": 5.0}, acme_exclusive=True, routing=SHARED | {"mode": "priority"})
    outcome = await sold(case, tmp_path)
    assert (told(outcome.answers[0]), outcome.posts) == (("accepted", 850_000), {"acme": 1})


async def test_exclusive_buyer_keeps_nobody_from_his_share(tmp_path: Path) -> None:
    """One who stands between two others takes no place of theirs: the answer waits for whoever may share."""
    routing = SHARED | {"mode": "priority"}
    case = a_case({"acme": 1.0, "bright": 5.0, "corner": 4.0}, bright_exclusive=True, routing=routing)
    case["replies"]["corner.ping"][0]["delay_ms"] = 100
    assert (await sold(case, tmp_path)).posts == {"acme": 1, "corner": 1}


async def test_direct_post_is_shared(tmp_path: Path) -> None:
    """Until two have it; the payout told is that of those who have."""
    case = a_case(ACME_BRIGHT_CORNER, {"bright": NO}, traffic_type="direct_post")
    outcome = await sold(case, tmp_path)
    assert told(outcome.answers[0]) == ("delivered", 9_350_000)
    assert outcome.posts == {"acme": 1, "bright": 1, "corner": 1}


@pytest.mark.parametrize("reserve", ["post", "ping"])
@pytest.mark.parametrize(
    ("posts", "acme", "bright", "source"),
    [
        ({}, [1, 7_000_000], [1, 5_000_000], [1, 10_200_000]),
        ({"acme": NO}, [], [1, 5_000_000], [1, 4_250_000]),
        ({"bright": NO}, [1, 7_000_000], [], [1, 5_950_000]),
        ({"acme": NO, "bright": NO}, [], [], []),
        ({"acme": GARBAGE, "bright": NO}, [1, 7_000_000], [], [1, 5_950_000]),
        ({"bright": {"json": {"result": "sold", "price": 4.5}}}, [1, 7_000_000], [1, 4_500_000], [1, 10_200_000]),
    ],
)
async def test_slots_follow_what_each_took(
    posts: Any, acme: list[int], bright: list[int], source: list[int], reserve: str, tmp_path: Path
) -> None:
    """A lead counts once for its source and once for each buyer who has it, or may; money is what each pays."""
    caps = [cap | {"reserve": reserve} for cap in CAPS]
    case = a_case({"acme": 7.0, "bright": 5.0}, posts, acme_caps=caps, bright_caps=caps, sources=SOURCES)
    for buyer in case["change"]["buyers"]:
        buyer["post"]["post_response_settings"]["price_path"] = "price"
    outcome = await sold(case, tmp_path)
    assert (outcome.used("acme"), outcome.used("bright"), outcome.used("SRC_MAIN")) == (acme, bright, source)


async def test_winner_without_a_slot_leaves_his_place(tmp_path: Path) -> None:
    """Who has no slot to promise at the ping is passed over, the others keep theirs."""
    full = [{"window": "total", "limit": 1, "reserve": "ping"}]
    case = a_case(ACME_BRIGHT_CORNER, acme_caps=full)
    names = Names()
    async with exchange_for(case, tmp_path) as (server, _), transport("rest", server) as source:
        bids = [(await source.send(names.call({"call": "ping"})))[1]["bid"] for _ in range(2)]
    assert bids == [10_200_000, 7_650_000]


async def test_each_buyer_has_had_his_turn(tmp_path: Path) -> None:
    """Round robin goes on behind both who bought."""
    case = a_case({"acme": 3.0, "bright": 3.0, "corner": 3.0, "delta": 3.0}, routing=SHARED | {"mode": "round_robin"})
    names = Names()
    async with exchange_for(case, tmp_path) as (server, buyers), transport("rest", server) as source:
        for _ in range(2):
            _, ping = await source.send(names.call({"call": "ping"}))
            _, post = await source.send(names.call({"call": "post", "ping_id": ping["ping_id"]}))
            assert post["status"] == LeadState.DELIVERED
        assert {name: count for name, count in buyers.calls.items() if name.endswith("post")} == {
            f"{name}.post": 1 for name in ("acme", "bright", "corner", "delta")
        }


async def test_buyer_who_has_the_lead_is_not_asked_again(tmp_path: Path) -> None:
    """In scope buyer each who has it is protected, the second as well as the first."""
    rule = {"fields": ["email"], "window_h": 24, "scope": "buyer"}
    case = a_case(ACME_BRIGHT_CORNER, duplicates=rule)
    names = Names()
    async with exchange_for(case, tmp_path) as (server, buyers), transport("rest", server) as source:
        for asked in ("acme bright corner", "corner"):
            before = dict(buyers.calls)
            _, ping = await source.send(names.call({"call": "ping"}))
            await source.send(names.call({"call": "post", "ping_id": ping["ping_id"]}))
            heard = {name for name, count in buyers.calls.items() if count > before.get(name, 0)}
            assert {name.removesuffix(".ping") for name in heard if name.endswith("ping")} == set(asked.split())
