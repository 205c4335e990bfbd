"""The bounds of a Relu or Clip that ONNX Runtime's quantizer took out, where its range is wider.

The quantizer takes a Relu or Clip into the operator before: the range of the integers is to end
where the activation does. A range that came with the network, was trained, or is a power of two
need not: int8 with the zero point 0, as NVIDIA ModelOpt has it behind a ReLU, lets negative values
pass. There a Clip of the integers gives the bounds back, between QuantizeLinear and
DequantizeLinear. Rounding is monotone, so that it gives what rounding behind the activation gave.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from int8gate.model_zoo.importers.onnx.structure import read_instead
from int8gate.quantizers.toolchains.onnx.placement import ACTIVATIONS

Bounds = tuple[float, float]


def activation_bounds(graph) -> dict[str, Bounds]:
    """The least and largest value of what each Relu and Clip with constant bounds gives."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    found = {}
    for node in graph.node:
        if node.op_type not in ACTIVATIONS:
            continue
        low, high = (0.0 if node.op_type == "Relu" else -np.inf), np.inf
        given = [*node.input[1:], "", ""][:2]
        if all(name in constants for name in given if name):
            values = [
                numpy_helper.to_array(constants[name]).item() if name else None for name in given
            ]
            low, high = (
                old if new is None else new for old, new in zip((low, high), values, strict=True)
            )
            found[node.output[0]] = float(low), float(high)
    return found


def give_bounds_back(graph, bounds: Mapping[str, Bounds]) -> None:
    """Puts a Clip behind each QuantizeLinear of a tensor whose Relu or Clip is gone and whose
    integers reach beyond its `bounds`, in place. Nodes may be out of order then.
    """
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    added = []
    for node in list(graph.node):
        tensor = node.input[0] if node.input else ""
        if node.op_type != "QuantizeLinear" or tensor not in bounds:
            continue
        if made_by.get(tensor) in ACTIVATIONS:
            continue
        scale, point = (numpy_helper.to_array(constants[name]) for name in node.input[1:3])
        limits = np.iinfo(point.dtype)
        ends = np.round(np.asarray(bounds[tensor]) / float(scale.item())) + int(point.item())
        low, high = np.clip(ends, limits.min, limits.max).astype(point.dtype)
        if low == limits.min and high == limits.max:
            continue
        given, (whole,) = [], node.output
        for part, value in (("lowest", low), ("highest", high)):
            given.append(f"{whole}_{part}")
            graph.initializer.append(numpy_helper.from_array(np.array(value), given[-1]))
        within = f"{whole}_within"
        read_instead(graph, whole, within)
        added.append(helper.make_node("Clip", [whole, *given], [within], f"{whole}_Clip"))
    graph.node.extend(added)
