"""Calibration and quantization as stages of the ONNX toolchain, run in the worker process."""

from __future__ import annotations

from pathlib import Path

from int8gate.quantizers import ranged
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.toolchains.onnx import collector as onnx_collector
from int8gate.quantizers.toolchains.onnx import quantize as onnx_quantize


def calibrate(float_model: Path, samples: Path, kept: Path, jobs: int, directory: Path) -> None:
    """Writes `directory`/statistics.npz of an ONNX model; see `ranged.collect`."""
    ranged.collect(onnx_collector, float_model, samples, kept, jobs, directory)


def quantize(
    float_model: Path, recipe: Recipe, statistics: Path | None, pixel_range, directory: Path
) -> dict:
    """Writes the artifact; returns its description and calibration, see `ranged.quantized`."""
    return ranged.quantized(
        lambda ranges: onnx_quantize.quantize(float_model, recipe, ranges, directory),
        recipe,
        statistics,
    )
