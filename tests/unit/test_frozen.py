"""Values of the hot path, and changed copies of them, are those that the standard library makes."""

import dataclasses
from typing import Any

import pytest

from lexchange.frozen import as_dict, maker, replace
from lexchange.lead import BuyerPing, PingOutcome
from lexchange.payout import Split
from tests.storage.examples import a_lead, a_ping


@pytest.mark.parametrize(
    ("value", "changes"),
    [
        (a_lead(1), {}),
        (a_lead(1), {"reason": "x", "updated_ms": 3, "attempts": []}),
        (a_ping(1), {"winner": None}),
        (BuyerPing(buyer="acme", outcome=PingOutcome.OPEN), {"outcome": PingOutcome.LATE}),
        (Split(payout_micros=1, margin_micros=2), {"margin_micros": 5}),
    ],
)
def test_replace_copies_all_but_the_changes(value: Any, changes: dict[str, Any]) -> None:
    before = dataclasses.asdict(value)
    changed = replace(value, **changes)
    assert changed is not value
    assert changed == dataclasses.replace(value, **changes)
    assert dataclasses.asdict(value) == before


def test_replace_refuses_a_field_that_is_none() -> None:
    with pytest.raises(AttributeError, match="payuot_micros"):
        replace(Split(payout_micros=1, margin_micros=2), payuot_micros=3)  # type: ignore[call-arg]  # the slip is what is tested


def test_as_dict_gives_the_fields_as_they_are() -> None:
    lead = a_lead(1)
    assert as_dict(lead) == {each.name: getattr(lead, each.name) for each in dataclasses.fields(lead)}


def test_maker_makes_what_the_class_makes() -> None:
    given: dict[str, Any] = {"buyer": "acme", "outcome": PingOutcome.BID, "bid_micros": 5}
    assert maker(BuyerPing)(**given) == BuyerPing(**given)
    assert type(maker(BuyerPing)(**given)) is BuyerPing


@pytest.mark.parametrize("given", [{"buyer": "acme"}, {"buyer": "acme", "outcome": PingOutcome.BID, "bid_mircos": 5}])
def test_maker_refuses_what_the_class_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"outcome|bid_mircos"):
        maker(BuyerPing)(**given)
