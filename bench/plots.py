"""Pictures of what a run found: `.bench/plots/bin/python bench/plots.py FOLDER <RESULTS.json`.

RESULTS.json is what `--json` writes. Runs in an environment of its own (bench/requirements/plots.txt), so it knows
nothing of ours. A point is the median of the rounds, its bar goes from the lowest to the highest.
"""

import argparse
import json
import re
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

STYLE = {
    "svg.fonttype": "none",  # text stays text, and the files small
    "svg.hashsalt": "lexchange",  # the same results make the same file
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#dddddd",
    "legend.frameon": False,
}
INCHES = (7, 4)
Samples = dict[str, list[dict[str, float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The samples whose names match, in the order of the number in their names; what is drawn of each."""

    label: str
    names: str
    attribute: str = "calls_per_s"
    color: str
    dash: str = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One picture. `base` is a subject whose figure is drawn as a level line."""

    file: str
    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    base: str = ""
    is_log: bool = False


BLUE, GREEN, ORANGE, GREY = "#1f5fa8", "#2a8c4a", "#d9771e", "#777777"
PLOTS = (
    Plot(
        file="latency",
        title="How long a ping takes: 5 buyers of 50 ms, open loop",
        x="pings that come, in % of the most that can be served",
        y="ms",
        base="buyer_50ms",
        lines=(
            Line(label="gRPC, p99", names=r"load_(\d+)_grpc", attribute="p99_ms", color=BLUE),
            Line(label="gRPC, p50", names=r"load_(\d+)_grpc", attribute="p50_ms", color=BLUE, dash="--"),
            Line(label="REST, p99", names=r"load_(\d+)_rest", attribute="p99_ms", color=GREEN),
            Line(label="REST, p50", names=r"load_(\d+)_rest", attribute="p50_ms", color=GREEN, dash="--"),
        ),
    ),
    Plot(
        file="buyers",
        title="Pings a second by the number of buyers asked, one core",
        x="buyers asked (0: test mode)",
        y="pings a second",
        is_log=True,
        lines=(
            Line(label="gRPC, turbo", names=r"buyers_(\d+)_turbo", color=BLUE),
            Line(label="gRPC, grpc.aio", names=r"buyers_(\d+)_aio", color=BLUE, dash="--"),
            Line(label="REST", names=r"buyers_(\d+)_rest", color=GREEN),
            Line(label="REST over a channel", names=r"buyers_(\d+)_channel", color=GREEN, dash="--"),
        ),
    ),
    Plot(
        file="listed",
        title="Pings a second by the number of buyers listed, one of them eligible",
        x="buyers of the campaign",
        y="pings a second",
        lines=(Line(label="gRPC, turbo", names=r"listed_(\d+)", color=BLUE),),
    ),
    Plot(
        file="campaigns",
        title="Pings a second by the number of campaigns, 1 buyer",
        x="campaigns",
        y="pings a second",
        lines=(Line(label="gRPC, turbo", names=r"campaigns_(\d+)", color=BLUE),),
    ),
    Plot(
        file="stored",
        title="Calls a second by the number of pings stored, 1 buyer",
        x="pings stored",
        y="calls a second",
        lines=(
            Line(label="ping", names=r"stored_(\d+)_ping", color=BLUE),
            Line(label="post to the winner", names=r"stored_(\d+)_post", color=ORANGE),
        ),
    ),
    Plot(
        file="workers",
        title="Test-mode pings a second by the number of workers",
        x="workers",
        y="pings a second",
        lines=(
            Line(label="as measured", names=r"workers_(\d+)", color=BLUE),
            Line(
                label="if the load had cores of its own",
                names=r"workers_(\d+)",
                attribute="scaled_per_s",
                color=BLUE,
                dash="--",
            ),
        ),
    ),
)


def draw(plot: Plot, samples: Samples, folder: Path) -> bool:
    """Write FOLDER/FILE.svg; False when nothing of it was measured."""
    figure = Figure(figsize=INCHES, layout="constrained")
    axes = figure.subplots()
    drawn = [_draw_line(axes, line, samples) for line in plot.lines]
    if not any(drawn):
        return False
    if plot.base in samples:
        level = statistics.median(sample["p99_ms"] for sample in samples[plot.base])
        axes.axhline(level, color=GREY, linewidth=1, label="the buyer alone, p99")
    axes.set(title=plot.title, xlabel=plot.x, ylabel=plot.y)
    if plot.is_log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.legend()
    figure.savefig(folder / f"{plot.file}.svg", metadata={"Date": None})
    return True


def _draw_line(axes: Axes, line: Line, samples: Samples) -> bool:
    matches = (re.fullmatch(line.names, name) for name in samples)
    points = sorted((int(match[1]), samples[match[0]]) for match in matches if match and samples[match[0]])
    if not points:
        return False
    rounds = [[sample[line.attribute] for sample in found] for _, found in points]
    middles = [statistics.median(each) for each in rounds]
    reach = (
        [middle - min(each) for middle, each in zip(middles, rounds, strict=True)],
        [max(each) - middle for middle, each in zip(middles, rounds, strict=True)],
    )
    # Evenly spaced, whatever the numbers are: they grow tenfold.
    places = [f"{number:,}" for number, _ in points]
    axes.errorbar(
        places, middles, reach, label=line.label, color=line.color, linestyle=line.dash, marker="o", capsize=3
    )
    return True


def main() -> None:
    """Draw whatever was measured."""
    parser = argparse.ArgumentParser(prog="plots", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    samples: Samples = json.load(sys.stdin)["samples"]
    with matplotlib.rc_context(STYLE):
        drawn = [plot.file for plot in PLOTS if draw(plot, samples, folder)]
    print(f"{folder}: {', '.join(drawn) or 'nothing to draw'}")


if __name__ == "__main__":
    main()
