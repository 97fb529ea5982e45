import re
from enum import StrEnum
from importlib.resources import files

import pytest

from leadexchange.v1 import lead_exchange_pb2 as pb
from lexchange.lead import LeadState, PingState
from lexchange.reasons import REASON_TEXTS, Kind, Reason
from lexchange.servicer import CODES

MIGRATIONS = {
    engine: (files("lexchange.storage") / "migrations" / engine / "0001_init.sql").read_text("utf-8")
    for engine in ("sqlite", "postgres")
}


def test_reasons_are_those_of_the_proto_in_their_order() -> None:
    """A reason that one side lacks could not be told; the order is the precedence."""
    names = [value.name for value in pb.Reason.DESCRIPTOR.values]
    assert names == ["REASON_UNSPECIFIED", *(f"REASON_{reason.name}" for reason in Reason)]
    assert [value.number for value in pb.Reason.DESCRIPTOR.values] == list(range(len(Reason) + 1))


def test_every_reason_has_its_kind_and_its_sentence() -> None:
    """No reason is answered without words for people."""
    assert list(REASON_TEXTS) == list(Reason)
    assert all(reason.message and not reason.message.endswith(".") for reason in Reason)


def test_refusals_and_only_they_are_status_codes() -> None:
    """A business no is an answer; what may not proceed is a status."""
    assert set(CODES) == {reason for reason in Reason if reason.kind is Kind.REFUSED}


@pytest.mark.parametrize("engine", MIGRATIONS)
@pytest.mark.parametrize(("table", "states"), [("pings", PingState), ("leads", LeadState)])
def test_states_are_those_that_the_database_accepts(engine: str, table: str, states: type[StrEnum]) -> None:
    """The CHECK of a table repeats its states, so that no other ever gets in."""
    check = rf"CREATE TABLE {table} \(.*?state TEXT NOT NULL CHECK \(state IN \((.*?)\)\)"
    found = re.search(check, MIGRATIONS[engine], re.DOTALL)
    assert found is not None
    assert set(re.findall(r"'(\w+)'", found[1])) == set(states)
