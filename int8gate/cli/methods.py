"""`int8gate methods MODEL`: every recipe that was run, compared, and which to take."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from int8gate.cli.case_options import DataDir

if TYPE_CHECKING:
    import numpy as np

    from int8gate.analysis.full_accuracy import FullAccuracy
    from int8gate.analysis.methods import Method

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
        typer.Option(help="the TOML that declares the model, or metrics; else pyproject.toml"),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Compare all recipes of a model that were run, and say which to take on each target.

    A recipe's rank is shared by those that cannot be told apart; the table can be pasted as
    Markdown.
    """
    from int8gate.analysis.methods import compare_methods
    from int8gate.cli.history import declared_metrics
    from int8gate.reporting import methods as drawn
    from int8gate.reporting import to_bytes, write_atomically
    from int8gate.reporting.answers import answer_lines, changed_answers
    from int8gate.validation.comparing.history import read_run

    try:
        declared = declared_metrics(zoo or [])
        runs = [read_run(path) for path in report or [Path("report")]]
        compared = compare_methods(model, runs, target or (), profile, declared)
        told = _answers(compared.method(answers), declared) if answers else None
        if html:
            changed = []
            if told and answers:
                pictures = _pictures(compared.method(answers), compared.profile, zoo, data_dir)
                changed.append(changed_answers(told, answers, pictures))
            write_atomically(html, to_bytes(drawn.page(compared, changed)))
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
    if told and answers:
        for line in ["", *answer_lines(told, answers)]:
            typer.echo(line)
    if html:
        typer.echo(f"written: {html}")


def _answers(method: Method, declared: Collection[str]) -> FullAccuracy:
    """Raises ValueError where the predictions of both models were not kept."""
    from int8gate.analysis.full_accuracy import compare_in_full

    if not (method.predictions and method.of_float):
        raise ValueError(
            f"what each sample answered was not kept of {method.recipe} and its float model: run "
            "pytest with --report (a float recipe has no other to compare with)"
        )
    return compare_in_full(method.of_float, method.predictions, declared=declared)


def _pictures(
    method: Method, profile: str, zoo: list[Path] | None, data_dir: Path | None
) -> Callable[[int], np.ndarray] | None:
    """The evaluation set's pictures, uint8 (h, w, channels), by their number; None, told in a
    sentence, where they are not at hand.
    """
    from int8gate.quantizers.data_sets import open_samples
    from int8gate.quantizers.declared_recipes import declared_model
    from int8gate.quantizers.settings import Settings

    assert method.predictions
    try:
        spec = declared_model(method.record["model"], zoo[0] if zoo else None)
        if spec.network(profile).inputs:
            raise ValueError("its samples are arrays")
        samples = open_samples(spec, "evaluation", Settings(profile=profile, data_dir=data_dir))
        if samples.digest() != method.predictions.evaluation_set:
            raise ValueError(
                "its evaluation set is not the one that the run scored: give --zoo and --data-dir "
                "as of that run"
            )
    except (OSError, ValueError) as error:
        typer.echo(f"{method.record['model']}: no pictures of samples: {error}", err=True)
        return None
    return samples.image


def _print(table) -> None:
    from rich.console import Console

    console = Console(width=WIDTH)
    with console.capture() as captured:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))
