"""The scales and zero points of a quantized ONNX file (QDQ), by tensors of its float file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from int8gate.quantizers.exposed import plain
from int8gate.quantizers.file_scales import Shipped
from int8gate.quantizers.toolchains.onnx.weighted_network import PRODUCTS

SHIFT = {"int8": 0, "uint8": -128}  # of a zero point, to that of int8


def shipped_scales(path: Path, float_model: Path) -> Shipped:
    """Of activations by tensor, of weights by the constant that the float file has for them."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}

    def array(name: str) -> np.ndarray:
        return numpy_helper.to_array(stored[name])

    activations = {}
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] not in stored:
            scale, zero = array(node.input[1]), array(node.input[2])
            if scale.size == 1 and str(zero.dtype) in SHIFT:
                point = int(zero.item()) + SHIFT[str(zero.dtype)]
                activations[plain(node.input[0])] = float(scale.item()), point
    products = {node.name: node for node in graph.node if node.op_type in PRODUCTS}
    weights = {}
    for node in onnx.load(str(float_model), load_external_data=False).graph.node:
        twin = products.get(node.name)
        dequantizer = made.get(twin.input[1]) if twin is not None else None
        if dequantizer is None or dequantizer.op_type != "DequantizeLinear":
            continue
        if dequantizer.input[1] in stored:
            weights[node.input[1]] = np.atleast_1d(array(dequantizer.input[1]))
    return Shipped(activations, weights)
