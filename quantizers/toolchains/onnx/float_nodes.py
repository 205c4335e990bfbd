"""What a node needs that stays float amid integers, so that ONNX Runtime leaves it float.

Where a DequantizeLinear of one scale, a convolution or Gemm of float weights and a QuantizeLinear
stand in a row, ONNX Runtime makes the weights int8 with a single scale when it loads the file
(`WeightBiasQuantization` in its `core/optimizer/qdq_transformer`). It asks for one scale, so such a
node gets a DequantizeLinear of its own with a scale for each channel, all of them equal: the values
are the same, bit for bit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import numpy as np

from int8gate.model_zoo.importers.onnx.structure import Names

MADE_INTEGER = ("Conv", "ConvTranspose", "Gemm")  # by ONNX Runtime, as it loads a file


def part_constants(graph, kept: Collection[str]) -> None:
    """Gives `kept` nodes constants of their own, in place: the quantizer changes what others read.

    Two convolutions may share their weights.
    """
    readers = defaultdict(set)
    for node in graph.node:
        for name in node.input:
            readers[name].add(node.name)
    names, kept = Names(graph), set(kept)
    for tensor in list(graph.initializer):
        if not (readers[tensor.name] & kept and readers[tensor.name] - kept):
            continue
        copy = graph.initializer.add()
        copy.CopyFrom(tensor)
        copy.name = names.new(f"{tensor.name}_float")
        for node in graph.node:
            if node.name in kept:
                node.input[:] = [copy.name if n == tensor.name else n for n in node.input]


def shapes_of(graph) -> dict[str, tuple[int, ...]]:
    """The static shape of each tensor that an inference computes or takes."""
    return {
        info.name: tuple(side.dim_value for side in info.type.tensor_type.shape.dim)
        for info in (*graph.input, *graph.value_info, *graph.output)
    }


def feed_floats(graph, kept: Collection[str], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Turns the inputs of `kept` nodes in a quantized graph, in place; `shapes` are its tensors'.

    What another of them or the caller gives is read as it is, not as it is rounded for others; what
    has 8 bits, a convolution or Gemm reads with a scale for each channel. Nodes may be out of order
    afterwards.
    """
    producer = {name: node for node in graph.node for name in node.output}
    floats = {info.name for info in graph.input}
    floats |= {name for node in graph.node if node.name in kept for name in node.output}
    spread: dict[str, str] = {}
    for node in list(graph.node):
        for place, name in enumerate(node.input if node.name in kept else ()):
            before = producer.get(name)
            if before is None or before.op_type != "DequantizeLinear":
                continue
            rounded = producer.get(before.input[0])
            if rounded is None or rounded.op_type != "QuantizeLinear":
                continue
            if rounded.input[0] in floats:
                node.input[place] = rounded.input[0]
            elif place == 0 and node.op_type in MADE_INTEGER:
                if name not in spread:
                    spread[name] = _spread(graph, before, shapes.get(rounded.input[0], ()))
                node.input[place] = spread[name]


def _spread(graph, dequantize, shape: tuple[int, ...]) -> str:
    """The tensor of a new DequantizeLinear with a scale for each entry along an axis.

    `dequantize` has one scale, its tensor the given shape. A single value has no such axis, and
    its own tensor is given.
    """
    from onnx import helper, numpy_helper

    axis = next((axis for axis, side in enumerate(shape) if side > 1), None)
    if axis is None:
        return dequantize.output[0]
    constants = {tensor.name: tensor for tensor in graph.initializer}
    result = f"{dequantize.output[0]}_channels"
    inputs = [dequantize.input[0]]
    for name, part in zip(dequantize.input[1:], ("scale", "zero_point"), strict=True):
        value = numpy_helper.to_array(constants[name])
        inputs.append(f"{result}_{part}")
        array = np.full(shape[axis], value.item(), value.dtype)
        graph.initializer.append(numpy_helper.from_array(array, inputs[-1]))
    name = f"{dequantize.name}_channels"
    graph.node.append(helper.make_node("DequantizeLinear", inputs, [result], name, axis=axis))
    return result
