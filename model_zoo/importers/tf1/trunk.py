"""The parts of a graph around its layers: the rule is told in `cut`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from int8gate.model_zoo.importers.tf1 import control_flow
from int8gate.model_zoo.importers.tf1.graphs import Graph, data_edges, node_of, tensor_of
from int8gate.model_zoo.importers.tf1.operators import (
    CONVERTIBLE,
    CONVOLUTIONS,
    LINEAR,
    NARROW,
    PREPARING,
    PRODUCTS,
    TAKING_APART,
)

MOST_AXES = 4  # of NPUs and of many int8 kernels
_REMEDY = (
    "expected one network without control flow: name the cut (its inputs and outputs), or export "
    "the graph unrolled and frozen for inference"
)


class Trunk:
    """The parts of a graph around its layers."""

    def __init__(self, graph: Graph, ends):
        self.graph, self.ends = graph, ends
        self.regions = control_flow.regions(graph)
        self.control = self.regions.control
        self.layers = [name for name in graph.anchors if name not in self.control]
        inside = [name for name in graph.anchors if name in self.control]
        inside += control_flow.functions_with(graph, CONVOLUTIONS | PRODUCTS)
        if not graph.anchors and not inside:
            raise ValueError(
                "the graph has no convolution and no product with constant weights, expected a "
                "network: check that it is the right file, and its outputs"
            )
        if inside:
            raise ValueError(
                f"{inside[0]} is a layer in a loop, condition or function that does not fold at "
                f"inference, {_REMEDY}"
            )
        self.above = graph.above(self.layers)
        self._refuse_control_between()

    def _refuse_control_between(self) -> None:
        between = _between(self.graph, self.layers, self.control)
        if between:
            node = self.graph.nodes[between[0]]
            raise ValueError(
                f"node {node.name} ({node.op}) is control flow between layers, {_REMEDY}"
            )

    @cached_property
    def below(self) -> set[str]:
        """What depends on a layer."""
        return self.graph.below(self.layers)

    @cached_property
    def preparing(self) -> set[str]:
        """What runs before the network."""
        graph, first = self.graph, self.above - self.below
        found = graph.above(first & self.foreign)
        for name in graph.order:
            if name in first - found and graph.nodes[name].op in TAKING_APART | LINEAR:
                values = {node_of(e) for e in data_edges(graph.nodes[name])} & graph.dependent
                if values and values <= found:
                    found.add(name)
        return found

    @cached_property
    def foreign(self) -> set[str]:
        """What the network cannot hold outside its trunk."""
        above = {n for n in self.above - self.below if _prepares(self.graph, n)}
        tail = {n for n in self.below - self.above if not _converts(self.graph, n)}
        return above | tail | self.control

    @cached_property
    def network(self) -> set[str]:
        """The nodes of the network that depend on its input."""
        trunk = (self.above - self.preparing) & self.graph.dependent
        heads = _heads(self, trunk)
        side = (self.graph.above(heads) & self.graph.dependent) - trunk - heads - self.preparing
        outside = {n for n in side if n in self.control or not _converts(self.graph, n)}
        return (trunk | heads | side - self.graph.above(outside)) - self.control


def _heads(trunk: Trunk, body: set[str]) -> set[str]:
    """What the network holds below its last layers."""
    graph = trunk.graph
    tail = trunk.below - trunk.above
    foreign = trunk.foreign & tail
    spoilt = graph.below(foreign)
    clean = graph.above(n for n in map(node_of, trunk.ends.outputs) if n in tail - spoilt) & tail
    grown = set(body | clean)
    for name in graph.order:
        narrow = graph.nodes[name].op in NARROW and not _decodes(graph, name)
        if name in tail - foreign and narrow:
            values = [node_of(e) for e in data_edges(graph.nodes[name])]
            own = [v for v in values if v in grown]
            if own and all(v in grown or v not in graph.dependent for v in values):
                grown.add(name)
    return grown & tail


def _converts(graph: Graph, name: str) -> bool:
    """Whether int8 holds the node well: see the rule."""
    node = graph.nodes[name]
    if node.op not in CONVERTIBLE or not _is_float(graph, name) or _rank(graph, name) > MOST_AXES:
        return False
    if node.op not in LINEAR:
        return True
    fixed = _fixed(graph, node)
    if node.op == "RealDiv" and not fixed:
        return False
    return all(_by_channel(graph, tensor) for tensor in fixed)


def _fixed(graph: Graph, node) -> list[str]:
    """The constants that the node reads."""
    return [tensor_of(e) for e in data_edges(node) if node_of(e) not in graph.variable]


def _decodes(graph: Graph, name: str) -> bool:
    """Arithmetic with a constant for each coordinate of boxes (n, boxes, coordinates), which are no
    channels: their variances differ, and one scale of int8 has to hold them."""
    node = graph.nodes[name]
    if node.op not in LINEAR or _rank(graph, name) != 3:
        return False
    shapes = (graph.imported.get_tensor_by_name(t).shape for t in _fixed(graph, node))
    return any(shape.num_elements() != 1 for shape in shapes)


def _rank(graph: Graph, name: str) -> int:
    """Axes of the first output, 0 where that is not known."""
    return graph.imported.get_operation_by_name(name).outputs[0].shape.rank or 0


def _by_channel(graph: Graph, tensor: str) -> bool:
    """A scalar, or one value for each channel: not one for each position."""
    shape = graph.imported.get_tensor_by_name(tensor).shape
    return shape.rank is not None and all(size == 1 for size in shape[:-1])


def _is_float(graph: Graph, name: str) -> bool:
    """Its values are float32, and it holds no array and no table."""
    operation = graph.imported.get_operation_by_name(name)
    values = [
        t
        for t in operation.inputs
        if t.op.name in graph.variable or not (t.dtype.is_integer or t.dtype.is_bool)
    ]
    return all(t.dtype.base_dtype.name == "float32" for t in (*values, *operation.outputs))


def _prepares(graph: Graph, name: str) -> bool:
    node = graph.nodes[name]
    if node.op == "Placeholder" or name not in graph.variable:
        return False
    return node.op in PREPARING or not _is_float(graph, name)


def _between(graph: Graph, layers: Iterable[str], among: Iterable[str]) -> list[str]:
    """Those of `among` below and above `layers`, by edges that carry values and not shapes."""
    fixed = set(graph.nodes) - graph.variable
    below = graph.below(layers, stop=fixed.__contains__)
    above = graph.above(layers, stop=(f"{name}:0" for name in fixed))
    return [name for name in graph.order if name in (below & above - fixed) and name in among]
