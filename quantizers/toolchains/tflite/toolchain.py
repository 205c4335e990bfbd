"""TFLite files, quantized by TensorFlow's MLIR quantizer or its converter, run by LiteRT."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from int8gate.quantizers.layer import Layer
from int8gate.quantizers.recipe_type import FLOAT32, INT4, INT16, Recipe
from int8gate.quantizers.stage import Stage
from int8gate.quantizers.toolchains.registry import register
from int8gate.quantizers.toolchains.toolchain import (
    EXPORTED,
    FLOAT,
    SAMPLES,
    STATISTICS,
    Quantization,
    Toolchain,
)
from int8gate.runtimes import tflite_integers
from int8gate.runtimes.artifact import ONNX, PROGRAM, SAVED_MODEL, TFLITE

_HERE = "int8gate.quantizers.toolchains.tflite"
_CONVERTERS = {  # by the form of the export, for the record
    SAVED_MODEL: ["SavedModel", "TFLite converter"],
    PROGRAM: ["litert-torch"],
    ONNX: ["onnx2tf"],
    TFLITE: [],
}


class Tflite(Toolchain):
    name = "tflite"
    file = TFLITE
    packages = (
        *("ai-edge-litert", "ai-edge-quantizer", "keras", "litert-torch", "onnx2tf"),
        "tensorflow",
    )
    floats: ClassVar = {
        SAVED_MODEL: Stage("artifact", f"{_HERE}.convert:to_tflite"),
        PROGRAM: Stage("artifact", f"{_HERE}.from_torch:to_tflite"),
        ONNX: Stage("artifact", f"{_HERE}.with_scales:to_tflite"),
        TFLITE: Stage("artifact", "int8gate.quantizers.network_export:keep_tflite"),
    }
    calibration = Stage("statistics", f"{_HERE}.stages:calibrate")
    naming = Stage("artifact", f"{_HERE}.tensor_names:name_ends")
    remedies: ClassVar = {
        "cle": Stage("remedy", f"{_HERE}.remedies:equalize"),
        "smooth": Stage("remedy", f"{_HERE}.remedies:smooth"),
        "bias": Stage("remedy", f"{_HERE}.rounding_remedies:correct_bias"),
        "adaround": Stage("remedy", f"{_HERE}.rounding_remedies:round_adaptively"),
    }
    training = Stage("trained", f"{_HERE}.trained_artifact:train")
    taking = Stage("prequantized", f"{_HERE}.stages:take")
    integer_operators = staticmethod(tflite_integers.what_is_integer_in)
    segmented = f"{_HERE}.segments:opened"
    widths = (INT4, INT16, FLOAT32)

    def layers(self, float_model: Path) -> list[Layer]:
        from int8gate.quantizers.toolchains.tflite.layer_list import layers

        return layers(float_model)

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
            return Quantization(Stage("artifact", f"{_HERE}.stages:quantize"), FLOAT, STATISTICS)
        takes = SAMPLES if recipe.activations == "int16" else None  # its quantizer calibrates
        return Quantization(Stage("artifact", f"{_HERE}.convert:convert"), EXPORTED, takes)

    def words(self, form: str, recipe: Recipe) -> list[str]:
        steps = list(_CONVERTERS[form])
        if recipe.is_calibrated:
            ranges = f"calibrated once for all recipes, {recipe.calibration} ranges"
            trained = ["weights and scales trained"] if recipe.is_trained else []
            return [*steps, ranges, *trained, "MLIR quantizer"]
        if recipe.activations == "int16":
            steps.append("calibrated and quantized by the converter")
        return steps


register(Tflite())
