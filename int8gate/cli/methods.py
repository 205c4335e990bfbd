"""`int8gate methods MODEL`: every recipe that was run, compared, and which to take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help=__doc__)
WIDTH = 400  # no line is cut: it is to be pasted


@app.command()
def methods(
    model: Annotated[str, typer.Argument(help="a model such as unet")],
    report: Annotated[
        list[Path] | None,
        typer.Option(help="a folder of pytest --report, or its results.json; may be repeated"),
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="only these targets; may be repeated")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="compact or full; compact where both were run")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="write it as a page with charts")] = None,
    answers: Annotated[
        str | None,
        typer.Option(metavar="RECIPE", help="tell in full which of float's answers it changed"),
    ] = None,
    zoo: Annotated[
        list[Path] | None,
        typer.Option(help="a TOML that declares metrics of yours; else pyproject.toml, if there"),
    ] = None,
) -> None:
    """Compare all recipes of a model that were run, and say which to take on each target.

    A recipe's rank is shared by those that cannot be told apart; the table can be pasted as
    Markdown.
    """
    from int8gate.analysis.methods import compare_methods
    from int8gate.cli.history import declared_metrics
    from int8gate.reporting import methods as drawn
    from int8gate.reporting import to_bytes, write_atomically
    from int8gate.validation.comparing.history import read_run

    try:
        declared = declared_metrics(zoo or [])
        runs = [read_run(path) for path in report or [Path("report")]]
        compared = compare_methods(model, runs, target or (), profile, declared)
        lines = _answers(compared.method(answers), declared) if answers else []
        if html:
            write_atomically(html, to_bytes(drawn.page(compared)))
    except FileNotFoundError as error:
        where = Path(error.filename or ".")
        typer.echo(f"there is no report {where}: run pytest -k {model} --report DIR", err=True)
        raise typer.Exit(2) from error
    except (OSError, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    for line in drawn.recommendations(compared):
        typer.echo(line)
    _print(drawn.table(compared))
    for line in drawn.notes(compared):
        typer.echo(line)
    for line in ["", *lines] if lines else []:
        typer.echo(line)
    if html:
        typer.echo(f"written: {html}")


def _answers(method, declared) -> list[str]:
    """Raises ValueError where the predictions of both models were not kept."""
    from int8gate.analysis.full_accuracy import compare_in_full
    from int8gate.reporting.methods import answer_lines

    if not (method.predictions and method.of_float):
        raise ValueError(
            f"what each sample answered was not kept of {method.recipe} and its float model: run "
            "pytest with --report (a float recipe has no other to compare with)"
        )
    told = compare_in_full(method.of_float, method.predictions, declared=declared)
    return answer_lines(told, method.recipe)


def _print(table) -> None:
    from rich.console import Console

    console = Console(width=WIDTH)
    with console.capture() as captured:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))
