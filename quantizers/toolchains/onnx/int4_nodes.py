"""Matrix products of a quantized ONNX graph whose constant weights a recipe's rules give int4.

They are float32 first (`float_nodes.py`); then their weights are integers from -7 to 7 behind a
DequantizeLinear, with a scale for each `BLOCK` rows of a column from opset 21 on, before that for
each column (by the operator of ONNX Runtime's own domain). ONNX Runtime 1.31 multiplies floats by
such weights (MatMulNBits, or as it dequantizes them): the file is smaller, no product integer. Of a
convolution it takes no such weights.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from int8gate.model_zoo.importers.onnx.structure import Names, sort_nodes
from int8gate.quantizers.int4 import LEVELS, packed
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.toolchains.onnx.graph_view import drop_unread_constants

BLOCK = 32
BLOCKED_SINCE = 21  # opset
LEAST_IR = 10  # version of the format that knows int4
MICROSOFT = "com.microsoft"


def check_int4(model, recipe: Recipe, chosen: Collection[str]) -> None:
    """Raises ValueError for the first of the chosen nodes of a float model that takes no int4."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.name not in chosen:
            continue
        if not takes_int4(node, constants):
            raise ValueError(
                f"{recipe.name}: {node.op_type} ({node.name}) has no int4 form in ONNX Runtime, "
                "which takes int4 of MatMul and Gemm with a constant matrix: take it out of the "
                "recipe's int4 operators"
            )


def takes_int4(node, constants: Mapping) -> bool:
    """Whether ONNX Runtime multiplies by int4 weights in its place; `constants` are the graph's
    tensors by name.
    """
    weights = constants.get(node.input[1]) if len(node.input) > 1 else None
    is_matrix = weights is not None and len(weights.dims) == 2
    return node.op_type in ("MatMul", "Gemm") and is_matrix


def as_int4(model, chosen: Collection[str]) -> None:
    """Gives the weights of the chosen nodes int4, in place."""
    graph, names = model.graph, Names(model.graph)
    nodes = [node for node in graph.node if node.name in chosen]
    if not nodes:
        return
    constants = {tensor.name: tensor for tensor in graph.initializer}
    domain = know_int4(model)
    made: dict[tuple[str, int], str] = {}  # by weights and the axis that is summed over
    for node in nodes:
        key = node.input[1], _summed_axis(node)
        if key not in made:
            made[key] = _dequantized(graph, names, constants[key[0]], key[1], domain)
        node.input[1] = made[key]
    drop_unread_constants(graph)
    sort_nodes(graph)


def know_int4(model) -> str:
    """Lets a model hold int4, in place; returns the domain of its DequantizeLinear of int4."""
    model.ir_version = max(model.ir_version, LEAST_IR)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if max(opsets.get("", 1), opsets.get("ai.onnx", 1)) >= BLOCKED_SINCE:
        return ""
    if MICROSOFT not in opsets:
        model.opset_import.add(domain=MICROSOFT, version=1)
    return MICROSOFT


def _summed_axis(node) -> int:
    """Of the weights: rows (k, n), or columns of transposed ones (n, k)."""
    return int(any(entry.name == "transB" and entry.i for entry in node.attribute))


def _dequantized(graph, names: Names, tensor, axis: int, domain: str) -> str:
    """The tensor of a new DequantizeLinear over the weights, which become int4."""
    from onnx import TensorProto, helper, numpy_helper

    values = numpy_helper.to_array(tensor)
    blocked = not domain and values.shape[axis] % BLOCK == 0
    size = BLOCK if blocked else values.shape[axis]
    rows = values if axis == 0 else values.T
    parts = rows.reshape(-1, size, rows.shape[1])
    scales = np.maximum(abs(parts).max(axis=1), np.finfo(np.float32).tiny) / LEVELS
    integers = np.rint(parts / scales[:, None]).clip(-LEVELS, LEVELS).reshape(rows.shape)
    integers = (integers if axis == 0 else integers.T).astype(np.int8)
    scales = (scales if axis == 0 else scales.T) if blocked else scales[0]
    stored, scale, result = (names.new(f"{tensor.name}_{part}") for part in _PARTS)
    graph.initializer.append(
        helper.make_tensor(stored, TensorProto.INT4, values.shape, packed(integers), raw=True)
    )
    graph.initializer.append(numpy_helper.from_array(scales.astype(np.float32), scale))
    how = {"axis": axis, "block_size": BLOCK} if blocked else {"axis": 1 - axis}
    name = names.new(f"{tensor.name}_DequantizeInt4")
    ends = [stored, scale], [result]
    graph.node.append(helper.make_node("DequantizeLinear", *ends, name, domain=domain, **how))
    return result


_PARTS = ("int4", "int4_scale", "from_int4")
