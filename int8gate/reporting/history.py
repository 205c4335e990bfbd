"""A case over runs: a line for each run, and a sparkline for each figure.

Runs are objects with the texts `name`, `time`, `commit` and `machine`, and `case(key)`, the case's
record or None; the oldest comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from int8gate.reporting.fields import DASH, dig, metric, printable, size, text, times, with_unit

if TYPE_CHECKING:
    from rich.table import Table

BARS = "▁▂▃▄▅▆▇█"
GAP = "·"  # not measured
ABOUT = ("run", "time", "commit", "machine", "verdict")


@dataclass(frozen=True)
class Figure:
    """A column: its value in a record (None: not measured), and how it reads."""

    header: str
    of: Callable[[dict], float | None]
    words: Callable[[float | None], str]


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
