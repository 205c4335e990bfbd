"""`int8gate audit`: what is wrong with a folder of calibration pictures, before a run uses it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help=__doc__)
STYLES = {"error": "bold red", "warning": "yellow", "advice": "cyan"}


@app.command()
def audit(
    directory: Annotated[Path, typer.Argument(help="the folder, laid out as --data-dir takes it")],
    model: Annotated[str, typer.Option(help="whose size, preprocessing and classes count")],
    zoo: Annotated[Path | None, typer.Option(help="the TOML that declares the model")] = None,
    min_calibration_samples: Annotated[int, typer.Option(help="fewer are an error")] = 100,
    activations: Annotated[bool, typer.Option(help="run the float model over both, too")] = False,
) -> None:
    """Judge the calibration pictures of a folder against those that are scored."""
    from int8gate.calibration_data.arrays.kinds import holds_arrays

    try:
        sizes, found = _findings(directory, model, zoo, min_calibration_samples, activations)
    except (ValueError, OSError, RuntimeError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    kind = "samples" if holds_arrays(directory) else "pictures"
    typer.echo(f"{directory}: {sizes[0]} {kind} calibrate, {sizes[1]} are scored")
    _show(found)
    if any(finding["severity"] == "error" for finding in found):
        raise typer.Exit(1)


def _findings(directory: Path, name: str, zoo: Path | None, minimum: int, activations: bool):
    """The pictures in calibration and evaluation, and the findings of the audit."""
    from int8gate.cli.opened_case import calibrated_recipe
    from int8gate.engine import extras
    from int8gate.engine.cache import open_cache
    from int8gate.engine.worker import Worker
    from int8gate.quantizers.activation_audit import worst_first
    from int8gate.quantizers.declared_recipes import declared_model
    from int8gate.quantizers.pipeline import Pipeline
    from int8gate.quantizers.settings import Settings
    from int8gate.quantizers.sources import PACKAGES_OF_FORMAT, packages_of

    spec = declared_model(name, zoo)
    if activations:
        chosen = calibrated_recipe(spec, "leave --activations out")
        extras.require("--activations", packages_of(spec, chosen))
    elif spec.own:
        extras.require(spec.own.file.name, PACKAGES_OF_FORMAT[spec.source_format])
    if spec.own:
        spec = replace(spec, own=replace(spec.own, data=directory.absolute()))
    settings = Settings(data_dir=directory, min_calibration_samples=minimum)
    with Worker() as worker:
        pipeline = Pipeline(settings, open_cache(None), worker)
        spec = pipeline.resolved(spec)
        found = pipeline.data.audit(spec)
        if found is None:
            raise ValueError(
                f"{name} is quantized already: no samples calibrate it, there is nothing to audit"
            )
        sizes = [len(pipeline.data.samples(spec, split)) for split in ("calibration", "evaluation")]
        if activations:
            found = worst_first(found + pipeline.activation_audit(spec, chosen))
        return sizes, found


def _show(found: list[dict]) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True)
    for finding in found:
        severity = finding["severity"]
        console.print(f"{severity}: {finding['kind']}", style=STYLES[severity])
        console.print(f"  {finding['evidence']}", markup=False)
        console.print(f"  cure: {finding['cure']}", markup=False)
    if not found:
        console.print("nothing found to be wrong")
