from dataclasses import fields

import pytest

from lexchange.config import Limits
from lexchange.errors import ConfigError


def test_limits_stand_when_the_environment_says_nothing() -> None:
    """Other variables do not matter."""
    assert Limits.from_environment({"LEXCHANGE_STORE": "sqlite:///x.db", "BODY_BYTES": "1"}) == Limits()


@pytest.mark.parametrize("name", [limit.name for limit in fields(Limits)])
def test_each_limit_has_its_variable(name: str) -> None:
    """LEXCHANGE_ and its name, in capitals; the others stay."""
    found = Limits.from_environment({f"LEXCHANGE_{name.upper()}": "1"})
    changed = {limit.name for limit in fields(Limits) if getattr(found, limit.name) != getattr(Limits(), limit.name)}
    assert (getattr(found, name), changed) == (1, {name})


@pytest.mark.parametrize("name", [limit.name for limit in fields(Limits)])
def test_each_limit_ends_with_its_unit(name: str) -> None:
    """A number without a unit is a mistake that waits to happen."""
    assert name.endswith(("_bytes", "_count", "_ms", "_s", "_h", "_per_buyer", "in_flight"))


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1_000", "ten", " 1", "1 ", "0x10"])
def test_limit_is_refused_when_it_is_no_whole_number(text: str) -> None:
    """The variable is named, with what was expected."""
    with pytest.raises(ConfigError, match=r"^LEXCHANGE_BODY_BYTES: expected a whole number of at least 1, got "):
        Limits.from_environment({"LEXCHANGE_BODY_BYTES": text})
