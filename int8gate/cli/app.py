"""`int8gate`: what is not a test run. Test runs are pytest's: `pytest -k unet`."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from int8gate.cli.audit import app as audit_app
from int8gate.cli.export import app as export_app
from int8gate.cli.history import app as history_app
from int8gate.cli.methods import app as methods_app
from int8gate.cli.mix import app as mix_app
from int8gate.cli.qat import app as qat_app
from int8gate.cli.quantize_checkpoint import app as quantize_checkpoint_app
from int8gate.cli.rescue import app as rescue_app
from int8gate.cli.sensitivity import app as sensitivity_app
from int8gate.cli.validate import app as validate_app
from int8gate.model_zoo.registry import model, zoo
from int8gate.model_zoo.weights import SHIPPED, read_manifest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help=__doc__,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(history_app)
app.add_typer(audit_app)
app.add_typer(export_app)
app.add_typer(rescue_app)
app.add_typer(qat_app)
app.add_typer(mix_app)
app.add_typer(sensitivity_app)
app.add_typer(validate_app)
app.add_typer(methods_app)
app.add_typer(quantize_checkpoint_app)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"int8gate {metadata.version('int8gate')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command("list")
def list_models() -> None:
    """Show the zoo: every model, its two profiles, and how well its compact weights do."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="The zoo")
    for column in ("model", "task", "from", "compact", "full", "compact float metric", "weights"):
        table.add_column(column, no_wrap=column == "model", overflow="fold")
    manifest = read_manifest()
    for spec in zoo().values():
        known = manifest.get(spec.name)
        table.add_row(
            spec.name,
            spec.task,
            spec.source_format,
            _size(spec.compact) if spec.compact else "none",
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
    from int8gate.engine import extras
    from int8gate.model_zoo import torch_networks, weights
    from int8gate.model_zoo.training import loop, torch_loop
    from int8gate.quantizers.recipe import RECIPES
    from int8gate.quantizers.sources import packages_of

    try:
        spec = model(name)
        spec.network("compact")
        extras.require(name, packages_of(spec, RECIPES[spec.default_recipe]))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if epochs and output == SHIPPED:
        raise typer.BadParameter("a trial must not replace the shipped weights: pass --output DIR")
    training, tensors_of = (
        (torch_loop.train, torch_networks.tensors_of)
        if spec.is_torch
        else (loop.train, weights.tensors_of)
    )
    trained = training(spec, epochs)
    path = weights.store(tensors_of(trained.model), spec.name, loop.facts(trained), output)
    facts = _finish(spec, output)
    weights.annotate(spec.name, facts, output)
    typer.echo(f"{path}: {facts['metric']} {facts['float']:.4f}")


@app.command()
def init(
    model_file: Annotated[
        Path, typer.Argument(help=".onnx, .tflite, .keras, .h5, .pb, .pt2, .cfg, a SavedModel")
    ],
    output: Annotated[Path, typer.Option(help="the TOML to write")] = Path("models.toml"),
    name: Annotated[
        str | None, typer.Option(help="what the model is called; else after its file")
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="let code in the file run")] = False,
    signature: Annotated[
        str | None, typer.Option(help="which signature of a SavedModel is the model")
    ] = None,
) -> None:
    """Begin the TOML that declares a model of your own: `pytest --zoo models.toml` gates it."""
    from int8gate.cli.init import begin

    try:
        written = begin(model_file, output, trust=trust, signature=signature, name=name)
    except (ValueError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    typer.echo(written)
    typer.echo(f"# written to {output}: look it over, then run pytest --zoo {output}")


@app.command("import")
def import_graph(
    graph: Annotated[Path, typer.Argument(help="a TF1 frozen graph, FILE.pb")],
    output: Annotated[Path, typer.Argument(help="a folder for the network and the host's part")],
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the pictures that it takes")],
    channels: Annotated[int, typer.Option(help="colour channels of the pictures")] = 3,
    pixels: Annotated[
        str, typer.Option(help="what pixels become before the graph: 0..255, 0..1 or -1..1")
    ] = "0..255",
    input_tensor: Annotated[
        list[str] | None, typer.Option("--input", help="where the graph begins")
    ] = None,
    output_tensor: Annotated[
        list[str] | None, typer.Option("--output", help="where it ends")
    ] = None,
    cut_input: Annotated[list[str] | None, typer.Option(help="where the network begins")] = None,
    cut_output: Annotated[list[str] | None, typer.Option(help="where the network ends")] = None,
) -> None:
    """Cut the network out of a frozen graph with control flow, and say what was cut and repaired.

    Writes saved_model/ (the network, for a converter), preprocessing.pb and postprocessing.pb (for
    the host) and import.json.
    """
    from int8gate.calibration_data import load
    from int8gate.calibration_data.preprocessing import PIXELS, SIGNED_UNIT, UNIT
    from int8gate.engine import extras
    from int8gate.model_zoo.importers.tf1.importer import explain, import_frozen_graph
    from int8gate.quantizers.sources import PACKAGES_OF_FORMAT, PACKAGES_OF_ZOO

    ranges = {"0..255": PIXELS, "0..1": UNIT, "-1..1": SIGNED_UNIT}
    if pixels not in ranges:
        raise typer.BadParameter(f"--pixels {pixels}: expected one of {', '.join(ranges)}")
    height, _, width = size.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise typer.BadParameter(f"--size {size}: expected HEIGHTxWIDTH, such as 300x300")
    cut = (tuple(cut_input or ()), tuple(cut_output or ())) if cut_input or cut_output else None
    ends = (tuple(input_tensor or ()), tuple(output_tensor or ()))
    try:
        extras.require("int8gate import", (*PACKAGES_OF_FORMAT["frozen_graph"], *PACKAGES_OF_ZOO))
        pictures = load("classification", "calibration", (int(height), int(width)), channels)
        images = next(pictures.batches(2))[0]
        samples = images if pixels == "0..255" else ranges[pixels].apply(images)
        report = import_frozen_graph(graph, output, samples, *ends, cut)
    except (ValueError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    for sentence in explain(report):
        typer.echo(sentence)


def _finish(spec, weights_dir: Path) -> dict:
    """Measures the float artifact on the evaluation set, and writes the file of a model that comes
    quantized; returns what the manifest says of both.
    """
    from int8gate.engine.cache import open_cache
    from int8gate.engine.worker import Worker
    from int8gate.model_zoo.weights import store_quantized
    from int8gate.quantizers.pipeline import Pipeline
    from int8gate.quantizers.recipe import RECIPES, REFERENCES
    from int8gate.quantizers.settings import Settings
    from int8gate.tasks.registry import task
    from int8gate.validation.case_run import CaseRun
    from int8gate.validation.metrics.registry import metric

    score = metric(task(spec.task).metrics[0])
    settings = Settings(weights_dir=weights_dir)
    with Worker() as worker:
        pipeline = Pipeline(settings, open_cache("none"), worker)
        reference = REFERENCES[RECIPES[spec.default_recipe].toolchain]
        statistics = CaseRun(spec, reference, pipeline).float_evaluation.statistics
        facts = {"metric": score.name, "float": score.score(statistics), "samples": len(statistics)}
        if spec.source_format == "tflite":
            quantized = pipeline.artifact(spec, RECIPES["tflite_uint8"]).artifact
            facts |= store_quantized(quantized.path, spec.name, weights_dir)
    return facts


def _size(network) -> str:
    if network.inputs:
        shape = ", ".join(map(str, network.inputs))
    else:
        height, width = network.size
        shape = f"{height}x{width}x{network.input_shape[-1]}"
    return shape if network.classes is None else f"{shape}, {network.classes} classes"


if __name__ == "__main__":
    app()
