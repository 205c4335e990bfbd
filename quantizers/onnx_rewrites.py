"""Operators that have no integer kernel in ONNX Runtime, written as others that have one.

A mean over a picture is a global pooling. A normalization of channels that stands alone (a batch
normalization before its convolution, ImageNet's mean and deviation at the input) is a convolution
of one weight a channel: its int8 weights are exact, its int32 bias nearly so. A bias of a matrix
product is a vector, whatever shape broadcasting allows. One pixel that is enlarged is repeated. The
values stay the same.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np


def rewrite(graph) -> None:
    """Rewrites a graph of static shapes in place."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    shapes = _shapes(graph)
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(info.name for info in graph.output)
    nodes, affines = [], {}
    for node in graph.node:
        if node.op_type == "ReduceMean":
            nodes += _pooled(node, constants, shapes)
        elif affine := _affine(node, constants, shapes):
            if affine[0] in affines and uses[affine[0]] == 1:
                made, *inner = affines.pop(affine[0])
                nodes.remove(made)
                affine = _after(inner, affine)
            made = _as_convolution(node, *affine, graph)
            affines[node.output[0]] = (made, *affine)
            nodes.append(made)
        else:
            if node.op_type == "Gemm":
                _flatten_bias(node, constants, graph)
            if node.op_type == "Resize":
                _repeat_single(node, shapes)
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _shapes(graph) -> dict[str, tuple[int, ...]]:
    infos = (*graph.value_info, *graph.input, *graph.output)
    return {
        info.name: tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim)
        for info in infos
        if info.type.tensor_type.HasField("shape")
    }


def _settings(node) -> dict:
    from onnx import helper

    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def _pooled(node, constants: dict, shapes: dict) -> list:
    """A mean over both sides of a map (n, c, h, w) as GlobalAveragePool, others as they are."""
    from onnx import helper, numpy_helper

    settings = _settings(node)
    axes = settings.get("axes", [])
    if len(node.input) > 1 and node.input[1] in constants:  # an input since opset 18
        axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
    if len(shapes.get(node.input[0], ())) != 4 or sorted(axis % 4 for axis in axes) != [2, 3]:
        return [node]
    picture, (mean,) = node.input[0], node.output
    if settings.get("keepdims", 1):
        return [helper.make_node("GlobalAveragePool", [picture], [mean], node.name)]
    pooled = f"{mean}_pooled"
    return [
        helper.make_node("GlobalAveragePool", [picture], [pooled], node.name),
        helper.make_node("Flatten", [pooled], [mean], f"{node.name}_flat"),
    ]


def _affine(node, constants: dict, shapes: dict):
    """(map, factor, offset), a value for each channel, where the node does nothing else."""
    from onnx import numpy_helper

    def array(name: str) -> np.ndarray:
        return numpy_helper.to_array(constants[name]).astype(np.float64)

    place = next((i for i, name in enumerate(node.input) if name not in constants), None)
    if place is None or len(shape := shapes.get(node.input[place], ())) != 4:
        return None
    channels = shape[1]
    if node.op_type == "BatchNormalization" and all(name in constants for name in node.input[1:]):
        factor, offset, mean, variance = map(array, node.input[1:])
        factor = factor / np.sqrt(variance + _settings(node).get("epsilon", 1e-5))
        return node.input[0], factor, offset - mean * factor
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(node.input) != 2:
        return None
    name = node.input[1 - place]
    if name not in constants or not _is_one_each(constants[name].dims, channels):
        return None
    value = array(name).reshape(-1)
    one, none = np.ones(channels), np.zeros(channels)
    found = {
        ("Add", 0): (one, value),
        ("Add", 1): (one, value),
        ("Sub", 0): (one, -value),
        ("Sub", 1): (-one, value),
        ("Mul", 0): (value, none),
        ("Mul", 1): (value, none),
        ("Div", 0): (1 / value, none) if value.all() else None,
    }.get((node.op_type, place))
    return found and (node.input[place], *found)


def _after(inner, outer):
    """One factor and offset for two such nodes in a row."""
    picture, factor, offset = inner
    _, outer_factor, outer_offset = outer
    return picture, factor * outer_factor, offset * outer_factor + outer_offset


def _is_one_each(dims, channels: int) -> bool:
    """A constant (c, 1, 1) or (1, c, 1, 1); a single value belongs to attention's scores."""
    return channels > 1 and tuple(dims) in ((channels, 1, 1), (1, channels, 1, 1))


def _as_convolution(node, picture: str, factor: np.ndarray, offset: np.ndarray, graph):
    from onnx import helper, numpy_helper

    name = node.name or node.output[0]
    weights, bias = f"{name}_factor", f"{name}_offset"
    graph.initializer.extend(
        [
            numpy_helper.from_array(factor.astype(np.float32).reshape(-1, 1, 1, 1), weights),
            numpy_helper.from_array(offset.astype(np.float32), bias),
        ]
    )
    return helper.make_node(
        "Conv",
        [picture, weights, bias],
        [node.output[0]],
        node.name,
        group=len(factor),
        kernel_shape=[1, 1],
    )


def _repeat_single(node, shapes: dict) -> None:
    """Enlarging one pixel repeats it in any mode; only the nearest one has an integer form."""
    from onnx import helper

    if shapes.get(node.input[0], ())[2:] != (1, 1):
        return
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("mode", "nearest"))
    node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))


def _flatten_bias(node, constants: dict, graph) -> None:
    """Folds alpha and beta into the constants and makes the bias a vector of the outputs."""
    from onnx import helper, numpy_helper

    settings = _settings(node)
    alpha, beta = settings.get("alpha", 1.0), settings.get("beta", 1.0)
    if len(node.input) < 2 or node.input[1] not in constants:
        return
    outputs = constants[node.input[1]].dims[0 if settings.get("transB", 0) else 1]
    bias = constants.get(node.input[2]) if len(node.input) > 2 else None
    if len(node.input) > 2 and (bias is None or math.prod(bias.dims) not in (1, outputs)):
        return
    if bias is not None and len(bias.dims) == 2 and bias.dims[0] > 1:
        return
    changed = {}
    if alpha != 1:
        changed[1] = numpy_helper.to_array(constants[node.input[1]]) * np.float32(alpha)
    if bias is not None and (beta != 1 or tuple(bias.dims) != (outputs,)):
        values = numpy_helper.to_array(bias).reshape(-1) * np.float32(beta)
        changed[2] = np.broadcast_to(values, (outputs,)).copy()
    for place, values in changed.items():
        name = f"{node.name or node.output[0]}_{('weights', 'bias')[place - 1]}"
        graph.initializer.append(numpy_helper.from_array(values, name))
        node.input[place] = name
    kept = [entry for entry in node.attribute if entry.name not in ("alpha", "beta")]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend([helper.make_attribute("alpha", 1.0), helper.make_attribute("beta", 1.0)])
