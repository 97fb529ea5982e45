"""`python -m bench`: run the groups of measurements one after the other and print what came out."""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from bench.child import BenchError
from bench.groups import GROUPS
from bench.lab import Lab
from bench.machine import TICKS_PER_S, Cores, choose_cores, describe
from bench.measure import Plan, Results
from bench.report import render
from bench.targets import judge
from bench.tools import Tools, find_tools, python_with

LIMIT_S = 1_560
QUICK_LIMIT_S = 420
ROWS = 1_000_000
QUICK_ROWS = 100_000
INTERRUPTED = 130  # what a shell says of Ctrl-C
FILLED_PER_S = 20_000  # at least, so that filling does not cost the measurements behind it


def main() -> int:
    """Read the options, measure, report; 1 when something could not be measured."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    cores = choose_cores()
    groups = options.only or list(GROUPS)
    tools = find_tools(groups)
    for note in tools.notes:
        print(f"bench: {note}", file=sys.stderr)
    drawer = python_with("plots") if options.plots else None
    started = time.monotonic()
    plan = Plan(
        rounds=1 if options.quick else 3,
        seconds=1.0 if options.quick else 3.0,
        rows=options.rows or (QUICK_ROWS if options.quick else ROWS),
        started=started,
        until=started + (QUICK_LIMIT_S if options.quick else LIMIT_S) + (options.rows or 0) / FILLED_PER_S,
    )
    results = Results(notes=list(tools.notes))
    busy_before_s = _machine_busy_seconds() - _own_seconds()
    is_interrupted = not _run_groups(groups, cores, tools, plan, results)
    elapsed_s = time.monotonic() - started
    foreign = (_machine_busy_seconds() - _own_seconds() - busy_before_s) / elapsed_s
    heading = _heading(cores, plan, elapsed_s, foreign)
    print(render(results, heading, is_whole=not options.only), end="")
    targets = [asdict(verdict) for verdict in judge(results)]
    document = {"heading": heading, "foreign_cores": foreign, **results.as_json(), "targets": targets}
    found = json.dumps(document, indent=2) + "\n"
    if options.json:
        options.json.write_text(found)
    if drawer:
        subprocess.run([drawer, "bench/plots.py", str(options.plots)], input=found, text=True, check=True)
    return INTERRUPTED if is_interrupted else 0 if results.is_complete else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure the exchange on this machine.")
    parser.add_argument("--quick", action="store_true", help="one round of a second: a look, not a figure")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    parser.add_argument(
        "--rows", type=int, metavar="N", help="pings in the fullest store; 10000000 takes 14 GB of disk"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds into a file")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the curves into SVG files")
    options = parser.parse_args()
    # What would fail after twenty minutes fails now.
    if options.rows is not None and options.rows < 1:
        parser.error(f"argument --rows: expected 1 or more: {options.rows}")
    if options.json and (options.json.is_dir() or not options.json.parent.is_dir()):
        parser.error(f"argument --json: expected a file in a folder that exists: {options.json}")
    if options.plots and options.plots.exists() and not options.plots.is_dir():
        parser.error(f"argument --plots: expected a folder: {options.plots}")
    return options


def _run_groups(names: list[str], cores: Cores, tools: Tools, plan: Plan, results: Results) -> bool:
    """Measure them; False once the user has had enough, who still gets what was found before."""
    for name in names:
        if plan.is_over():
            results.fail(f"{name}: not measured, out of time")
            continue
        plan.say(f"{name}: starting servers")
        try:
            results.add(_run_group(name, cores, tools, plan))
        except KeyboardInterrupt:
            results.fail(f"interrupted in {name}")
            return False
    return True


def _run_group(name: str, cores: Cores, tools: Tools, plan: Plan) -> Results:
    found = Results()
    try:
        with Lab(cores, tools) as lab:
            GROUPS[name](lab, plan, found)
            lab.check_answers()
    except BenchError as error:
        plan.say(f"{name}: {error}")
        found = Results(notes=found.notes)
        found.fail(f"{name}: {error}")
    return found


def _heading(cores: Cores, plan: Plan, elapsed_s: float, foreign: float) -> list[str]:
    place = f"server on core {cores.server}, load and buyers on core {cores.load}"
    if cores.is_single:
        place = "one core only: server, load and buyers share it, so calls/s are low and CPU µs/call tell more"
    rounds = f"medians of {plan.rounds} interleaved rounds" if plan.rounds > 1 else "one round"
    rounds += f" of {plan.seconds:g} s"
    return [
        f"Machine: {describe()}",
        f"Run: {place}; {rounds}, 50 calls in flight; "
        f"{elapsed_s:.0f} s in all. Other processes used {foreign:.2f} cores meanwhile.",
    ]


def _machine_busy_seconds() -> float:
    """CPU time of everything on this machine since it started, waiting for the disk left out."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + softirq) / TICKS_PER_S


def _own_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parents[1])
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BenchError as error:
        sys.exit(f"bench: {error}")
