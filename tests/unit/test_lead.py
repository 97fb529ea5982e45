import itertools

import pytest

from lexchange.answers import OUTCOMES
from lexchange.delivery import MEANINGS
from lexchange.lead import LEAD_TRANSITIONS, AttemptOutcome, LeadState
from lexchange.reasons import Kind
from lexchange.storage import units
from tests.storage.examples import a_lead

C, S = LeadState.CLAIMED, LeadState.SENDING
D, R, F, U = LeadState.DELIVERED, LeadState.REJECTED, LeadState.FAILED, LeadState.UNKNOWN
LEGAL = {(C, S), (C, R), (C, F), (S, S), (S, D), (S, R), (S, F), (S, U), (U, U), (U, D), (U, R), (U, F)}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(LeadState, repeat=2)))
def test_lead_moves_only_where_it_may(before: LeadState, after: LeadState) -> None:
    """Every pair of states is either allowed or not; what has ended stays ended; a word may end unknown."""
    assert (after in LEAD_TRANSITIONS[before]) is ((before, after) in LEGAL)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(LeadState, [D, R, F, U])))
def test_store_refuses_to_write_a_move_that_is_none(before: LeadState, after: LeadState) -> None:
    """An illegal move does not even become a statement."""
    if (before, after) in LEGAL:
        assert units.end_lead(a_lead(state=after), before=[before], releases=())
    else:
        with pytest.raises(AssertionError, match="no lead goes"):
            units.end_lead(a_lead(state=after), before=[before], releases=())


def test_every_attempt_that_ends_means_a_legal_end() -> None:
    """Whatever a delivery comes to, the lead may go there from `sending`; only what is definite is no `unknown`."""
    assert set(MEANINGS) == set(AttemptOutcome) - {AttemptOutcome.SENDING}
    assert {meaning.state for meaning in MEANINGS.values()} == {D, R, F, U}
    for meaning in MEANINGS.values():
        assert (S, meaning.state) in LEGAL
        assert (meaning.reason is None) is (meaning.state is D)
        if meaning.reason:
            assert meaning.reason.kind is (Kind.REJECTED if meaning.state is R else Kind.FAILED)


def test_every_state_has_its_word_for_a_second_post() -> None:
    """A source who posts again hears what became of the first, whatever state it is in."""
    assert set(OUTCOMES) == set(LeadState)
