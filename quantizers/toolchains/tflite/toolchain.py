"""The TFLite toolchain: quantized by TensorFlow's MLIR quantizer or its converter, run by LiteRT.

The stages here run in the worker process.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar

from int8gate.quantizers import network_export
from int8gate.quantizers.calibration import shards
from int8gate.quantizers.recipe import Recipe
from int8gate.quantizers.stage import Stage
from int8gate.quantizers.toolchains.registry import register
from int8gate.quantizers.toolchains.tflite import collector as tflite_collector
from int8gate.quantizers.toolchains.tflite import convert, from_onnx, from_torch
from int8gate.quantizers.toolchains.tflite import convert as tflite
from int8gate.quantizers.toolchains.toolchain import (
    EXPORTED,
    FLOAT,
    SAMPLES,
    STATISTICS,
    Quantization,
    Toolchain,
)
from int8gate.runtimes import litert, tflite_graph
from int8gate.runtimes.artifact import ONNX, PROGRAM, SAVED_MODEL, TFLITE

_CONVERTERS = {  # by the form of the export, for the record
    SAVED_MODEL: ["SavedModel", "TFLite converter"],
    PROGRAM: ["litert-torch"],
    ONNX: ["onnx2tf"],
    TFLITE: [],
}


def calibrate(float_model: Path, samples: Path, kept: Path, jobs: int, directory: Path) -> None:
    """Writes `directory`/statistics.npz of a TFLite model; see `shards.collect`."""
    shards.collect(tflite_collector, float_model, samples, kept, jobs, directory)


def quantize(
    float_model: Path, recipe: Recipe, statistics: Path | None, pixel_range, directory: Path
) -> dict:
    """Writes the artifact; returns its description and calibration, see `shards.quantized`."""
    return shards.quantized(
        lambda ranges: tflite.quantize(float_model, recipe, ranges, pixel_range, directory),
        recipe,
        statistics,
    )


def take(source: Path, directory: Path) -> dict:
    """Copies a quantized file into the cache; returns its description."""
    described = litert.describe(source)
    shutil.copyfile(source, directory / TFLITE)
    return described


class Tflite(Toolchain):
    name = "tflite"
    file = TFLITE
    packages = ("ai-edge-litert", "keras", "litert-torch", "onnx2tf", "tensorflow")
    floats: ClassVar = {
        SAVED_MODEL: Stage("artifact", convert.to_tflite),
        PROGRAM: Stage("artifact", from_torch.to_tflite),
        ONNX: Stage("artifact", from_onnx.to_tflite),
        TFLITE: Stage("artifact", network_export.keep_tflite),
    }
    calibration = Stage("statistics", calibrate)
    naming = Stage("artifact", convert.name_ends)
    taking = Stage("prequantized", take)
    integer_operators = staticmethod(tflite_graph.what_is_integer_in)

    def refusal(self, form: str, recipe: Recipe) -> str | None:
        if form == SAVED_MODEL or recipe.is_calibrated or recipe.is_reference:
            return None
        if form == TFLITE:
            if recipe.activations == "int16":
                return None
            return (
                "starts from TensorFlow: choose a full integer recipe, or give int8gate the model "
                "that the file was made of"
            )
        return "starts from TensorFlow: choose a calibrated tflite recipe, or an onnx one"

    def quantization(self, recipe: Recipe) -> Quantization:
        if recipe.is_calibrated:
            return Quantization(Stage("artifact", quantize), FLOAT, STATISTICS)
        takes = SAMPLES if recipe.activations == "int16" else None  # its quantizer calibrates
        return Quantization(Stage("artifact", convert.convert), EXPORTED, takes)

    def words(self, form: str, recipe: Recipe) -> list[str]:
        steps = list(_CONVERTERS[form])
        if recipe.is_calibrated:
            ranges = f"calibrated once for all recipes, {recipe.calibration} ranges"
            return [*steps, ranges, "MLIR quantizer"]
        if recipe.activations == "int16":
            steps.append("calibrated and quantized by the converter")
        return steps


register(Tflite())
