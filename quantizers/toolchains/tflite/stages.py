"""Calibration and quantization as stages of the TFLite toolchain, run in the worker process."""

from __future__ import annotations

import shutil
from pathlib import Path

from int8gate.quantizers import file_scales, ranged
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.toolchains.tflite import collector as tflite_collector
from int8gate.quantizers.toolchains.tflite import convert as tflite
from int8gate.quantizers.toolchains.tflite.given_scales import shipped_scales
from int8gate.runtimes import litert
from int8gate.runtimes.artifact import TFLITE


def calibrate(float_model: Path, samples: Path, kept: Path, jobs: int, directory: Path) -> None:
    """Writes `directory`/statistics.npz of a TFLite model; see `ranged.collect`."""
    ranged.collect(tflite_collector, float_model, samples, kept, jobs, directory)


def quantize(
    float_model: Path, recipe: Recipe, statistics: Path | None, pixel_range, directory: Path
) -> dict:
    """Writes the artifact; returns its description and calibration, see `ranged.quantized`."""
    of_file = file_scales.of_artifact(float_model)
    return ranged.quantized(
        lambda ranges: tflite.quantize(
            float_model, recipe, ranges, pixel_range, directory, of_file
        ),
        recipe,
        statistics,
        of_file,
        lambda: shipped_scales(directory / TFLITE),
    )


def take(source: Path, directory: Path) -> dict:
    """Copies a quantized file into the cache; returns its description."""
    described = litert.describe(source)
    shutil.copyfile(source, directory / TFLITE)
    return described
