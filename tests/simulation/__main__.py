"""`python -m tests.simulation SEED`: replay one seed and tell what happened, or try many and tell which are bad."""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from time import monotonic

import orjson

from tests.simulation.bugs import BUGS, bug
from tests.simulation.checker import Violation, check
from tests.simulation.plan import Plan
from tests.simulation.shrinking import shrink, story
from tests.simulation.world import play

TELL_EVERY_S = 5


def main() -> int:
    """0: no promise was broken. 1: one was."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seeds", help="one seed, or a range such as 0:10000")
    parser.add_argument(
        "--bug", default="", choices=sorted(BUGS), metavar="NAME", help="put a bug in: " + ", ".join(BUGS)
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes that share a range")
    parser.add_argument("--json", action="store_true", help="tell as JSON")
    options = parser.parse_args()
    first, is_range, end = options.seeds.partition(":")
    if is_range:
        return try_all(range(int(first), int(end)), options)
    return replay(int(first), options)


def replay(seed: int, options: argparse.Namespace) -> int:
    """The whole story of a seed; where a promise is broken, the shortest one that breaks it too."""
    with bug(options.bug):
        outcome = play(Plan.draw(seed))
        violations = check(outcome)
        plan = shrink(outcome.plan, violations[0].promise) if violations else outcome.plan
        told = play(plan)
    if options.json:
        print(
            orjson.dumps(
                {"seed": seed, "violations": [str(each) for each in violations], "trace": story(told)}
            ).decode()
        )
    else:
        print("\n".join(story(told)))
        print(f"seed {seed}: " + ("; ".join(map(str, violations)) or "no promise broken"))
    return 1 if violations else 0


def violations_of(seed: int, name: str) -> list[Violation]:
    """What a seed breaks."""
    with bug(name):
        return check(play(Plan.draw(seed)))


def try_all(seeds: range, options: argparse.Namespace) -> int:
    """Try a range of seeds, with a line now and then."""
    began = told = monotonic()
    bad: dict[int, list[str]] = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        results = pool.map(violations_of, seeds, [options.bug] * len(seeds), chunksize=8)
        for count, (seed, violations) in enumerate(zip(seeds, results, strict=True), 1):
            if violations:
                bad[seed] = [str(each) for each in violations]
                print(f"seed {seed}: {'; '.join(bad[seed])}", file=sys.stderr)
            if monotonic() - told > TELL_EVERY_S:
                told = monotonic()
                print(f"simulation: {count} of {len(seeds)} seeds, {len(bad)} bad", file=sys.stderr)
    took_s = round(monotonic() - began, 1)
    if options.json:
        print(
            orjson.dumps(
                {"seeds": len(seeds), "bad": {str(seed): bad[seed] for seed in bad}, "took_s": took_s}
            ).decode()
        )
    else:
        print(f"simulation: {len(seeds)} seeds in {took_s} s, {len(bad)} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
