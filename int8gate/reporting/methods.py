"""The methods of a model (`analysis.methods`) as a table that can be pasted, and as a page.

The table's lines are Markdown's, so that a ticket shows it as one. `answer_lines` tell in full
which answers a recipe changed (`analysis.full_accuracy`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from int8gate.reporting.fields import DASH, metric, percent, printable, size, with_unit
from int8gate.reporting.html import template
from int8gate.reporting.markdown import escape
from int8gate.reporting.plots import is_reference, marks, pictures
from int8gate.reporting.rows import rows_of
from int8gate.targets.registry import HOST
from int8gate.validation.verdict import case_fails

if TYPE_CHECKING:
    from rich.table import Table

    from int8gate.analysis.full_accuracy import FullAccuracy
    from int8gate.analysis.methods import Method, Methods

MEANING = (
    "rank: one for all that cannot be told from the best of it at 95%",
    "score and drop: with one-sided 95% bounds",
    "front: passed, and no other that passed (nor float) is better in both accuracy and that cost; "
    "~ by a difference of accuracy that may be chance",
    "prepare: seconds from export to artifact, as far as they were not in the cache",
)
SHOWN = 20  # flipped samples, and classes


def header(methods: Methods) -> list[str]:
    """The names of the table's columns."""
    timed = [f"{target}, {methods.kinds[target]}" for target in methods.targets]
    name = methods.metric or "score"
    return ["rank", "recipe", "verdict", name, "drop", "SQNR", "size", *timed, "prepare", "front"]


def cells(methods: Methods) -> list[list[str]]:
    """A line of texts for each method."""
    return [_line(methods, each) for each in methods.methods]


def _line(methods: Methods, method: Method) -> list[str]:
    unit = methods.unit
    low, high = method.drop_interval
    fronts = [f"{'~' if which in method.by_chance else ''}{which}" for which in method.fronts]
    return [
        DASH if method.rank is None else str(method.rank),
        method.recipe,
        method.state,
        _with_bounds(method.score, method.interval or (None, None), unit),
        _with_bounds(method.drop, (low, high), unit),
        with_unit(method.figures.sqnr_db, "dB"),
        size(method.size),
        *(_on_target(method, target) for target in methods.targets),
        with_unit(method.preparation_s, "s"),
        ", ".join(fronts) or DASH,
    ]


def _with_bounds(value: float | None, bounds: tuple[float | None, float | None], unit: str) -> str:
    """`0.9123 (0.9001..0.9200)`; of a single bound `(≤ 0.0100)` or `(≥ 0.0100)`."""
    low, high = (None if each is None else metric(each, unit) for each in bounds)
    if low and high:
        return f"{metric(value, unit)} ({low}..{high})"
    one = f" (≤ {high})" if high else f" (≥ {low})" if low else ""
    return metric(value, unit) + one


def _on_target(method: Method, target: str) -> str:
    """`0.0641 ms, 98.3% on it`."""
    coverage = method.coverage(target)
    share = "" if coverage is None else f", {percent(coverage)} on it"
    return with_unit(method.cost(target), "ms") + share


