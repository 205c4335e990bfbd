"""`int8gate sensitivity MODEL`: how much each layer of a model costs when it is quantized."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from int8gate.cli.case_options import (
    INTERRUPTED,
    CacheDir,
    DataDir,
    Json,
    Profile,
    Trust,
    WeightsDir,
    Zoo,
    budget_of,
    write_json,
)

if TYPE_CHECKING:
    from int8gate.analysis.sensitivity import Progress, Sensitivity

app = typer.Typer(help=__doc__)


@app.command()
def sensitivity(
    model: Annotated[str, typer.Argument(help="a model of the zoo, or of --zoo")],
    recipe: Annotated[
        str | None, typer.Option(help="by default the model's first calibrated one")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="evaluation samples to run")] = 64,
    budget: Annotated[
        str | None, typer.Option(help="stop after so long, the worst first: 90s, 2m")
    ] = None,
    metric: Annotated[bool, typer.Option(help="measure the task's metric, too")] = True,
    zoo: Zoo = None,
    profile: Profile = "compact",
    weights_dir: WeightsDir = None,
    data_dir: DataDir = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="as of pytest: no metric then")
    ] = False,
    artifact_cache: CacheDir = None,
    trust: Trust = False,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="write sensitivity.html and .md there")
    ] = None,
    json_file: Json = None,
) -> None:
    """Quantize every layer alone, and keep every layer float alone; show what each costs.

    Ctrl-C, or the end of the budget, shows what was measured until then; a second call goes on.
    """
    from int8gate.reporting import layer_costs

    chosen = {
        "profile": profile,
        "weights_dir": weights_dir,
        "data_dir": data_dir,
        "random_weights": random_weights,
        "trust": trust,
    }
    last: list[Progress] = []
    try:
        asked = {
            "samples": samples,
            "with_metric": metric,
            "budget_s": budget_of(budget) if budget else None,
        }
        found, code = _measured(model, recipe, zoo, artifact_cache, chosen, asked, last), 0
    except KeyboardInterrupt:
        if not last:
            typer.echo("stopped before a layer was measured", err=True)
            raise typer.Exit(INTERRUPTED) from None
        found, code = last[-1].so_far, INTERRUPTED
    except (ValueError, OSError, RuntimeError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    typer.echo(layer_costs.as_text(found))
    try:
        _write(found, report, json_file)
    except OSError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    if code:
        typer.echo("stopped: the same command goes on where this one ended", err=True)
        raise typer.Exit(code)


def _measured(
    name: str,
    wanted: str | None,
    zoo: Path | None,
    cache: str | None,
    chosen: dict,
    asked: dict,
    last: list[Progress],
) -> Sensitivity:
    """The measurement; `last` gets its progress as it goes on."""
    from int8gate.analysis.sensitivity import measure
    from int8gate.cli.opened_case import calibrated_recipe, opened_pipeline
    from int8gate.quantizers.declared_recipes import declared_model
    from int8gate.quantizers.recipe import recipe

    spec = declared_model(name, zoo)
    asked_for = recipe(wanted) if wanted else calibrated_recipe(spec, "name one with --recipe")
    with (
        opened_pipeline(spec, asked_for, cache, **chosen) as pipeline,
        _shown(sys.stderr.isatty()) as show,
    ):

        def progress(now: Progress) -> None:
            last[:] = [now]
            show(now)

        return measure(pipeline, spec, asked_for, **asked, progress=progress)


@contextmanager
def _shown(is_terminal: bool):
    """A function that shows progress on a terminal, and elsewhere nothing."""
    if not is_terminal:
        yield lambda now: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    left = TextColumn("{task.fields[left]}")
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), left)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("preparing", total=None, left="")

        def show(now) -> None:
            left = "" if now.left_s is None else f"about {now.left_s:.0f} s to go"
            bar.update(
                task,
                description="batches of layers",
                completed=now.done,
                total=now.total,
                left=left,
            )

        yield show


def _write(found: Sensitivity, report: Path | None, json_file: Path | None) -> None:
    from int8gate.engine import atomic_file
    from int8gate.reporting import layer_costs
    from int8gate.reporting.results_file import to_bytes

    if report:
        report.mkdir(parents=True, exist_ok=True)
        for name, text in (
            ("sensitivity.html", layer_costs.as_html(found)),
            ("sensitivity.md", layer_costs.as_markdown(found)),
        ):
            atomic_file.write(report / name, to_bytes(text))
    if json_file:
        write_json(json_file, asdict(found))
