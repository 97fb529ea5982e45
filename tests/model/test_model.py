"""The exchange and its model agree, whatever is called, whoever answers, wherever the process dies.

`MODEL_EXAMPLES=5000` is the long run: other examples each time, drawn from a seed that a failure names;
`MODEL_SEED` repeats it.
"""

import os
import secrets

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Exchanging
from tests.simulation.bugs import bug

LONG = int(os.environ.get("MODEL_EXAMPLES", "0"))
SEED = int(os.environ.get("MODEL_SEED", secrets.randbits(32)))
PROFILE = settings(
    max_examples=LONG or 100,
    stateful_step_count=30,
    deadline=None,
    derandomize=not LONG,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),  # an example is a whole process with its store
)
# The first counter-example will do: what it is has been known since the bug was put in.
HUNT = settings(
    PROFILE,
    max_examples=max(150, LONG),
    derandomize=True,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    print_blob=False,
)
FOUND_SOON = (
    "claim_after_send",
    "sweep_without_lease",
    "cap_not_returned",
    "cap_not_guarded",
    "answer_before_commit",
    "sent_again",
    "key_forgotten",
    "test_is_live",
)
FOUND_IN_THE_LONG_RUN = ("next_bidder_after_silence", "foreign_post", "expired_post", "hold_not_returned")


def test_exchange_does_what_the_model_says() -> None:
    """A failure prints the shortest program that shows it: paste it into `test_found.py`."""
    machine = seed(SEED)(Exchanging) if LONG else Exchanging
    if LONG:
        print(f"MODEL_SEED={SEED} MODEL_EXAMPLES={LONG}")
    run_state_machine_as_test(machine, settings=PROFILE)


@pytest.mark.parametrize("name", FOUND_SOON + (FOUND_IN_THE_LONG_RUN if LONG else ()))
def test_machine_finds_the_bug(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A machine that finds none of the known bugs would prove nothing by finding no other."""
    with bug(name), pytest.raises(AssertionError):
        run_state_machine_as_test(Exchanging, settings=HUNT)
    capsys.readouterr()  # the counter-example, which nobody needs
