"""What the machine has found, as programs that Hypothesis printed, made shorter by hand; the last is of ours."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.model.machine import Death, Exchanging
from tests.simulation.plan import BUYERS, Rules

RULES = Rules(
    sell_to=1,
    moves_on=True,
    cap=None,
    source_cap=None,
    budget=None,
    reserve="post",
    mode="highest_bid",
    duplicates=False,
    idempotent=(),
    ping_ttl_s=60,
)
TAKES: Any = dict.fromkeys(BUYERS, "accept")
BEFORE_IT_IS_REMEMBERED = Death(point="answer_before_remember", nth=1)


@pytest.fixture
def machine() -> Iterator[Exchanging]:
    machine = Exchanging()
    machine.open(RULES)
    try:
        yield machine
        machine.store_is_as_the_model_says()
    finally:
        machine.teardown()


def test_keyed_direct_post_that_nobody_wanted_is_one_lead_when_its_process_dies(machine: Exchanging) -> None:
    """A repeat hears what became of the lead that is stored, and is no second auction."""
    nobody = dict.fromkeys(BUYERS, "no_bid")
    machine.direct_post("3105550101", nobody, TAKES, key="own", is_test=False, death=BEFORE_IT_IS_REMEMBERED)


def test_keyed_test_post_is_told_its_own_answer_when_its_process_dies(machine: Exchanging) -> None:
    """A repeat hears that it was delivered, not that somebody has used up the ping."""
    email = machine.ping("3105550101", dict.fromkeys(BUYERS, 8_000_000), is_test=True, death=Death())
    machine.keyed_post(email, "own", TAKES, BEFORE_IT_IS_REMEMBERED)


def test_expired_ping_keeps_no_place_from_a_lead_that_goes_on(machine: Exchanging) -> None:
    """A place that is held by a ping is free again when the ping expires, whoever is the next to want it."""
    machine.teardown()  # opened again under other rules
    machine.open(replace(RULES, cap=2, reserve="ping"))
    bright_alone = dict.fromkeys(BUYERS, "no_bid") | {"bright": 8_000_000}
    acme_first = bright_alone | {"acme": 9_000_000}
    machine.ping("3105550101", bright_alone, is_test=False, death=Death())  # holds one of two places
    machine.time_passes(20)
    email = machine.ping("3105550102", acme_first, is_test=False, death=Death())
    other = machine.ping("3105550103", bright_alone, is_test=False, death=Death())
    machine.post(other, TAKES, Death(), stray="")  # takes the second place
    machine.time_passes(20)
    machine.time_passes(20)
    machine.post(email, TAKES | {"acme": "reject"}, Death(), stray="")
    assert ("bright", email) in machine.model.got


def test_slot_held_under_the_rules_of_before_is_given_back(machine: Exchanging) -> None:
    """A reload between a ping and its post costs no slot: what was held goes back, what the lead takes is counted."""
    machine.teardown()  # opened again under other rules
    machine.open(replace(RULES, cap=2, reserve="ping"))
    bright_alone = dict.fromkeys(BUYERS, "no_bid") | {"bright": 8_000_000}
    email = machine.ping("3105550101", bright_alone, is_test=False, death=Death())
    machine.model.rules = replace(RULES, cap=2)
    machine.stage.stage.reload(machine.model.rules)
    machine.post(email, TAKES, Death(), stray="")
    machine.store_is_as_the_model_says()
