"""The terminal summary: a line for each case, in columns that line up.

Where the terminal is narrow whole columns go, the least needed first, and a line says which.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from int8gate.reporting import calibration
from int8gate.reporting.conversion import conversions
from int8gate.reporting.fields import DASH, printable
from int8gate.reporting.rows import CaseRow, rows_of
from int8gate.reporting.verdicts import headline, setups

Style = dict[str, bool]

STYLES: dict[str, Style] = {
    "passed": {"green": True},
    "partly": {"cyan": True},
    "failed": {"red": True},
    "error": {"red": True},
    "inconclusive": {"yellow": True},
    "invalid": {"yellow": True},
    "not judged": {"yellow": True},
    "unfinished": {"yellow": True},
    "unsupported": {"cyan": True},
}
TONES: dict[str, Style] = {
    "good": {"green": True, "bold": True},
    "warn": {"yellow": True, "bold": True},
    "bad": {"red": True, "bold": True},
}

EXPLANATION = (
    "drop: worse than float, in units of the metric; ≤95%: its upper bound; allow: the tolerance; "
    "int: share of integer operators; size, cpu: float over quantized; npu: CPU over NPU."
)


@dataclass(frozen=True)
class Column:
    """A header over cells; the lower `expendable` the sooner it is kept, 0 always."""

    header: str
    cells: list[str]
    expendable: int
    left: bool = False

    @property
    def width(self) -> int:
        return max(len(cell) for cell in [self.header, *self.cells])

    def lines(self) -> list[str]:
        justify = str.ljust if self.left else str.rjust
        return [justify(cell, self.width) for cell in [self.header, *self.cells]]


def summary_lines(results: dict, width: int) -> list[tuple[str, Style]]:
    """Lines with pytest's markup keywords: the answer, header, cases, how speeds came about.

    `width` is the terminal's in columns. Case ids are never cut, as people type them after `-k`,
    so a line exceeds `width` where id and verdict alone do.
    """
    rows = rows_of(results)
    answer = headline(rows, results)
    lines = _wrapped(printable(answer.line), width, TONES[answer.tone])
    if rows:
        (header, *cases), left_out = _fit(_columns(rows), width)
        lines.append((header, {"bold": True}))
        lines += [
            (line, STYLES.get(row.verdict, {})) for line, row in zip(cases, rows, strict=True)
        ]
        if left_out:
            lines += _wrapped(f"Too narrow for: {', '.join(left_out)}.", width, {})
        lines += _wrapped(EXPLANATION, width, {})
    unconverted = [
        f"{each.model} ({', '.join(each.failed)})" for each in conversions(rows) if each.failed
    ]
    if unconverted:
        said = f"Not converted: {'; '.join(unconverted)}."
        lines += _wrapped(printable(said), width, STYLES["failed"])
    for said in calibration.summaries({row.id: row.record for row in rows}):
        lines += _wrapped(printable(said), width, STYLES["inconclusive"])
    for setup in setups(results):
        lines += _wrapped(printable(setup), width, {})
    return lines


def resuming_lines(results: dict, width: int, caches: bool) -> list[tuple[str, Style]]:
    """Of a run that was cut short: what ended, what did not, and how to go on.

    `caches`: finished stages are kept from one run to the next.
    """
    rows = rows_of(results)
    begun = [row for row in rows if any(row.gates.values())]
    cut = [row for row in begun if row.record.get("pending")]
    ended = [row.id for row in begun if not row.record.get("pending")]
    waiting = [row.id for row in rows if row not in begun]
    parts = [f"ended: {', '.join(ended) or 'no case'}"]
    parts += [f"not finished: {row.id} ({', '.join(row.record['pending'])} to come)" for row in cut]
    parts += [f"not begun: {', '.join(waiting)}"] if waiting else []
    kept = (
        "finished stages are in the cache, and timings alone are measured anew"
        if caches
        else "with --artifact-cache=none all of it is done again"
    )
    command = (results.get("environment") or {}).get("command") or "pytest"
    said = [f"Interrupted; {'; '.join(parts)}.", f"Start the same again, {kept}: {command}"]
    return [line for each in said for line in _wrapped(printable(each), width, {"bold": True})]


def _columns(rows: list[CaseRow]) -> list[Column]:
    columns = [
        Column("case", [row.id for row in rows], 0, left=True),
        Column("verdict", [row.verdict for row in rows], 0, left=True),
        Column("metric", [row.metric for row in rows], 8, left=True),
        Column("float", [row.float for row in rows], 3),
        Column("quant", [row.quantized for row in rows], 4),
        Column("drop", [row.drop for row in rows], 2),
        Column("≤95%", [row.drop_upper for row in rows], 1),
        Column("allow", [row.tolerance for row in rows], 1),
        Column("input", [row.input_dtype for row in rows], 6, left=True),
        Column("int", [row.integer for row in rows], 7),
        Column("size", [row.size for row in rows], 6),
        Column("cpu", [row.cpu for row in rows], 3),
    ]
    columns += _npu_columns(rows)
    return [_without_controls(column) for column in columns]


def _npu_columns(rows: list[CaseRow]) -> list[Column]:
    targets = sorted({figure.target for row in rows for figure in row.npu})
    columns = []
    for number, target in enumerate(targets):
        label = "npu" if len(targets) == 1 else target
        by_case = [{figure.target: figure for figure in row.npu}.get(target) for row in rows]
        latencies = [figure.latency if figure else DASH for figure in by_case]
        speedups = [figure.speedup if figure else DASH for figure in by_case]
        columns.append(Column(f"{label} ms", latencies, 9 if number else 4))
        columns.append(Column(label, speedups, 9 if number else 3))
    return columns


def _fit(columns: list[Column], width: int) -> tuple[list[str], list[str]]:
    """Lines of the columns that fit, and the headers of those left out.

    Two spaces between columns where everything fits so, else one.
    """
    if _total(columns, gap=2) <= width:
        return _joined(columns, gap=2), []
    kept: list[Column] = []
    for column in sorted(columns, key=lambda column: column.expendable):
        if column.expendable and _total([*kept, column], gap=1) > width:
            break  # a less needed one that would fit is no reason to show a drop without its float
        kept.append(column)
    left_out = [column.header for column in columns if column not in kept]
    return _joined([column for column in columns if column in kept], gap=1), left_out


def _total(columns: list[Column], gap: int) -> int:
    return sum(column.width + gap for column in columns) - gap


def _joined(columns: list[Column], gap: int) -> list[str]:
    lines = zip(*(column.lines() for column in columns), strict=True)
    return [(" " * gap).join(cells).rstrip() for cells in lines]


def _without_controls(column: Column) -> Column:
    cells = [printable(cell) for cell in column.cells]
    return Column(printable(column.header), cells, column.expendable, column.left)


def _wrapped(line: str, width: int, style: Style) -> list[tuple[str, Style]]:
    parts = textwrap.wrap(line, max(width, 20), subsequent_indent="    ")
    return [(part, style) for part in parts]
