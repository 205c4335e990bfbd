"""`int8gate`: what is not a test run. Test runs are pytest's: `pytest -k unet`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from model_zoo.registry import model, zoo
from model_zoo.weights import SHIPPED, read_manifest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@app.command("list")
def list_models() -> None:
    """Show the zoo: every model, its two profiles, and how well its compact weights do."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="The zoo")
    for column in ("model", "task", "from", "compact", "full", "compact float metric", "weights"):
        table.add_column(column, overflow="fold")
    manifest = read_manifest()
    for spec in zoo().values():
        known = manifest.get(spec.name)
        table.add_row(
            spec.name,
            spec.task,
            spec.source_format,
            _size(spec.compact),
            _size(spec.full),
            f"{known['metric']} {known['float']:.4f}" if known else "not trained",
            f"{known['bytes'] / 1e6:.2f} MB" if known else "",
        )
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="a model of the zoo, see `int8gate list`")],
    epochs: Annotated[
        int | None, typer.Option(min=1, help="at most so many in each stage: a trial")
    ] = None,
    output: Annotated[Path, typer.Option(help="where the weights go")] = SHIPPED,
) -> None:
    """Train a model's compact weights, measure them, and store both with their manifest entry."""
    from model_zoo import weights
    from model_zoo.training import loop as training

    try:
        spec = model(name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if epochs and output == SHIPPED:
        raise typer.BadParameter("a trial must not replace the shipped weights: pass --output DIR")
    trained = training.train(spec, epochs)
    path = weights.store(trained.model, spec.name, training.facts(trained), output)
    facts = _finish(spec, output)
    weights.annotate(spec.name, facts, output)
    typer.echo(f"{path}: {facts['metric']} {facts['float']:.4f}")


def _finish(spec, weights_dir: Path) -> dict:
    """Measures the float artifact on the evaluation set, and writes the file of a model that comes
    quantized; returns what the manifest says of both.
    """
    from model_zoo.weights import store_quantized
    from quantizers.cache import open_cache
    from quantizers.pipeline import REFERENCE, Pipeline
    from quantizers.recipe import RECIPES
    from quantizers.settings import Settings
    from quantizers.worker import Worker
    from validation.case_run import CaseRun
    from validation.metrics import metric
    from validation.tasks import METRIC_OF_TASK

    score = metric(METRIC_OF_TASK[spec.task])
    settings = Settings(weights_dir=weights_dir)
    with Worker() as worker:
        pipeline = Pipeline(settings, open_cache("none"), worker)
        statistics = CaseRun(spec, REFERENCE, pipeline).float_evaluation.statistics
        facts = {"metric": score.name, "float": score.score(statistics), "samples": len(statistics)}
        if spec.source_format == "tflite":
            quantized = pipeline.artifact(spec, RECIPES["tflite_uint8"]).artifact
            facts |= store_quantized(quantized.path, spec.name, weights_dir)
    return facts


def _size(network) -> str:
    height, width = network.size
    return f"{height}x{width}x{network.input_shape[-1]}, {network.classes} classes"


if __name__ == "__main__":
    app()
