import re
import secrets

import pytest

from lexchange.clock import SystemClock
from lexchange.ids import POOL_IDS, RANDOM_BYTES, Ids, is_ping_id


class StandingClock:
    def __init__(self, now_ms: int) -> None:
        self.now = now_ms

    def now_ms(self) -> int:
        return self.now


@pytest.mark.parametrize(
    ("make", "pattern"),
    [
        (Ids.ping_id, r"PING-[0-9A-F]{13,}"),
        (Ids.lead_id, r"L-[0-9A-F]{14,}"),
        (Ids.delivery_id, r"DEL-[0-9A-F]{14,}"),
    ],
)
def test_id_has_its_published_form(make, pattern: str) -> None:
    """The prefix tells what it is of; the rest is upper-case hex."""
    assert re.fullmatch(pattern, make(Ids(SystemClock())))


def test_ids_sort_by_their_time() -> None:
    """A later id lands behind an earlier one in every index, whatever its random part."""
    clock = StandingClock(1_764_000_000_000)
    ids = Ids(clock, random_hex=lambda count: "ff" * count)
    earlier = ids.ping_id()
    clock.now += 1
    later = Ids(clock, random_hex=lambda count: "00" * count).ping_id()
    assert earlier < later


def test_ids_never_repeat_within_one_millisecond() -> None:
    """Several pools' worth of ids at one instant are all different."""
    ids = Ids(StandingClock(1_764_000_000_000))
    made = {ids.ping_id() for _ in range(3 * POOL_IDS + 1)}
    assert len(made) == 3 * POOL_IDS + 1


def test_each_id_has_eighty_random_bits_of_its_own() -> None:
    """What is drawn at once is cut into parts that no two ids share."""
    drawn: list[str] = []

    def draw(count: int) -> str:
        drawn.append(secrets.token_hex(count))
        return drawn[-1]

    ids = Ids(StandingClock(0), random_hex=draw)
    parts = [ids.lead_id().removeprefix("L-000000000000") for _ in range(POOL_IDS)]
    assert "".join(parts) == drawn[0].upper()
    assert {len(part) for part in parts} == {RANDOM_BYTES * 2}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PING-" + "0" * 12, False),
        ("PING-" + "0" * 13, True),
        ("PING-" + "F" * 64, True),
        ("PING-" + "F" * 65, False),
        ("PING-" + "f" * 32, False),
        ("PING-" + "0" * 32 + "\n", False),
        ("L-" + "0" * 32, False),
        ("", False),
    ],
)
def test_is_ping_id_knows_the_form(text: str, expected: bool) -> None:
    """What cannot be a ping_id needs no look into the store."""
    assert is_ping_id(text) is expected
