"""OpenVINO's FakeQuantize, as NNCF's PyTorch networks are exported with it, as pairs of ONNX.

FakeQuantize(x, low, high, low, high) rounds to one of `levels` values from low to high
(https://docs.openvino.ai, operation FakeQuantize-1). Where zero is one of them, that is what
QuantizeLinear and DequantizeLinear to int8 compute; ONNX Runtime has no kernel for the former.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

DOMAIN = "org.openvinotoolkit"
KIND = "FakeQuantize"
LOWEST = {256: -128, 255: -127}  # integer of `low`, by levels
NEAR = 1e-2  # of a step, that zero may lie beside one


def to_pairs(path: Path, model) -> None:
    """Puts a QuantizeLinear and a DequantizeLinear in the place of each FakeQuantize, in place.

    Raises ValueError naming file and node for other than 8 bits, an output range of its own, a
    range that is computed, and one whose steps leave zero out.
    """
    from onnx import helper, numpy_helper

    from int8gate.model_zoo.importers.onnx.folded_constants import Constants

    graph = model.graph
    if not any(is_fake_quantization(node) for node in graph.node):
        return
    constants, nodes = Constants(model), []
    for node in graph.node:
        if not is_fake_quantization(node):
            nodes.append(node)
            continue
        scales, points, axis = _parameters(path, node, constants)
        result = node.output[0]
        given = [f"{result}_scale", f"{result}_zero_point"]
        for name, values in zip(given, (scales, points), strict=True):
            graph.initializer.append(numpy_helper.from_array(values, name))
        settings = {} if axis is None else {"axis": axis}
        ends = [(node.input[0], f"{result}_integers"), (f"{result}_integers", result)]
        kinds = ("QuantizeLinear", "DequantizeLinear")
        for kind, (read, gives) in zip(kinds, ends, strict=True):
            name = f"{node.name or result}_{kind}"
            nodes.append(helper.make_node(kind, [read, *given], [gives], name, **settings))
    del graph.node[:]
    graph.node.extend(nodes)


def is_fake_quantization(node) -> bool:
    """Whether a node is OpenVINO's."""
    return node.op_type == KIND and node.domain == DOMAIN


def _parameters(path: Path, node, constants) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Scales float32 and zero points int8, both () or (channels,), and the axis of channels."""
    where = f"{path}: node {node.name or node.output[0]} (FakeQuantize of OpenVINO)"
    levels = next((entry.i for entry in node.attribute if entry.name == "levels"), 0)
    if levels not in LOWEST:
        raise ValueError(
            f"{where} has {levels} levels, expected 256: train the network with 8 bits"
        )
    ranges = [constants.values(name) for name in node.input[1:]]
    if any(values is None for values in ranges):
        raise ValueError(
            f"{where} has a range that is computed, expected constants: call nncf.strip before the "
            "export"
        )
    low, high, *output = (np.asarray(values, np.float64) for values in ranges)
    if not all(np.array_equal(one, other) for one, other in zip((low, high), output, strict=True)):
        raise ValueError(f"{where} gives another range than it reads, expected one range: mend it")
    steps = (high - low) / (levels - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        points = LOWEST[levels] - low / steps
    if not (np.abs(points - np.round(points)) <= NEAR).all():
        raise ValueError(f"{where} leaves zero out of its steps, expected a range that holds zero")
    axes = [axis for axis, side in enumerate(steps.shape) if side > 1]
    if len(axes) > 1:
        raise ValueError(f"{where} has ranges along several axes, expected one for each channel")
    shape = (-1,) if axes else ()
    scales = steps.astype(np.float32).reshape(shape)
    return scales, np.round(points).astype(np.int8).reshape(shape), axes[0] if axes else None
