"""A float `.onnx` with the weights that a quantized file (QDQ) has, as real values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from int8gate.quantizers.toolchains.onnx.weighted_network import PRODUCTS, OnnxNetwork


def rounded(float_model: Path, quantized: Path) -> OnnxNetwork:
    """The float network with its layers' weights as the quantized file rounds them.

    A layer that stays float there keeps its own. Layers are found by the names of their nodes.
    """
    import onnx
    from onnx import numpy_helper

    found = onnx.load(str(quantized)).graph
    stored = {tensor.name: tensor for tensor in found.initializer}
    made = {name: node for node in found.node for name in node.output}
    layers = {node.name: node for node in found.node if node.op_type in PRODUCTS}
    model = onnx.load(str(float_model))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        twin = layers.get(node.name)
        if node.op_type not in PRODUCTS or twin is None or node.input[1] not in constants:
            continue
        dequantizer = made.get(twin.input[1])
        if dequantizer is None or dequantizer.op_type != "DequantizeLinear":
            continue
        parts = [stored.get(name) for name in dequantizer.input]
        if None in parts:
            continue
        axis = next((entry.i for entry in dequantizer.attribute if entry.name == "axis"), 1)
        values = _real([numpy_helper.to_array(part) for part in parts], axis)
        name = node.input[1]
        if values.shape == tuple(constants[name].dims):
            constants[name].CopyFrom(numpy_helper.from_array(values, name))
    return OnnxNetwork(model)


def _real(parts: list[np.ndarray], axis: int) -> np.ndarray:
    """Of integers, scale and maybe zero point, as DequantizeLinear has them, float32."""
    values, scale, *zero = parts
    zero_point = zero[0] if zero else np.zeros_like(scale, values.dtype)
    if scale.ndim and scale.size > 1:
        shape = [1] * values.ndim
        shape[axis] = -1
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    wide = values.astype(np.int32) - zero_point.astype(np.int32)
    return (wide * scale.astype(np.float32)).astype(np.float32)
