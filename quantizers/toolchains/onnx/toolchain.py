"""The ONNX toolchain: ONNX files, quantized as QDQ or dynamically, run by ONNX Runtime.

The stages here run in the worker process.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from int8gate.quantizers.calibration import shards
from int8gate.quantizers.recipe import Recipe
from int8gate.quantizers.stage import Stage
from int8gate.quantizers.toolchains.onnx import collector as onnx_collector
from int8gate.quantizers.toolchains.onnx import from_torch
from int8gate.quantizers.toolchains.onnx import quantize as onnx_quantize
from int8gate.quantizers.toolchains.registry import register
from int8gate.quantizers.toolchains.toolchain import FLOAT, STATISTICS, Quantization, Toolchain
from int8gate.runtimes import onnx_graph
from int8gate.runtimes.artifact import ONNX, PROGRAM

QUANTIZER = "ONNX Runtime's quantizer"
_TO_ONNX = Stage("artifact", from_torch.to_onnx)


def calibrate(float_model: Path, samples: Path, kept: Path, jobs: int, directory: Path) -> None:
    """Writes `directory`/statistics.npz of an ONNX model; see `shards.collect`."""
    shards.collect(onnx_collector, float_model, samples, kept, jobs, directory)


def quantize(
    float_model: Path, recipe: Recipe, statistics: Path | None, pixel_range, directory: Path
) -> dict:
    """Writes the artifact; returns its description and calibration, see `shards.quantized`."""
    return shards.quantized(
        lambda ranges: onnx_quantize.quantize(float_model, recipe, ranges, directory),
        recipe,
        statistics,
    )


class Onnx(Toolchain):
    name = "onnx"
    file = ONNX
    packages = ("onnxruntime",)
    floats: ClassVar = {PROGRAM: _TO_ONNX, ONNX: _TO_ONNX}
    calibration = Stage("statistics", calibrate)
    integer_operators = staticmethod(onnx_graph.what_ran_as_integer)

    def refusal(self, form: str, recipe: Recipe) -> str | None:
        if form in self.floats:
            return None
        return "starts from PyTorch, Darknet or ONNX: choose a tflite recipe"

    def quantization(self, recipe: Recipe) -> Quantization:
        takes = STATISTICS if recipe.is_calibrated else None
        return Quantization(Stage("artifact", quantize), FLOAT, takes)

    def words(self, form: str, recipe: Recipe) -> list[str]:
        steps = [] if form == ONNX else ["ONNX exporter"]
        if recipe.is_calibrated:
            steps.append(f"calibrated once for all recipes, {recipe.calibration} ranges")
        return steps if recipe.is_reference else [*steps, QUANTIZER]


register(Onnx())
