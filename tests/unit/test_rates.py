import pytest

from lexchange.rates import RateWindow

SECOND_MS = 1_764_000_000_000


@pytest.mark.parametrize(("asked", "admitted"), [(1, 1), (2, 2), (3, 2)])
def test_owner_is_admitted_up_to_his_limit(asked: int, admitted: int) -> None:
    """With 2 a second, the third is one too many."""
    window = RateWindow()
    assert sum(window.admit("acme", 2, SECOND_MS + each) for each in range(asked)) == admitted


@pytest.mark.parametrize(("later_ms", "is_admitted"), [(999, False), (1_000, True)])
def test_limit_starts_again_with_the_next_second(later_ms: int, is_admitted: bool) -> None:
    """Windows are whole seconds of the clock."""
    window = RateWindow()
    assert window.admit("acme", 1, SECOND_MS)
    assert window.admit("acme", 1, SECOND_MS + later_ms) is is_admitted


def test_owners_do_not_share_a_window() -> None:
    """One buyer's pings are not another's."""
    window = RateWindow()
    assert window.admit("acme", 1, SECOND_MS)
    assert window.admit("beta", 1, SECOND_MS)


def test_no_limit_admits_everything() -> None:
    """Who has no limit is never counted."""
    window = RateWindow()
    assert all(window.admit("acme", None, SECOND_MS) for _ in range(1_000))
