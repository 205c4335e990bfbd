"""Recipes: the named ways to quantize. A new one is an entry here and a branch in its toolchain.

A name says toolchain, precision, variant. `weights`/`activations` are what the operators compute
with; `io` is the dtype of the artifact's inputs and outputs. `calibration` is how the ranges of
int8 activations are found: a method of `calibration/thresholds.py`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

ALL_GATES = ("accuracy", "io_dtype", "integer_only", "size", "cpu_speedup", "npu_speedup")


@dataclass(frozen=True)
class Recipe:
    """One way to quantize.

    `slow_on_host`: runs on reference kernels on this host, so that it is scored on a smaller
    sample. `per_channel`: a convolution's weights have a scale for each output channel.
    `pixel_ranges`: pictures get the range of their pixels instead of the calibrated one.
    `is_prequantized`: the model comes as a quantized file, which is taken as it is. `gates` are the
    assertions that make sense for it; the others do not apply.
    """

    name: str
    summary: str
    weights: str
    activations: str
    io: str
    gates: tuple[str, ...] = ALL_GATES
    slow_on_host: bool = False
    per_channel: bool = True
    pixel_ranges: bool = False
    is_prequantized: bool = False
    calibration: str = "min_max"

    @property
    def toolchain(self) -> str:
        """`tflite` or `onnx`: also the format of the artifact."""
        return "tflite" if self.is_prequantized else self.name.partition("_")[0]

    @property
    def is_calibrated(self) -> bool:
        """Its ranges come from the statistics that calibration keeps."""
        return self.activations in ("int8", "uint8") and not self.is_prequantized

    @property
    def io_dtypes(self) -> tuple[str, ...]:
        """The dtypes that inputs and outputs may have."""
        return ("int8", "uint8") if self.is_prequantized else (self.io,)

    @property
    def is_reference(self) -> bool:
        return self.weights == self.activations == "float32"

    @property
    def is_full_integer(self) -> bool:
        return self.activations in ("int8", "uint8", "int16")

    @property
    def gates_cpu_speed(self) -> bool:
        """Full INT8 has fast kernels everywhere; what is slower here by nature is only recorded."""
        return self.activations in ("int8", "uint8")


_FLOAT_GATES = tuple(gate for gate in ALL_GATES if gate != "integer_only")
_REFERENCE_GATES = ("accuracy", "io_dtype", "npu_speedup")


def _calibrated(name: str, calibration: str, summary: str) -> Recipe:
    """Full INT8 of a toolchain with ranges of another method than minimum and maximum."""
    if name.startswith("tflite"):
        return Recipe(name, f"full INT8, {summary}", *["int8"] * 3, calibration=calibration)
    return _onnx(name, f"static INT8 (QDQ), {summary}", calibration)


def _onnx(name: str, summary: str, calibration: str) -> Recipe:
    """uint8 activations with int8 weights: the types that x86 has fast kernels for."""
    return Recipe(name, summary, "int8", "uint8", "float32", calibration=calibration)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "prequantized",
            "the model's own quantized file as it is, int8 or uint8 input and output",
            "int8",
            "int8",
            "uint8",
            is_prequantized=True,
        ),
        Recipe(
            "tflite_fp32",
            "float32 weights and activations: the reference",
            "float32",
            "float32",
            "float32",
            gates=_REFERENCE_GATES,
        ),
        Recipe(
            "tflite_fp16",
            "float16 weights, float32 activations",
            "float16",
            "float32",
            "float32",
            gates=_FLOAT_GATES,
        ),
        Recipe(
            "tflite_dynamic_int8",
            "int8 weights, activations quantized as they come",
            "int8",
            "float32",
            "float32",
            gates=_FLOAT_GATES,
        ),
        Recipe("tflite_int8", "full INT8, int8 input and output", "int8", "int8", "int8"),
        Recipe("tflite_uint8", "full INT8, uint8 input and output", "int8", "int8", "uint8"),
        Recipe(
            "tflite_int8_pixels",
            "full INT8, pictures inside the network keep the range of pixels",
            "int8",
            "int8",
            "int8",
            pixel_ranges=True,
        ),
        Recipe(
            "tflite_int8_per_tensor",
            "full INT8 with one scale for all channels of a weight tensor: what it costs",
            "int8",
            "int8",
            "int8",
            per_channel=False,
        ),
        Recipe(
            "tflite_int16x8",
            "int8 weights, int16 activations, input and output",
            "int8",
            "int16",
            "int16",
            slow_on_host=True,
        ),
        _calibrated("tflite_int8_entropy", "entropy", "ranges of least KL divergence"),
        _calibrated("tflite_int8_percentile", "percentile", "ranges of 99.99% of the values"),
        Recipe(
            "onnx_fp32",
            "float32 weights and activations: the reference",
            "float32",
            "float32",
            "float32",
            gates=_REFERENCE_GATES,
        ),
        Recipe(
            "onnx_dynamic_int8",
            "int8 weights of matrix products, activations quantized as they come",
            "int8",
            "float32",
            "float32",
            gates=_FLOAT_GATES,
        ),
        _onnx("onnx_int8", "static INT8 (QDQ), per channel, ranges of all values", "min_max"),
        _calibrated("onnx_int8_entropy", "entropy", "ranges of least KL divergence"),
        _calibrated("onnx_int8_percentile", "percentile", "ranges of 99.99% of the values"),
        _calibrated("onnx_int8_mse", "mse", "ranges of least squared error"),
    )
}
REFERENCES = {"tflite": RECIPES["tflite_fp32"], "onnx": RECIPES["onnx_fp32"]}


def recipe(name: str) -> Recipe:
    """The recipe of that name; raises ValueError naming the nearest."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=2) or sorted(RECIPES)
        raise ValueError(f"no recipe {name!r}: did you mean {' or '.join(near)}?")
    return RECIPES[name]
