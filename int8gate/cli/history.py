"""`int8gate history` and `int8gate compare`: runs of the past, beside each other."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from int8gate.validation.comparing.history import RUNS

app = typer.Typer(help=__doc__)
WIDTH = 140  # where the output is no terminal
StorageOption = Annotated[
    Path, typer.Option(help="where pytest --benchmark-autosave keeps its runs")
]


@app.command()
def history(
    case: Annotated[str, typer.Argument(help="a case such as unet-tflite_int8")],
    results: Annotated[
        list[Path] | None, typer.Argument(help="results.json files or report folders besides")
    ] = None,
    storage: StorageOption = RUNS,
) -> None:
    """Show a case over the saved runs: a line for each, and a sparkline for each figure."""
    from int8gate.reporting.comparison import history_table
    from int8gate.validation.comparing.history import runs_in

    found = _or_exit(runs_in, storage, results or [])
    for sentence in found.damaged:
        typer.echo(f"left out: {sentence}", err=True)
    runs = [run for run in found.runs if run.case(case)]
    if not runs:
        _exit(_no_such_case(case, found.runs, storage))
    _print(history_table(case, runs))


@app.command()
def compare(
    before: Annotated[
        str,
        typer.Argument(help="a saved run's number, a file, a report folder, or a baseline's .toml"),
    ],
    now: Annotated[str, typer.Argument(help="the same; latest: the last saved run")],
    storage: StorageOption = RUNS,
    markdown: Annotated[bool, typer.Option(help="print Markdown, for a pull request")] = False,
    fail: Annotated[
        str | None,
        typer.Option(help="exit with 1 beyond these limits: accuracy:0.5%,npu_latency:5%"),
    ] = None,
    zoo: Annotated[
        list[Path] | None,
        typer.Option(help="a TOML that declares metrics of yours; else pyproject.toml, if there"),
    ] = None,
) -> None:
    """Say what got better or worse from one run to another, accuracy with its significance."""
    from int8gate.reporting import comparison as report
    from int8gate.validation.comparing.limits import exceeded, parse_limits

    limits = _or_exit(parse_limits, fail) if fail else {}
    compared = _or_exit(_compared, before, now, storage, zoo or [])
    if markdown:
        typer.echo(report.markdown(compared), nl=False)
    else:
        typer.echo(report.headline(compared))
        if report.moved(compared):
            _print(report.comparison_table(compared))
        for line in [*report.remarks(compared), *report.not_passed(compared)]:
            typer.echo(line)
    if failures := exceeded(compared.changes, limits):
        for sentence in failures:
            typer.echo(sentence, err=True)
        raise typer.Exit(1)


def _compared(before: str, now: str, storage: Path, zoo: list[Path]):
    from int8gate.validation.comparing import baseline_file
    from int8gate.validation.comparing.history import compare_accepted, compare_runs, find_run

    metrics = declared_metrics(zoo)
    if before.endswith(".toml"):
        accepted = baseline_file.read(Path(before))
        return compare_accepted(before, accepted, find_run(now, storage), metrics)
    return compare_runs(find_run(before, storage), find_run(now, storage), metrics)


def declared_metrics(zoo: list[Path]) -> set[str]:
    """Those of the TOMLs, or of this folder's `pyproject.toml`; they stand beside their file."""
    from int8gate.engine.plugins import find_modules_in
    from int8gate.model_zoo.user_models.toml_file import PYPROJECT, read_pyproject, read_zoo

    models = [model for path in zoo for model in read_zoo(path)]
    if not zoo and Path(PYPROJECT).is_file():
        try:
            models = read_pyproject(Path(PYPROJECT))
        except (OSError, ValueError) as error:  # what it declares may not be at hand here
            typer.echo(f"metrics of {PYPROJECT} are left out: {error}", err=True)
    for path in zoo or [Path(PYPROJECT)]:
        find_modules_in(path.absolute().parent)
    return {model.metric for model in models if model.metric}


def _no_such_case(case: str, runs: list, storage: Path) -> str:
    from int8gate.validation.case_summary import case_key

    known = sorted({case_key(record) for run in runs for record in run.cases})
    if not known:
        return (
            f"no saved run in {storage}: save them with pytest --benchmark-autosave, or name "
            "results.json files of pytest --report"
        )
    near = difflib.get_close_matches(case, known, 3)
    return f"no run has the case {case!r}: {'did you mean ' if near else ''}" + ", ".join(
        near or known
    )


def _or_exit(function, *arguments):
    try:
        return function(*arguments)
    except (OSError, ValueError) as error:
        _exit(str(error))


def _exit(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(2)


def _print(table) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
