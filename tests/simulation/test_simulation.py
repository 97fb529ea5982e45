"""Two nodes, one store, everything that can go wrong: no seed breaks a promise, and each known bug is found."""

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from tests.simulation.bugs import BUGS, bug
from tests.simulation.checker import check
from tests.simulation.plan import Plan
from tests.simulation.shrinking import shrink, story
from tests.simulation.world import play

SEEDS = 200
SEEDS_A_TEST = 20
ENOUGH_SEEDS = 60  # in which a bug must show itself
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_A_TEST))
def test_no_seed_breaks_a_promise(first: int) -> None:
    """A failure prints the shortest story that breaks the same promise; `make sim SEED=…` tells it again."""
    for seed in range(first, first + SEEDS_A_TEST):
        violations = check(play(Plan.draw(seed)))
        if violations:
            shortest = play(shrink(Plan.draw(seed), violations[0].promise))
            pytest.fail("\n".join([f"seed {seed}: {violations[0]}", *story(shortest)]), pytrace=False)


@pytest.mark.parametrize("name", BUGS)
def test_each_bug_is_found(name: str) -> None:
    """By the promise that it breaks."""
    promise = BUGS[name][0]
    with bug(name):
        found = (check(play(Plan.draw(seed))) for seed in range(ENOUGH_SEEDS))
        assert any(violation.promise == promise for violations in found for violation in violations)


def test_a_story_is_made_short() -> None:
    """What has nothing to do with the bug is left out: of some stories there is left what one act alone can show."""
    with bug("sent_again"):
        broken = (plan for plan in map(Plan.draw, range(ENOUGH_SEEDS)) if check(play(plan)))
        short = [shrink(plan, "sold_once") for plan in islice(broken, 4)]
        assert min(len(plan.acts) for plan in short) == 1
        assert max(len(plan.acts) for plan in short) <= 3
        for plan in short:
            assert any("sent" in line or "gets a post" in line for line in story(play(plan)))


def test_a_seed_tells_the_same_story_in_every_process() -> None:
    """Whatever its hashes and its memory look like."""
    stories = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "11"],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": str(hashing)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hashing in (1, 2)
    ]
    assert stories[0] == stories[1]
    assert "gets a post" in stories[0]