def table(methods: Methods) -> Table:
    """For rich: Markdown's lines."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.MARKDOWN, pad_edge=True)
    for name in header(methods):
        shown.add_column(Text(_in_a_cell(name)), no_wrap=True, overflow="ignore")
    for line in cells(methods):
        shown.add_row(*(Text(_in_a_cell(cell)) for cell in line))
    return shown


def _in_a_cell(text: str) -> str:
    return printable(text).replace("|", r"\|")


def recommendations(methods: Methods) -> list[str]:
    """A sentence for each target."""
    return [
        printable(f"{each.target}: {each.recipe or 'none'}, {each.reason}")
        for each in methods.recommended
    ]


def notes(methods: Methods) -> list[str]:
    """What the columns mean, and what to know of the figures."""
    return [*MEANING, *map(printable, methods.notes)]


def page(methods: Methods) -> str:
    """The same as HTML, one file without scripts, with the charts of accuracy against size and
    latency; the same methods give the same text.
    """
    rows = rows_of({"cases": [_charted(methods, each) for each in methods.methods]})
    looks = marks(rows)
    drawn = [picture for picture in pictures(rows, looks) if picture.svg]
    return template("methods.html.j2").render(
        methods=methods,
        header=header(methods),
        lines=[(cells, looks.get(cells[1])) for cells in cells(methods)],
        fails={each.recipe: case_fails(each.record) for each in methods.methods},
        pictures=drawn,
        drawn=[row.recipe for row in rows if not is_reference(row)],
        looks=looks,
        notes=notes(methods),
    )


def _charted(methods: Methods, method: Method) -> dict:
    """The record with the bounds that the table shows, and the targets that were asked for."""
    low, high = method.drop_interval
    record = dict(method.record)
    if record.get("accuracy"):
        record["accuracy"] = {**record["accuracy"], "drop_lower_95": low, "drop_upper_95": high}
    entries = record.get("npu") or []
    record["npu"] = [entry for entry in entries if entry["target"] in methods.targets]
    if method.cost(HOST) is not None and HOST not in methods.targets:
        record["cpu"] = None
    return record


def answer_lines(told: FullAccuracy, recipe: str) -> list[str]:
    """What a recipe changed of float's answers, as lines of Markdown."""
    change = told.change
    at_least = ", which may be chance"
    if change.at_least is not None and not change.may_be_chance:
        at_least = f", at least {change.at_least:.4f} at 95%"
    moved = f"{'drops' if change.drop > 0 else 'gains'} {abs(change.drop):.4f}{at_least}"
    if not change.drop:
        moved = "is the same"
    lines = [f"{recipe} against float, {change.how}: {told.metric} {moved}."]
    if told.mcnemar:
        test = told.mcnemar
        lines.append(
            f"Right answers: {test.lost} sources lost some, {test.gained} gained some "
            f"(McNemar's exact test: p = {test.p_value:.2g})."
        )
    if told.calibration:
        of = told.calibration
        lines.append(
            f"Calibration error (ECE): {of.ece_before:.4f} → {of.ece_now:.4f}. Margin to the "
            f"second answer: {of.margin_before:.4f} → {of.margin_now:.4f}, {of.margin_change:+.4f} "
            f"({of.margin_lower_95:+.4f}..{of.margin_upper_95:+.4f})."
        )
    changed = sorted((each for each in told.classes if each.drop), key=lambda each: -each.drop)
    if told.classes:
        proved = sum(each.is_significant for each in told.classes)
        lines += [
            "",
            f"Classes: {len(changed)} of {len(told.classes)} changed, {proved} significantly "
            "(Holm's correction for all classes).",
        ]
        lines += _markdown(
            ("class", "samples", "float", recipe, "drop, 95% bounds", "p", "p, corrected"),
            (
                (
                    str(each.number),
                    str(each.samples),
                    metric(each.before),
                    metric(each.now),
                    _with_bounds(each.drop, (each.lower_95, each.upper_95), "fraction"),
                    f"{each.p_value:.2g}",
                    f"{each.p_corrected:.2g}{' *' if each.is_significant else ''}",
                )
                for each in changed[:SHOWN]
            ),
        )
        lines += _more(len(changed), "classes")
    if told.flips:
        lines += ["", f"Samples with another answer: {len(told.flips)} of {told.samples}."]
        lines += _markdown(
            ("sample", "label", "float, confidence", f"{recipe}, confidence", "what"),
            (
                (
                    str(each.sample),
                    str(each.label),
                    f"{each.before}, {each.confidence_before:.3f}",
                    f"{each.now}, {each.confidence_now:.3f}",
                    each.what,
                )
                for each in told.flips[:SHOWN]
            ),
        )
        lines += _more(len(told.flips), "samples")
    return lines + [f"Left out: {each}." for each in told.left_out]


def _markdown(names: Iterable[str], lines: Iterable[Iterable[str]]) -> list[str]:
    told = [list(map(escape, names)), *(list(map(escape, line)) for line in lines)]
    if len(told) == 1:
        return []
    told.insert(1, ["---"] * len(told[0]))
    return [f"| {' | '.join(each)} |" for each in told]


def _more(count: int, what: str) -> list[str]:
    return [f"and {count - SHOWN} more {what}"] if count > SHOWN else []
