"""Calibration and quantization as stages of the ONNX toolchain, run in the worker process."""

from __future__ import annotations

from pathlib import Path

from int8gate.quantizers import file_scales, ranged
from int8gate.quantizers.recipe_type import ROUNDED_BY_SAMPLES, Recipe
from int8gate.quantizers.toolchains.onnx import collector as onnx_collector
from int8gate.quantizers.toolchains.onnx import quantize as onnx_quantize
from int8gate.quantizers.toolchains.onnx import weight_only
from int8gate.quantizers.toolchains.onnx.shipped_scales import shipped_scales
from int8gate.runtimes import onnx_file
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_session import describe


def share_weights(
    float_model: Path, recipe: Recipe, other_float: Path, other: Path, directory: Path
) -> dict:
    """Writes the artifact with the rounded weights of another network's; returns its description.
    See `weight_only.with_weights_of`.
    """
    model = weight_only.with_weights_of(float_model, recipe, other_float, other)
    onnx_file.write(model, directory / ONNX)
    return describe(directory / ONNX)


def calibrate(float_model: Path, samples: Path, kept: Path, jobs: int, directory: Path) -> None:
    """Writes `directory`/statistics.npz of an ONNX model; see `ranged.collect`."""
    ranged.collect(onnx_collector, float_model, samples, kept, jobs, directory)


def quantize(
    float_model: Path, recipe: Recipe, given: Path | None, pixel_range, directory: Path
) -> dict:
    """Writes the artifact; returns its description and calibration, see `ranged.quantized`. `given`
    are statistics, or the samples of a recipe that rounds by them.
    """
    if recipe.rounding in ROUNDED_BY_SAMPLES:
        return onnx_quantize.quantize(float_model, recipe, None, directory, given)
    of_file = file_scales.of_artifact(float_model)
    return ranged.quantized(
        lambda ranges: onnx_quantize.quantize(
            float_model, recipe, ranges, directory, of_file=of_file
        ),
        recipe,
        given,
        of_file,
        lambda: shipped_scales(directory / ONNX, float_model),
    )
