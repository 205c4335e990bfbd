"""Case records to what people read: a terminal summary, Markdown, and one HTML file.

    rows.py       a case record as the row of texts that all three documents show
    conversion.py what became of each model's conversion, its cases merged into a row
    verdicts.py   may these ship: the headline over all cases
    legend.py     measured, simulated, modelled; the set-ups behind the speed figures
    terminal.py   `summary_lines`: aligned, coloured lines for the end of a pytest run
    markdown.py   `report.md`
    html.py       `report.html`, self-contained; template and style in `templates/`
    plots.py      accuracy against size and latency, as inline SVG

Everything is drawn from the records alone. A new figure is a field of `rows.CaseRow` and a
column in each document. Jinja2 and matplotlib load when an HTML report is drawn, not before.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from reporting.rows import sorted_cases


class ReportError(OSError):
    """The report could not be written; the message is one sentence for a user."""


def write_report(results: dict, directory: Path) -> None:
    """Write `results.json`, `report.md` and `report.html`, each whole or not at all.

    The records come first, so that they are kept should drawing fail. The same records give the
    same bytes, in whatever order the cases ran. Raises ReportError where `directory` cannot be
    made or written.
    """
    results = write_results(results, directory)
    documents: dict[str, Callable[[dict], str]] = {"report.md": _markdown, "report.html": _html}
    for name, render in documents.items():
        _write_atomically(Path(directory) / name, render(results))


def begin_report(results: dict, directory: Path) -> None:
    """Write the records of a run that begins, and remove what an earlier run left there.

    Raises ReportError before any work is done where `directory` cannot be written.
    """
    write_results(results, directory)
    for name in ("report.md", "report.html"):
        (Path(directory) / name).unlink(missing_ok=True)


def write_results(results: dict, directory: Path) -> dict:
    """Write `results.json` alone, as a run goes on; returns the results as written, sorted."""
    results = {**_finite(results), "cases": [_finite(case) for case in sorted_cases(results)]}
    _write_atomically(Path(directory) / "results.json", _json(results))
    return results


def _json(results: dict) -> str:
    return json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _markdown(results: dict) -> str:
    from reporting.markdown import render

    return render(results)


def _html(results: dict) -> str:
    from reporting.html import render

    return render(results)


def _finite(value: Any) -> Any:
    """NaN and infinities as null: JSON has neither, and a report must not draw them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_atomically(path: Path, content: str) -> None:
    """A temporary file beside `path` takes its place once it is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(content, encoding="utf-8", errors="backslashreplace")
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise ReportError(
            f"cannot write {path}: {error.strerror}; give --report a directory that you can write"
        ) from error
