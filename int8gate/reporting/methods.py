"""The methods of a model (`analysis.methods`) as a table that can be pasted, and as a page.

The table's lines are Markdown's, so that a ticket shows it as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from int8gate.reporting.answers import ChangedAnswers
from int8gate.reporting.compared import front_words
from int8gate.reporting.fields import DASH, percent, printable, size, with_bounds, with_unit
from int8gate.reporting.html import template
from int8gate.reporting.plots import is_reference, marks, pictures
from int8gate.reporting.rows import rows_of
from int8gate.targets.registry import HOST
from int8gate.validation.verdict import case_fails

if TYPE_CHECKING:
    from rich.table import Table

    from int8gate.analysis.methods import Method, Methods

MEANING = (
    "rank: one for all that cannot be told from the best of it at 95%",
    "score and drop: with one-sided 95% bounds",
    "front: passed, and no other that passed (nor float) is better in both accuracy and that cost; "
    "~ by a difference of accuracy that may be chance",
    "prepare: seconds from export to artifact, as far as they were not in the cache",
)


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
    return [
        DASH if method.rank is None else str(method.rank),
        method.recipe,
        method.state,
        with_bounds(method.score, method.interval or (None, None), unit),
        with_bounds(method.drop, (low, high), unit),
        with_unit(method.figures.sqnr_db, "dB"),
        size(method.size),
        *(_on_target(method, target) for target in methods.targets),
        with_unit(method.preparation_s, "s"),
        front_words(method.fronts, method.by_chance) or DASH,
    ]


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


def page(methods: Methods, answers: Sequence[ChangedAnswers] = ()) -> str:
    """The same as HTML, one file without scripts, with the charts of accuracy against size and
    latency, and the answers that recipes changed; the same methods give the same text.
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
        answers=answers,
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
