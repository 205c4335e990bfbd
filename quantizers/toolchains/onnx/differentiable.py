"""An ONNX file, float or QDQ, as a differentiable `Graph`; trained weights put back.

A QDQ file's constants are taken from the float file that it was made of, by the nodes that read
them, which have the same names in both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from int8gate.model_zoo.importers.onnx.structure import sort_nodes, with_shapes
from int8gate.quantizers.exposed import plain
from int8gate.quantizers.toolchains.onnx.graph_view import GraphView
from int8gate.quantizers.toolchains.onnx.weighted_network import PRODUCTS
from int8gate.quantizers.training.differentiable_graph import (
    BIAS,
    MOST,
    WEIGHTS,
    Call,
    Constant,
    Graph,
    Grid,
    NotDifferentiable,
)
from int8gate.runtimes import onnx_file

INTEGERS = {"uint8": (0, 255), "int8": (-128, 127)}
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


def read(path: Path, float_model: Path) -> Graph:
    """The graph of a file that was made of `float_model`, which it may be itself.

    Raises NotDifferentiable naming the node that there is no PyTorch form of.
    """
    import onnx

    return _Reading(onnx.load(str(path)), onnx.load(str(float_model))).graph()


def write(float_model: Path, weights: Mapping[str, np.ndarray], target: Path) -> None:
    """Writes the float file with other values for constants, by their source."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(float_model))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, values in weights.items():
        array = np.ascontiguousarray(values, np.float32)
        stored[name].CopyFrom(numpy_helper.from_array(array, name))
    onnx_file.write(model, target)


