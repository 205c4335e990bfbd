"""ONNX files, quantized as QDQ or dynamically, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from int8gate.quantizers.layer import Layer
from int8gate.quantizers.recipe_type import FLOAT16, FLOAT32, INT4, ROUNDED_BY_SAMPLES, Recipe
from int8gate.quantizers.stage import Stage
from int8gate.quantizers.toolchains.registry import register
from int8gate.quantizers.toolchains.toolchain import (
    FLOAT,
    SAMPLES,
    STATISTICS,
    Quantization,
    Toolchain,
)
from int8gate.runtimes import onnx_graph
from int8gate.runtimes.artifact import ONNX, PROGRAM

QUANTIZER = "ONNX Runtime's quantizer"
_HERE = "int8gate.quantizers.toolchains.onnx"


class Onnx(Toolchain):
    name = "onnx"
    file = ONNX
    packages = ("onnxruntime",)
    floats: ClassVar = {
        PROGRAM: Stage("artifact", f"{_HERE}.from_torch:to_onnx"),
        ONNX: Stage("artifact", f"{_HERE}.with_scales:to_onnx"),
    }
    calibration = Stage("statistics", f"{_HERE}.stages:calibrate")
    remedies: ClassVar = {
        "cle": Stage("remedy", f"{_HERE}.remedies:equalize"),
        "smooth": Stage("remedy", f"{_HERE}.remedies:smooth"),
        "bias": Stage("remedy", f"{_HERE}.rounding_remedies:correct_bias"),
        "adaround": Stage("remedy", f"{_HERE}.rounding_remedies:round_adaptively"),
    }
    sharing = Stage("artifact", f"{_HERE}.stages:share_weights")
    training = Stage("trained", f"{_HERE}.trained_artifact:train")
    integer_operators = staticmethod(onnx_graph.what_ran_as_integer)
    segmented = f"{_HERE}.segments:opened"
    widths = (INT4, FLOAT16, FLOAT32)

    def layers(self, float_model: Path) -> list[Layer]:
        from int8gate.quantizers.toolchains.onnx.layer_list import layers

        return layers(float_model)

    def refusal(self, form: str, recipe: Recipe) -> str | None:
        if form in self.floats:
            return None
        return "starts from PyTorch, Darknet or ONNX: choose a tflite recipe"

    def quantization(self, recipe: Recipe) -> Quantization:
        takes = STATISTICS if recipe.is_calibrated else None
        takes = SAMPLES if recipe.rounding in ROUNDED_BY_SAMPLES else takes
        return Quantization(Stage("artifact", f"{_HERE}.stages:quantize"), FLOAT, takes)

    def words(self, form: str, recipe: Recipe) -> list[str]:
        steps = [] if form == ONNX else ["ONNX exporter"]
        if recipe.is_calibrated:
            steps.append(f"calibrated once for all recipes, {recipe.calibration} ranges")
        if recipe.is_trained:
            steps.append("weights and scales trained")
        if not recipe.is_reference:
            steps.append(QUANTIZER)
        if recipe.rounding in ROUNDED_BY_SAMPLES:
            steps.append("weights rounded again, by samples of calibration")
        return steps


register(Onnx())
