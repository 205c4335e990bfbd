"""Case records to what people read: a terminal summary, Markdown, and one HTML file.

    rows.py        a case record as the row of texts that all three documents show; its findings
    fields.py      values of a record as text
    verdicts.py    may these ship: the headline over all cases; legend and set-ups of the figures
    conversion.py  what became of each model's conversion, its cases merged into a row
    calibration.py statistics of each tensor, and what was found wrong with a calibration set
    details.py     what the HTML shows of an opened case
    terminal.py    `summary_lines`: aligned, coloured lines for the end of a pytest run
    markdown.py    `report.md`
    html.py        `report.html`, self-contained; template and style in `templates/`
    plots.py       accuracy against size and latency, as inline SVG
    results_file.py  `results.json`, while a run goes on and at its end
    comparison.py  what changed between two runs, and a case over many
    layer_costs.py  what each layer costs: a table, bars, a page
    compared.py    which recipe of a model to take, as the report tells it
    answers.py     the answers that a recipe changed, with pictures of flipped samples
    methods.py     the recipes of a model beside each other: a table to paste, a page with charts
    github.py      annotations, and the summary of a step

Everything is drawn from the records alone. A new figure is a field of `rows.CaseRow` and a
column in each document. Jinja2 and matplotlib load when an HTML report is drawn, not before.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from int8gate.reporting.results_file import (
    ReportError,
    ResultsFile,
    file_of,
    finite,
    text_of_case,
    to_bytes,
    write_atomically,
)
from int8gate.reporting.rows import sorted_cases

__all__ = ["ReportError", "ResultsFile", "begin_report", "write_report", "write_results"]


def write_report(results: dict, directory: Path) -> None:
    """Write `results.json`, `report.md` and `report.html`, each whole or not at all.

    The records come first, so that they are kept should drawing fail. The same records give the
    same bytes, in whatever order the cases ran. Raises ReportError where `directory` cannot be
    made or written.
    """
    results = write_results(results, directory)
    documents: dict[str, Callable[[dict], str]] = {"report.md": _markdown, "report.html": _html}
    for name, render in documents.items():
        write_atomically(Path(directory) / name, to_bytes(render(results)))


def begin_report(results: dict, directory: Path) -> None:
    """Write the records of a run that begins, and remove what an earlier run left there.

    Raises ReportError before any work is done where `directory` cannot be written.
    """
    write_results(results, directory)
    for name in ("report.md", "report.html"):
        (Path(directory) / name).unlink(missing_ok=True)


def write_results(results: dict, directory: Path) -> dict:
    """Write `results.json` alone; returns the results as written: sorted, all numbers finite."""
    results = {**finite(results), "cases": [finite(case) for case in sorted_cases(results)]}
    cases = [text_of_case(case) for case in results["cases"]]
    write_atomically(Path(directory) / "results.json", file_of(results, cases))
    return results


def _markdown(results: dict) -> str:
    from int8gate.reporting.markdown import render

    return render(results)


def _html(results: dict) -> str:
    from int8gate.reporting.html import render

    return render(results)
