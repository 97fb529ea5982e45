"""Blocks: which takes of a hot cap are met from a lease, and how much is leased; no store is asked."""

import pytest

from lexchange.blocks import BlockRule, Blocks, Draw, Way, first_way, next_way
from lexchange.lead import CapTake

RULE = BlockRule(hot_per_s=10, seconds=1, share=8, fewest=4)


def a_take(limit: int = 1_000, amount: int = 1) -> CapTake:
    return CapTake(counter="c", amount=amount, limit=limit)


def warmed(remaining: int, takes: int = 10, amount: int = 1) -> Blocks:
    """After so many takes within a moment, with so much left of the cap."""
    blocks = Blocks("w", RULE)
    for _ in range(takes):
        blocks.draws([a_take(amount=amount)], (), 0.0)
    blocks.stands(a_take(amount=amount), 1_000 - remaining)
    return blocks


def drawn(blocks: Blocks, take: CapTake, now: float = 0.0) -> Draw:
    (draw,) = blocks.draws([take], (), now)
    return draw


@pytest.mark.parametrize(
    ("takes", "remaining", "block"),
    [
        (8, 900, 0),  # with this one 9 takes a second: not hot
        (9, 900, 10),  # what a second takes
        (9, 73, 9),  # an eighth of what is left, once this take is met
        (9, 33, 4),
        (9, 32, 0),  # worth fewer than 4 takes
        (9, 0, 0),
        (9, -5, 0),  # a cap that was lowered
    ],
)
def test_block_is_what_a_second_takes_and_a_part_of_what_is_left(takes: int, remaining: int, block: int):
    """A hot counter is leased for a second ahead; near its limit blocks shrink, and then there are none."""
    draw = drawn(warmed(remaining, takes), a_take())
    assert (draw.way, draw.block) == (Way.BLOCK if block else Way.SHARED, block)


def test_money_is_leased_by_its_amount():
    """A block of a budget is what a second spends, in the same unit."""
    assert drawn(warmed(900, takes=9, amount=7), a_take(amount=7)).block == 70
    assert drawn(warmed(200, takes=9, amount=7), a_take(amount=7)).block == 0  # 24 pay for fewer than 4 leads


def test_block_serves_as_many_takes_as_it_holds():
    """What was leased meets the next takes, and then another block is due."""
    blocks = warmed(900, takes=9)
    block = drawn(blocks, a_take()).block
    assert [drawn(blocks, a_take()).way for _ in range(block)] == [Way.LEASE] * block
    assert drawn(blocks, a_take()).way is Way.BLOCK


def test_nothing_is_leased_before_a_counter_was_seen():
    """However hot it is: nobody knows what is left of it."""
    blocks = Blocks("w", RULE)
    assert {drawn(blocks, a_take()).way for _ in range(100)} == {Way.SHARED}


def test_counter_that_has_cooled_is_not_leased():
    """What counts is this second and the one before; an older one is forgotten."""
    for now, way in ((1.5, Way.BLOCK), (2.0, Way.SHARED)):
        assert drawn(warmed(900), a_take(), now).way is way


def test_kept_counter_is_not_leased():
    """Where a unit gives slots back first, its takes are met from where they went."""
    assert warmed(900).draws([a_take()], {"c"}, 0.0) == [Draw(take=a_take(), worker="w")]


def test_miss_is_not_tried_again():
    """After a lease that held less than was thought, the shared counter tells where things stand."""
    blocks = warmed(900)
    drawn(blocks, a_take())
    blocks.missed(drawn(blocks, a_take()))
    assert drawn(blocks, a_take()).way is Way.SHARED
    blocks.stands(a_take(), 100)
    assert drawn(blocks, a_take()).way is Way.BLOCK


def test_undone_take_is_there_again():
    """A unit that changed nothing has left the lease as it was."""
    blocks = warmed(900)
    block = drawn(blocks, a_take()).block
    for _ in range(5):
        blocks.undone([drawn(blocks, a_take())])
    assert [drawn(blocks, a_take()).way for _ in range(block)] == [Way.LEASE] * block


def test_idle_counter_is_forgotten():
    """After a second without a take nothing speaks for its lease."""
    blocks = warmed(900)
    assert blocks.busy(0.9) == {"c"}
    assert blocks.busy(1.0) == set()
    assert drawn(blocks, a_take(), 1.0).way is Way.SHARED


def test_ways_come_to_an_end():
    """A take that misses is met in the next way, and the others of its unit stay as they are."""
    other = Draw(take=CapTake(counter="other", amount=1, limit=9), way=Way.LEASE, worker="w")
    for way in (Way.LEASE, Way.BLOCK):
        missed = Draw(take=a_take(), way=way, worker="w", block=7)
        shared = next_way([other, missed], missed)
        assert shared == [other, Draw(take=a_take(), worker="w")]
        assert next_way(shared, shared[1]) == [other, Draw(take=a_take(), way=Way.RECALL, worker="w")]


def test_take_that_was_full_is_met_from_the_counter_again():
    """When expired pings have given slots back, whatever way it has missed last."""
    missed = Draw(take=a_take(), way=Way.RECALL)
    assert first_way([missed], missed) == [Draw(take=a_take())]
