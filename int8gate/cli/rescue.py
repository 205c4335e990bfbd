"""`int8gate rescue CASE`: the cheapest recipe that passes where a case does not."""

from __future__ import annotations

from typing import Annotated

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

app = typer.Typer(help=__doc__)


@app.command()
def rescue(
    case: Annotated[str, typer.Argument(help="a case such as fsrcnn-tflite_int8")],
    budget: Annotated[str, typer.Option(help="stop after this long: 90s, 5m")] = "10m",
    target: Annotated[
        list[str] | None, typer.Option(help="what it has to be fast on, as of pytest (repeatable)")
    ] = None,
    zoo: Zoo = None,
    profile: Profile = "compact",
    weights_dir: WeightsDir = None,
    data_dir: DataDir = None,
    artifact_cache: CacheDir = None,
    trust: Trust = False,
    output: Json = None,
) -> None:
    """Try remedies from the cheapest to the dearest, each by the case's own gates, until one holds.

    Other ranges, cross-layer equalization, bias correction, SmoothQuant, AdaRound, the worst layers
    in float, int16 activations. What is done stays in the cache: called again it goes on. Exit code
    0 where a recipe passes, 1 where none does.
    """
    from int8gate.analysis.ladder import rescue as climb
    from int8gate.cli.opened_case import case_of, opened_pipeline
    from int8gate.reporting.rescue import ladder_lines
    from int8gate.targets.registry import DEFAULTS, check_target
    from int8gate.validation.case_run import CaseRun

    try:
        seconds, targets = budget_of(budget), tuple(target or DEFAULTS)
        for name in targets:
            check_target(name)
        spec, recipe = case_of(case, zoo)
        settings = {"weights_dir": weights_dir, "data_dir": data_dir, "trust": trust}
        with opened_pipeline(spec, recipe, artifact_cache, profile, **settings) as pipeline:
            ladder = climb(
                CaseRun(spec, recipe, pipeline),
                targets=targets,
                budget_s=seconds,
                progress=lambda line: typer.echo(line, err=True),
            ).as_record()
    except (ValueError, OSError, RuntimeError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    typer.echo("\n".join(ladder_lines(ladder)))
    if output:
        try:
            write_json(output, ladder)
        except OSError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error
    if ladder["is_interrupted"]:
        raise typer.Exit(INTERRUPTED)
    if not ladder["winner"]:
        raise typer.Exit(1)
