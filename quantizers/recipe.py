"""Recipes: the named ways to quantize. A new one is an entry here and a branch in its toolchain.

A name says toolchain, precision, variant. `weights`/`activations` are what the operators compute
with; `io` is the dtype of the artifact's inputs and outputs.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

ALL_GATES = ("accuracy", "io_dtype", "integer_only", "size", "cpu_speedup", "npu_speedup")


@dataclass(frozen=True)
class Recipe:
    """One way to quantize.

    `slow_on_host`: runs on reference kernels on this host, so that it is scored on a fixed smaller
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

    @property
    def io_dtypes(self) -> tuple[str, ...]:
        """The dtypes that inputs and outputs may have."""
        return ("int8", "uint8") if self.is_prequantized else (self.io,)

    @property
    def is_reference(self) -> bool:
        return self.weights == self.activations == "float32"

    @property
    def is_full_integer(self) -> bool:
        return self.activations in ("int8", "int16")

    @property
    def gates_cpu_speed(self) -> bool:
        """Full INT8 has fast kernels everywhere; what is slower here by nature is only recorded."""
        return self.activations == "int8"


_FLOAT_GATES = tuple(gate for gate in ALL_GATES if gate != "integer_only")
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
            gates=("accuracy", "io_dtype", "npu_speedup"),
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
    )
}


def recipe(name: str) -> Recipe:
    """The recipe of that name; raises ValueError naming the nearest."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=2) or sorted(RECIPES)
        raise ValueError(f"no recipe {name!r}: did you mean {' or '.join(near)}?")
    return RECIPES[name]
