"""What changed from one run to another, and one case over many runs, for the terminal and Markdown.

A comparison has `before` and `now` (runs with `name`, `time`, `commit`), `changes`
(`comparing.changes.Change`), the cases `only_before` and `only_now`, and `not_passed` in words.

The history of a case (`history_table`) has a line for each run, and a sparkline for each figure.
Its runs are objects with the texts `name`, `time`, `commit` and `machine`, and `case(key)`, the
case's record or None; the oldest comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from int8gate.reporting.fields import DASH, dig, metric, printable, size, text, times, with_unit
from int8gate.reporting.markdown import escape

if TYPE_CHECKING:
    from rich.table import Table


STYLES = {"worse": "red", "better": "green", "drifted": "yellow", "same": "dim"}
LISTED_FIRST = ("worse", "better", "drifted")
HEADER = ("case", "figure", "before", "now", "change", "verdict")

BARS = "▁▂▃▄▅▆▇█"
GAP = "·"  # not measured
ABOUT = ("run", "time", "commit", "machine", "verdict")


def comparison_table(comparison) -> Table:
    """A line for each figure that moved, what got worse first, for rich."""
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in HEADER:
        table.add_column(name, overflow="fold", no_wrap=name in ("before", "now", "change"))
    for change in moved(comparison):
        cells = (Text(printable(cell)) for cell in _cells(change))
        table.add_row(*cells, style=STYLES[change.verdict])
    return table


def markdown(comparison) -> str:
    """The comparison as Markdown for a pull request, ending in a newline."""
    parts = [f"**int8gate:** {escape(headline(comparison))}"]
    if changes := moved(comparison):
        lines = [HEADER, ["---"] * len(HEADER), *(map(escape, _cells(each)) for each in changes)]
        parts.append("\n".join(f"| {' | '.join(cells)} |" for cells in lines))
        told = [f"- {escape(each.summary)}" for each in changes if each.verdict in LISTED_FIRST[:2]]
        if told:
            parts.append("\n".join(told))
    parts += [escape(line) for line in [*not_passed(comparison), *_missing(comparison)]]
    return "\n\n".join(part for part in parts if part) + "\n"


def headline(comparison) -> str:
    """`0001 → 0002: 1 worse, 2 better, 1 drifted, 20 the same`, in figures."""
    counts = dict.fromkeys((*LISTED_FIRST, "same"), 0)
    for change in comparison.changes:
        counts[change.verdict] += 1
    said = [f"{counts[verdict]} {verdict}" for verdict in LISTED_FIRST if counts[verdict]]
    same = f"{counts['same']} the same"
    return f"{_name(comparison.before)} → {_name(comparison.now)}: {', '.join([*said, same])}"


def remarks(comparison) -> list[str]:
    """Sentences below the table: how better and worse figures were found, and what is missing."""
    told = [each.summary for each in moved(comparison) if each.verdict in LISTED_FIRST[:2]]
    return [printable(line) for line in [*told, *_missing(comparison)]]


def moved(comparison) -> list:
    """The changes that are not the same: worse ones first, then better, then drifted."""
    changes = [change for change in comparison.changes if change.verdict in LISTED_FIRST]
    return sorted(changes, key=lambda change: LISTED_FIRST.index(change.verdict))


def _cells(change) -> list[str]:
    figure = f"{change.figure} {change.target}" if change.target else change.figure
    values = [_value(value, change) for value in (change.before, change.now)]
    return [change.case, figure, *values, _difference(change), change.verdict]


def _value(value: float | None, change) -> str:
    words = {"B": size, "ms": lambda each: with_unit(each, "ms"), "x": times}
    return words.get(change.unit, lambda each: metric(each, change.unit))(value)


def _difference(change) -> str:
    """`+5.00%`, or the difference in the metric's unit."""
    if change.now is None:
        return DASH
    difference = change.now - change.before
    if change.unit in ("B", "ms", "x") and change.before:
        return f"{difference / change.before:+.2%}"
    return f"{difference:+.2f} dB" if change.unit == "dB" else f"{difference:+.4f}"


