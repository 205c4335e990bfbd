"""Scales that a model came with, in a quantized `.tflite`, where the quantizer chose others.

TensorFlow's quantizer takes the largest weight of a channel as 127 steps, whatever a training
chose, and gives what an operator joins or moves (a concatenation) one scale. So tensors get the
scales that they came with; before an operator that keeps a scale stands a QUANTIZE where it reads
another one; weights are rounded again, and the int32 biases, whose steps are those of the data
times those of the weights (TFLite's quantization specification). That also has int8 weights within
-127..127, symmetric: a weight of -128 steps becomes one of -127, and a channel with a zero point,
which PyTorch's fused observer gives to one whose weights are of one sign, is rounded by its largest
weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from int8gate.engine.errors import some_of
from int8gate.quantizers.file_scales import SAME_SCALE, FileScales, LayerScales, Shipped
from int8gate.quantizers.toolchains.tflite.graph_edit import GraphEdit
from int8gate.quantizers.toolchains.tflite.layer_list import ONE_SCALE_KERNELS
from int8gate.quantizers.toolchains.tflite.ranges import computed
from int8gate.quantizers.toolchains.tflite.rounded_constants import (
    AXES,
    MOST,
    RoundedConstants,
    along,
    inputs_of,
    name_of,
)
from int8gate.quantizers.toolchains.tflite.weighted_network import PRODUCTS, TfliteNetwork
from int8gate.runtimes.tflite_graph import opened

LOW = {"int8": -128, "uint8": 0}
FIXED = ("LOGISTIC", "SOFTMAX", "LOG_SOFTMAX", "TANH", "L2_NORMALIZATION")  # scales of outputs
# Given another scale behind: those that part what they read, and means, whose terms lie outside of
# the range that they have themselves.
RESCALED_BEHIND = ("SPLIT", "SPLIT_V", "UNPACK", "AVERAGE_POOL_2D", "RESIZE_BILINEAR")


def with_given_scales(
    quantized: bytes, float_model: bytes, of_file: FileScales
) -> tuple[bytes, list[str]]:
    """The quantized file with the scales that the float one came with, and sentences for the
    record. What has no 8 bits there stays as it is, and so do scales that an operator fixes.
    """
    rescaling = _Rescaling(quantized, TfliteNetwork(float_model))
    rescaling.give_activations(of_file.ranges)
    for name, of in of_file.weights.items():
        rescaling.give_weights(name, of)
    rescaling.round_biases()
    notes = []
    if rescaling.added:
        notes.append(
            f"{rescaling.added} QUANTIZE were put beside operators that keep a scale: what they "
            "read was trained in another one than what they give"
        )
    clipped = [count for count in rescaling.clipped.values() if count]
    if clipped:
        notes.append(
            f"{sum(clipped)} weights of -128 steps ({len(clipped)} layers) became -127: TFLite's "
            "int8 weights are within -127..127"
        )
    if rescaling.symmetric:
        count = sum(rescaling.symmetric.values())
        notes.append(
            f"{count} channels of the weights {some_of(list(rescaling.symmetric))} had a "
            "zero point, which TFLite's weights have not: their scale is that of their largest "
            "weight"
        )
    return rescaling.content(), notes


def shipped_scales(path: Path) -> Shipped:
    """Of a quantized file, by the names that its tensors have in the float one."""
    content = path.read_bytes()
    graph = (whole := opened(content)).subgraphs[0]
    edit, activations, weights = GraphEdit(whole, graph), {}, {}
    for name, index in computed(content).items():
        how = graph.tensors[index].quantization
        if how is None or how.scale is None or len(how.scale) != 1:
            continue
        if edit.dtype(index) in LOW:
            point = int(how.zeroPoint[0]) - LOW[edit.dtype(index)] + LOW["int8"]
            activations[name] = float(how.scale[0]), point
    for operator in graph.operators:
        place = PRODUCTS.get(edit.opcode(operator), (0, None, None))[1]
        if place is not None:
            tensor = graph.tensors[int(operator.inputs[place])]
            if tensor.quantization is not None and tensor.quantization.scale is not None:
                weights[name_of(tensor)] = np.asarray(tensor.quantization.scale, np.float32)
    return Shipped(activations, weights)


class _Rescaling(RoundedConstants):
    """Gives tensors and weights the scales of a training."""

    def __init__(self, quantized: bytes, network: TfliteNetwork) -> None:
        super().__init__(quantized, network)
        self._index = computed(quantized)
        self.clipped: dict[str, int] = {}  # weights, by layer
        self.symmetric: dict[str, int] = {}  # channels, by layer
        self.added = 0

    def give_activations(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        """Gives tensors the scale and zero point of their range, and joins operators to them."""
        fixed = {
            int(index)
            for operator in self._graph.operators
            if self._edit.opcode(operator) in FIXED
            for index in operator.outputs
        }
        for name, (low, high) in ranges.items():
            index = self._index.get(name)
            if index is None or index in fixed or self._edit.dtype(index) not in LOW:
                continue
            how, step = self._graph.tensors[index].quantization, (high - low) / 255
            if how is None or how.scale is None or len(how.scale) != 1:
                continue
            point = round(LOW[self._edit.dtype(index)] - low / step)
            if abs(how.scale[0] / step - 1) > SAME_SCALE or int(how.zeroPoint[0]) != point:
                how.scale, how.zeroPoint = np.float32([step]), np.int64([point])
                self._touched.add(index)
        for operator in list(self._graph.operators):
            ends = {*map(int, operator.outputs), *inputs_of(operator)}
            if self._edit.opcode(operator) in ONE_SCALE_KERNELS and ends & self._touched:
                self._join(operator)

    def give_weights(self, name: str, of: LayerScales) -> None:
        """Gives the weights of that name in the float file other scales, and rounds them."""
        readers = [each for each in self._graph.operators if self._weights_of(each) == name]
        kinds = {self._edit.opcode(operator) for operator in readers}
        values = self._network.constant(name)
        if values is None or len(kinds) != 1:
            return
        kind = kinds.pop()
        axis, index = AXES.get(kind), int(readers[0].inputs[PRODUCTS[kind][1]])
        tensor = self._graph.tensors[index]
        if self._edit.dtype(index) != "int8" or tuple(tensor.shape) != values.shape:
            return
        if axis is None and not of.is_per_tensor:
            return
        is_one = of.is_per_tensor and (axis is None or len(tensor.quantization.scale) == 1)
        scales = self._symmetric(name, of, values, axis)
        scales = scales[:1] if is_one else scales
        steps = np.round(values.astype(np.float64) / along(scales, values.ndim, axis))
        self.clipped[name] = int((np.abs(steps) > MOST).sum())
        stored = np.clip(steps, -MOST, MOST).astype(np.int8)
        self._store(index, stored, scales, axis or 0)

    def _symmetric(
        self, name: str, of: LayerScales, values: np.ndarray, axis: int | None
    ) -> np.ndarray:
        """The scales (outputs,), without zero points."""
        scales, has_point = np.array(of.scales, np.float32), np.array(of.zero_points) != 0
        if has_point.any():
            self.symmetric[name] = int(has_point.sum())
            rows = values if axis is None else np.moveaxis(values, axis, 0)
            rows = rows.reshape(len(scales) if axis is not None else 1, -1)
            largest = np.abs(rows).max(axis=1)
            if of.is_per_tensor:
                largest = np.full_like(scales, largest.max())
            widest = np.maximum(largest, np.finfo(np.float32).tiny * MOST) / MOST
            scales[has_point] = widest[has_point]
        return scales

    def _join(self, operator) -> None:
        """Lets an operator that keeps a scale read and write one."""
        outputs, inputs = list(map(int, operator.outputs)), inputs_of(operator)
        if self._edit.opcode(operator) in RESCALED_BEHIND:
            (read,) = (index for index in inputs if index >= 0 and self._is_integer(index))
            for place, index in enumerate(outputs):
                if not self._is_same(read, index):
                    outputs[place] = self._like(index, read)
                    self._requantize(outputs[place], index, operator, behind=True)
            operator.outputs = outputs
            return
        for place, index in enumerate(inputs):
            if index < 0 or not self._is_integer(index) or self._is_same(index, outputs[0]):
                continue
            inputs[place] = self._like(index, outputs[0])
            self._requantize(index, inputs[place], operator, behind=False)
        operator.inputs = inputs

    def _requantize(self, source: int, target: int, operator, behind: bool) -> None:
        made = self._edit.operator("QUANTIZE", [source], [target], "QuantizeOptions")
        place = next(n for n, each in enumerate(self._graph.operators) if each is operator)
        self._graph.operators.insert(place + behind, made)
        self.added += 1

    def _like(self, shaped: int, scaled: int) -> int:
        """A new tensor of the shape of one and of the dtype and scale of another."""
        made = self._edit.like(shaped, "rescaled")
        tensor, of = self._graph.tensors[made], self._graph.tensors[scaled]
        tensor.type = of.type
        tensor.quantization.scale = np.float32(of.quantization.scale)
        tensor.quantization.zeroPoint = np.int64(of.quantization.zeroPoint)
        return made

    def _is_integer(self, index: int) -> bool:
        how = self._graph.tensors[index].quantization
        return self._edit.dtype(index) in LOW and how is not None and how.scale is not None

    def _is_same(self, one: int, other: int) -> bool:
        first, second = (self._graph.tensors[each].quantization for each in (one, other))
        is_near = abs(first.scale[0] / second.scale[0] - 1) <= SAME_SCALE
        return bool(is_near and int(first.zeroPoint[0]) == int(second.zeroPoint[0]))
