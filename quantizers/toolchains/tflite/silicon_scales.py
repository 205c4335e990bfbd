"""Constants of a quantized `.tflite` in the scales that silicon asks for, as its activations are.

TensorFlow's quantizer takes the largest weight of a channel as 127 steps, and the range of another
constant (one that is added, say) from its least to its largest value, with a zero point. Silicon
that shifts instead of multiplying wants steps of powers of two, also of weights, and silicon
without zero points wants none of constants either.
"""

from __future__ import annotations

import numpy as np

from int8gate.quantizers.calibration.thresholds import powers_of_two, widened
from int8gate.quantizers.recipe_type import POWER_OF_TWO
from int8gate.quantizers.toolchains.tflite.layer_list import ONE_SCALE_KERNELS
from int8gate.quantizers.toolchains.tflite.rounded_constants import (
    AXES,
    MOST,
    RoundedConstants,
    along,
    inputs_of,
)
from int8gate.quantizers.toolchains.tflite.weighted_network import PRODUCTS, TfliteNetwork


def with_silicon_scales(quantized: bytes, float_model: bytes, scales: str) -> bytes:
    """The quantized file with its int8 constants in `scales`, "symmetric" or "power_of_two".

    Biases follow (`RoundedConstants`). A constant that an operator joins with others of one scale
    (a concatenation) has theirs.
    """
    made = _SiliconScales(quantized, TfliteNetwork(float_model), scales)
    made.round_weights()
    made.round_operands()
    made.round_biases()
    return made.content()


class _SiliconScales(RoundedConstants):
    def __init__(self, quantized: bytes, network: TfliteNetwork, scales: str) -> None:
        super().__init__(quantized, network)
        self._scales = scales
        self._weights: set[int] = set()  # constants that layers multiply by

    def round_weights(self) -> None:
        """Rounds the weights of layers to the next powers of two of their scales."""
        for operator in self._graph.operators:
            if self._weights_of(operator) is None:
                continue
            kind = self._edit.opcode(operator)
            index = int(operator.inputs[PRODUCTS[kind][1]])
            if index in self._weights or not self._is_constant(index):
                continue
            self._weights.add(index)
            if self._scales != POWER_OF_TWO:
                continue  # symmetric already
            tensor = self._graph.tensors[index]
            steps = powers_of_two(np.asarray(tensor.quantization.scale, np.float64))
            axis = AXES.get(kind, 0)
            rounded = np.round(self._real(index) / along(steps, len(tensor.shape), axis))
            stored = np.clip(rounded, -MOST, MOST).astype(np.int8)
            self._store(index, stored, steps.astype(np.float32), axis)

    def round_operands(self) -> None:
        """Rounds the constants of other operators: one scale, its zero point 0."""
        moved = {
            index
            for operator in self._graph.operators
            if self._edit.opcode(operator) in ONE_SCALE_KERNELS
            for index in inputs_of(operator)
        }
        for operator in self._graph.operators:
            for index in inputs_of(operator):
                if index < 0 or index in self._weights | moved | self._touched:
                    continue
                if self._is_constant(index):
                    real = self._real(index)
                    low, high = widened((float(real.min()), float(real.max())), self._scales)
                    step = np.float32((high - low) / 255)
                    stored = np.clip(np.round(real / float(step)), -128, 127).astype(np.int8)
                    self._store(index, stored, np.array([step], np.float32), 0)

    def _is_constant(self, index: int) -> bool:
        """Whether a tensor is int8 values with scales."""
        how = self._graph.tensors[index].quantization
        is_rounded = self._edit.dtype(index) == "int8" and how is not None and how.scale is not None
        return is_rounded and self._edit.values(index) is not None