class _Reading:
    def __init__(self, model, own) -> None:
        from onnx import numpy_helper

        sort_nodes(model.graph)
        self._graph = with_shapes(model).graph
        self._view = GraphView(self._graph)
        self._arrays = {t.name: numpy_helper.to_array(t) for t in self._graph.initializer}
        self._own_arrays = {t.name: numpy_helper.to_array(t) for t in own.graph.initializer}
        self._own_nodes = {node.name: node for node in own.graph.node}
        self._readers = defaultdict(list)
        for node in self._graph.node:
            for place, name in enumerate(node.input):
                self._readers[name].append((node, place))
        self._producers = {name: node for node in self._graph.node for name in node.output}
        self._roles = defaultdict(set)
        for node in own.graph.node:
            for place, name in enumerate(node.input):
                self._roles[name].add(_role(node, place))

    def graph(self) -> Graph:
        given = [info.name for info in self._graph.input if info.name not in self._arrays]
        outputs = tuple(info.name for info in self._graph.output)
        found = Graph(tuple(given), outputs, tuple(map(self._shape, given)))
        for node in self._graph.node:
            if node.op_type == "DequantizeLinear" and node.input[0] in self._arrays:
                self._add_dequantized(found, node)
            else:
                self._add_call(found, node)
        return found

    def _add_call(self, found: Graph, node) -> None:
        from int8gate.quantizers.toolchains.onnx.torch_operators import Asked, operator

        is_quantizer = node.op_type in QUANTIZERS
        inputs = tuple(node.input[:1]) if is_quantizer else tuple(node.input)
        for name in inputs:
            if name in self._arrays and name not in found.constants:
                found.constants[name] = self._float_constant(name)
        shapes, results = (
            [self._shape(name) for name in ends] for ends in (node.input, node.output)
        )
        values = [self._value(name) for name in node.input]
        try:
            run = operator(Asked(node.op_type, GraphView.settings(node), shapes, results, values))
        except NotDifferentiable as error:
            raise NotDifferentiable(
                f"{node.op_type} ({node.name}) cannot be trained: {error}"
            ) from error
        outputs = tuple(name for name in node.output if name)
        found.calls.append(Call(node.op_type, run, inputs, outputs))
        if node.op_type in PRODUCTS and len(inputs) > 2:
            self._scale_bias(found, *inputs)
        if node.op_type == "QuantizeLinear":
            self._add_grid(found, node)

    def _scale_bias(self, found: Graph, read: str, weights: str, bias: str) -> None:
        """Of a bias in int32: its steps follow from those of the layer's other inputs."""
        constant, of_layer = found.constants.get(bias), found.constants.get(weights)
        if not constant or not of_layer or not constant.source or not of_layer.high:
            return
        while read not in found.grids and read in self._producers:
            read = self._producers[read].input[0]  # moved, or dequantized
        if read in found.grids and bias in self._producers:
            found.constants[bias] = replace(constant, scaled_by=(read, weights))

    def _add_grid(self, found: Graph, node) -> None:
        scale, zero = (self._arrays[name] for name in node.input[1:3])
        if scale.size != 1 or str(zero.dtype) not in INTEGERS:
            raise NotDifferentiable(f"{node.name} quantizes to {zero.dtype}, {scale.size} scales")
        name = plain(node.input[0])
        low, high = INTEGERS[str(zero.dtype)]
        grid = Grid(float(scale.item()), int(zero.item()), low, high, name)
        found.grids[node.output[0]] = grid
        same = {n.output[0] for n, place in self._readers[node.input[1]] if place == 1}
        found.tied.append(same)

    def _add_dequantized(self, found: Graph, node) -> None:
        """A constant that a DequantizeLinear makes of integers."""
        parts = [self._arrays[name] for name in node.input]
        axis = GraphView.settings(node).get("axis", 1) if parts[1].size > 1 else None
        source = self._source(node.output[0])
        role = self._role_of(source) if source else ""
        if role == WEIGHTS and (str(parts[0].dtype) not in MOST or np.any(parts[2:])):
            role = ""
        real = _real(parts, axis)
        if not role or self._own_arrays[source].shape != real.shape:
            found.constants[node.output[0]] = Constant(real)
            return
        values, high, scales = self._own_arrays[source], 0, None
        if role == WEIGHTS:
            high, scales = MOST[str(parts[0].dtype)], np.atleast_1d(parts[1])
        found.constants[node.output[0]] = Constant(values, source, role, axis, high, scales=scales)

    def _float_constant(self, name: str) -> Constant:
        values, source = self._arrays[name], self._source(name)
        role = self._role_of(source) if source and values.dtype == np.float32 else ""
        if not role or self._own_arrays[source].shape != values.shape:
            return Constant(values)
        return Constant(self._own_arrays[source], source, role)

    def _source(self, name: str) -> str:
        """What the float file has where the nodes that read a constant are; "" if not one."""
        found = set()
        for node, place in self._readers[name]:
            own = self._own_nodes.get(node.name)
            if own is None or own.op_type != node.op_type or place >= len(own.input):
                return ""
            found.add(own.input[place])
        (source,) = found if len(found) == 1 else ("",)
        return source if source in self._own_arrays else ""

    def _role_of(self, source: str) -> str:
        roles = self._roles[source]
        return next(iter(roles)) if len(roles) == 1 else ""

    def _value(self, name: str) -> np.ndarray | None:
        return self._arrays.get(name)

    def _shape(self, name: str) -> tuple[int, ...]:
        if name in self._arrays:
            return self._arrays[name].shape
        return self._view.shapes.get(name, ())


def _role(node, place: int) -> str:
    if node.op_type in PRODUCTS:
        return {1: WEIGHTS, 2: BIAS}.get(place, "")
    return ""


def _real(parts: list[np.ndarray], axis: int | None) -> np.ndarray:
    values, scale, *zero = parts
    shape = [1] * values.ndim
    if axis is not None:
        shape[axis] = -1
    point = zero[0].astype(np.float32).reshape(shape) if zero else np.float32(0)
    return ((values.astype(np.float32) - point) * scale.astype(np.float32).reshape(shape)).reshape(
        values.shape
    )
