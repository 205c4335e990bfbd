"""`int8gate qat MODEL`: quantization-aware training of a model, alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from int8gate.cli.case_options import (
    INTERRUPTED,
    CacheDir,
    Json,
    Profile,
    Trust,
    WeightsDir,
    Zoo,
    budget_of,
    write_json,
)
from int8gate.quantizers.training.training_schedule import PROGRESS

if TYPE_CHECKING:
    from int8gate.quantizers.stage import StageRunner

app = typer.Typer(help=__doc__)
EVERY_S = 1.0


@app.command()
def qat(
    model: Annotated[str, typer.Argument(help="a model of the zoo, see `int8gate list`")],
    recipe: Annotated[
        str | None,
        typer.Option(help="tflite_qat_int8, onnx_qat_int8, ...; by default the model's first"),
    ] = None,
    budget: Annotated[str, typer.Option(help="of computing, in all: 90s, 3m")] = "3m",
    labels: Annotated[
        bool, typer.Option("--labels", help="learn from labels too, not from float alone")
    ] = False,
    zoo: Zoo = None,
    profile: Profile = "compact",
    weights_dir: WeightsDir = None,
    artifact_cache: CacheDir = None,
    trust: Trust = False,
    output: Json = None,
) -> None:
    """Train a model's quantized weights and scales towards its float network, without labels.

    With --labels they have half of the loss, where the task or [models.NAME.qat] has one. It
    starts from calibration's ranges and ends with the best that a validation part of the training
    split saw. Killed and called again it goes on. `pytest --recipe NAME` judges the result. Exit
    code 0 where that part passes the case's accuracy test, 1 where not.
    """
    from int8gate.cli.opened_case import case_of, opened_pipeline
    from int8gate.quantizers.declared_recipes import declared_model
    from int8gate.quantizers.recipe import trained_recipes
    from int8gate.reporting.training_course import lines, sentence

    try:
        seconds = budget_of(budget)
        if recipe is None:
            known = trained_recipes(declared_model(model, zoo).recipes)
            if not known:
                raise ValueError(f"{model} declares no recipe that a training starts from")
            recipe = known[0]
        spec, chosen = case_of(f"{model}-{recipe}", zoo)
        if not chosen.is_trained:
            raise ValueError(f"{recipe} trains nothing: choose one such as tflite_qat_int8")
        settings = {"weights_dir": weights_dir, "trust": trust, "train_budget_s": seconds}
        settings["train_labels"] = labels
        progress = Progress()
        with opened_pipeline(
            spec, chosen, artifact_cache, profile, watch=progress, **settings
        ) as pipeline:
            progress.runner = pipeline.runner
            built = pipeline.artifact(pipeline.resolved(spec), chosen)
    except KeyboardInterrupt:
        typer.echo("stopped: called again it goes on", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (ValueError, OSError, RuntimeError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    assert built.training is not None  # the recipe trains
    typer.echo("\n".join((*lines(built.training), sentence(built.training))))
    typer.echo(str(built.artifact.path))
    if output:
        try:
            write_json(output, built.training)
        except OSError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error
    if not built.training["is_within_tolerance"]:
        raise typer.Exit(1)


class Progress:
    """Called by the worker while a stage runs: shows what a training of `runner` says of itself."""

    def __init__(self) -> None:
        self.runner: StageRunner | None = None
        self._looked_at, self._shown = 0.0, ""

    def __call__(self, stage: str, seconds: float | None) -> None:
        """`seconds` since the stage began; None where it ended."""
        if stage != "train" or self.runner is None or self.runner.training is None:
            return
        if seconds is not None and seconds < self._looked_at + EVERY_S:
            return
        self._looked_at = seconds or 0.0
        file = self.runner.training / PROGRESS
        told = file.read_text() if file.is_file() else ""
        if told and told != self._shown:
            self._shown = told
            typer.echo(told, err=True)
