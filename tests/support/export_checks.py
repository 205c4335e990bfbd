"""What a file in QDQ form says of its scales, told by ONNX Runtime, beside what an artifact ships.

Nothing of the importer is used: a scale may be computed, its zero point left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

PAIRS = ("QuantizeLinear", "DequantizeLinear")
SAME = 1e-6  # relative
LOW = {"int8": -128, "uint8": 0}


@dataclass
class Said:
    """`activations`: scale and zero point of int8 by tensor; `weights`: scales by tensor."""

    activations: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)


def opened(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"]
    )


def said_by(path: Path, picture: np.ndarray) -> Said:
    """The scales of each QuantizeLinear and DequantizeLinear, as a run with `picture` has them."""
    model = onnx.load(str(path))
    nodes = [node for node in model.graph.node if node.op_type in PAIRS]
    wanted = list(dict.fromkeys(name for node in nodes for name in node.input if name))
    taken = opened(model).get_inputs()[0]
    given = {taken.name: laid_out(taken, picture)}
    values = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer} | given
    known = {info.name for info in model.graph.output}
    wanted = [name for name in wanted if name not in values]
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in wanted if name not in known
    )
    if wanted:
        values |= dict(zip(wanted, opened(model).run(wanted, given), strict=True))
    moving = _moving(model.graph)
    said = Said()
    for node in nodes:
        data, scale, *rest = node.input
        point = values[rest[0]] if rest and rest[0] else np.zeros(values[scale].shape, np.uint8)
        if data not in moving:
            if values[data].ndim > 1 and values[data].dtype != np.int32:
                said.weights[node.output[0]] = np.atleast_1d(values[scale])
        elif values[scale].size == 1 and node.op_type == "QuantizeLinear":
            shift = LOW["int8"] - LOW.get(str(point.dtype), 0)
            pair = float(values[scale].item()), int(point.item()) + shift
            said.activations.setdefault(data, []).append(pair)
    return said


def laid_out(given: onnxruntime.NodeArg, pictures: np.ndarray) -> np.ndarray:
    """Pictures (n, c, h, w), channels last where the file has them so."""
    if given.shape[1] == pictures.shape[1]:
        return pictures
    return np.ascontiguousarray(pictures.transpose(0, 2, 3, 1))


def _moving(graph) -> set[str]:
    """The tensors that depend on an input."""
    constants = {tensor.name for tensor in graph.initializer}
    moving = {info.name for info in graph.input if info.name not in constants}
    for node in graph.node:
        if moving.intersection(node.input):
            moving.update(node.output)
    return moving


def is_among(wanted: tuple[float, int], given) -> bool:
    return any(
        np.isclose(wanted[0], scale, rtol=SAME, atol=0) and wanted[1] == point
        for scale, point in given
    )


def missing(said: Said, activations: dict[str, tuple[float, int]]) -> list[str]:
    """The tensors of the file none of whose scales an activation of an artifact has."""
    given = list(activations.values())
    return [
        name
        for name, pairs in said.activations.items()
        if not any(is_among(pair, given) for pair in pairs)
    ]


def unmatched(said: Said, weights: Mapping[str, np.ndarray]) -> list[str]:
    """The weights of the file whose scales no weights of an artifact have."""
    return [
        name
        for name, scales in said.weights.items()
        if not any(
            scales.size in (1, given.size) and np.allclose(given, scales, rtol=SAME, atol=0)
            for given in weights.values()
        )
    ]


def answers(path: Path, pictures: np.ndarray) -> np.ndarray:
    """Scores (n, classes) of a file for pictures (n, c, h, w), one by one, in its layout."""
    session = opened(onnx.load(str(path)))
    given = session.get_inputs()[0]
    name, pictures = given.name, laid_out(given, pictures)
    return np.concatenate([session.run(None, {name: each[None]})[0] for each in pictures])
