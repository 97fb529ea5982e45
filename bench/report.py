"""The report: two tables in Markdown, what was measured and what was to be reached."""

from collections.abc import Sequence

from bench.load import PERCENTILES
from bench.measure import Results
from bench.targets import judge

Row = Sequence[str]
MEASURED = ("measured", "calls/s", "CPU µs/call", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "RSS MiB", "cores busy")


def render(results: Results, heading: Sequence[str], *, is_whole: bool) -> str:
    """Both tables, under lines about the machine and above notes. A whole run names what it could not measure, too."""
    parts = [*heading, "", _table(_measured(results), "lrrrrrrrr"), "", _table(_judged(results, is_whole), "lrrl")]
    notes = [f"- {note}" for note in results.notes]
    return "\n".join([*parts, "", *notes]).rstrip() + "\n"


def _measured(results: Results) -> list[Row]:
    rows: list[Row] = [MEASURED]
    for name, samples in results.samples.items():
        if not samples:
            continue
        rows.append(
            (
                results.labels[name],
                f"{results.median(name, 'calls_per_s'):,.0f}",
                f"{results.median(name, 'cpu_us'):,.0f}",
                *(_milliseconds(results.median(name, f"{percentile}_ms")) for percentile in PERCENTILES),
                f"{results.median(name, 'resident_mib'):.0f}",
                f"{results.median(name, 'busy'):.2f}",
            )
        )
    return rows


def _judged(results: Results, is_whole: bool) -> list[Row]:
    rows: list[Row] = [("ratio (median of rounds, lowest–highest)", "target", "now", "")]
    judged = (row for row in judge(results) if is_whole or row.is_measured)
    return rows + [(row.label, row.target, row.found, row.verdict) for row in judged]


def _milliseconds(value: float) -> str:
    return f"{value:.1f}" if value else "-"


def _table(rows: Sequence[Row], alignment: str) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(alignment))]
    rules = ["-" * (width - 1) + (":" if side == "r" else "-") for width, side in zip(widths, alignment, strict=True)]
    lines = [rows[0], rules, *rows[1:]]
    return "\n".join(f"| {' | '.join(_cells(line, widths, alignment))} |" for line in lines)


def _cells(line: Row, widths: Sequence[int], alignment: str) -> list[str]:
    columns = zip(line, widths, alignment, strict=True)
    return [text.rjust(width) if side == "r" else text.ljust(width) for text, width, side in columns]