def not_passed(comparison) -> list[str]:
    """The cases that did not pass now, with why, a line each."""
    name = _name(comparison.now)
    return [printable(f"Not passed in {name}: {said}") for said in comparison.not_passed]


def _missing(comparison) -> list[str]:
    runs = (comparison.before, comparison.only_before), (comparison.now, comparison.only_now)
    return [f"Only in {_name(run)}: {', '.join(cases)}." for run, cases in runs if cases]


def _name(run) -> str:
    return f"{run.name} ({run.commit})" if run.commit else run.name


@dataclass(frozen=True)
class Figure:
    """A column: its value in a record (None: not measured), and how it reads."""

    header: str
    of: Callable[[dict], float | None]
    words: Callable[[float | None], str]


def _of_generation(header: str, step: str) -> Figure:
    def speedup(record: dict) -> float | None:
        return dig(record, "generation", step, "speedup", "value")

    return Figure(header, speedup, times)


GENERATION = (  # of language models alone: ratios, as of the host's latency
    _of_generation("first token, measured", "first_token_ms"),
    _of_generation("decode, measured", "tokens_per_s"),
)


def history_table(case: str, runs: Sequence) -> Table:
    """The runs that have the case as a table for rich, sparklines in the last line."""
    from rich.table import Table
    from rich.text import Text

    records = [(run, record) for run in runs if (record := run.case(case))]
    figures = figures_of([record for _, record in records])
    table = Table(title=Text(printable(case)), title_justify="left")
    for header in ABOUT:
        table.add_column(header, overflow="fold")
    for figure in figures:
        table.add_column(Text(printable(figure.header)), justify="right")
    for run, record in records:
        about = (run.name, _minute(run.time), run.commit, run.machine, text(record.get("verdict")))
        cells = [figure.words(figure.of(record)) for figure in figures]
        table.add_row(*(Text(printable(cell)) for cell in (*about, *cells)))
    lines = [sparkline([figure.of(record) for _, record in records]) for figure in figures]
    table.add_section()
    table.add_row("over time", *[""] * (len(ABOUT) - 1), *lines)
    return table


def figures_of(records: list[dict]) -> list[Figure]:
    """The columns: score, bytes, speed on the host, and latency on each NPU of the records."""
    targets = sorted({entry["target"] for record in records for entry in record.get("npu") or []})
    names = dict.fromkeys(dig(record, "accuracy", "metric") for record in records)
    units = dict.fromkeys(dig(record, "accuracy", "unit") for record in records)
    unit = "dB" if "dB" in units else None
    return [
        Figure(
            " or ".join(filter(None, names)) or "accuracy",
            lambda record: dig(record, "accuracy", "quantized"),
            lambda value: metric(value, unit),
        ),
        Figure("size", lambda record: dig(record, "size_bytes", "quantized"), size),
        Figure("cpu, measured", lambda record: dig(record, "cpu", "speedup"), times),
        *(figure for figure in GENERATION if any(figure.of(record) for record in records)),
        *(_latency(target) for target in targets),
    ]


def _latency(target: str) -> Figure:
    def latency(record: dict) -> float | None:
        entries = {entry["target"]: entry for entry in record.get("npu") or []}
        return dig(entries.get(target), "latency_ms")

    return Figure(f"{target}, modelled", latency, lambda value: with_unit(value, "ms"))


def _minute(time: str) -> str:
    """`2026-03-02 09:14` of an ISO time."""
    return time[:16].replace("T", " ") or DASH


def sparkline(values: Sequence[float | None]) -> str:
    """Bars from the least to the largest value; all equal are of middle height."""
    known = [value for value in values if value is not None]
    if not known:
        return GAP * len(values)
    low, spread = min(known), max(known) - min(known)

    def bar(value: float | None) -> str:
        if value is None:
            return GAP
        share = (value - low) / spread if spread else 0.5
        return BARS[min(int(share * len(BARS)), len(BARS) - 1)]

    return "".join(bar(value) for value in values)
