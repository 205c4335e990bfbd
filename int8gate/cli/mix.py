"""`int8gate mix CASE`: which widths the layers have, so that a case passes and costs least."""

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
def mix(
    case: Annotated[str, typer.Argument(help="a case such as fsrcnn-tflite_int8")],
    objective: Annotated[str, typer.Option(help="latency (on the target) or size")] = "latency",
    method: Annotated[
        str, typer.Option(help="integer, greedy, dynamic or evolutionary")
    ] = "integer",
    layers: Annotated[
        int, typer.Option(help="so many may be wider, the worst; as many others int4")
    ] = 12,
    budget: Annotated[str, typer.Option(help="stop after this long: 90s, 5m")] = "5m",
    target: Annotated[str, typer.Option(help="what it has to run on")] = "host_cpu",
    widths: Annotated[
        str, typer.Option(help="int4, int16, float16, float32: what target and toolchain have")
    ] = "",
    core: Annotated[
        str, typer.Option(help="ARM core that runs what an NPU leaves over")
    ] = "Cortex-A55",
    zoo: Zoo = None,
    profile: Profile = "compact",
    weights_dir: WeightsDir = None,
    data_dir: DataDir = None,
    artifact_cache: CacheDir = None,
    trust: Trust = False,
    output: Json = None,
) -> None:
    """Give those layers other widths that an int8 case needs so, at the least cost; confirm the
    winner.

    Candidates pass the accuracy test on one part of the evaluation set, the winner once on the
    other. Exit code 0 where it is confirmed, 1 where not, 130 after Ctrl-C, which shows the best so
    far.
    """
    from int8gate.analysis.mix_question import MixQuestion
    from int8gate.analysis.mixing import mix as find_mix
    from int8gate.cli.opened_case import case_of, opened_pipeline
    from int8gate.reporting.mix import mix_lines
    from int8gate.validation.case_run import CaseRun

    try:
        seconds = budget_of(budget)
        spec, recipe = case_of(case, zoo)
        settings = {"weights_dir": weights_dir, "data_dir": data_dir, "trust": trust}
        with opened_pipeline(spec, recipe, artifact_cache, profile, **settings) as pipeline:
            mixed = find_mix(
                CaseRun(spec, recipe, pipeline),
                MixQuestion(
                    objective=objective,
                    method=method,
                    layers=layers,
                    target=target,
                    core=core,
                    widths=tuple(filter(None, map(str.strip, widths.split(",")))),
                ),
                budget_s=seconds,
                progress=lambda line: typer.echo(line, err=True),
            ).as_record()
    except KeyboardInterrupt:
        typer.echo("stopped before a layer was measured", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (ValueError, OSError, RuntimeError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    typer.echo("\n".join(mix_lines(mixed)))
    if output:
        try:
            write_json(output, mixed)
        except OSError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error
    if mixed["is_interrupted"]:
        raise typer.Exit(INTERRUPTED)
    if not mixed["is_confirmed"]:
        raise typer.Exit(1)
