"""Where a graph is cut into pre-processing, network and post-processing.

The rule, from structure and not from names:

- A layer is a convolution, or a product with constant weights. Layers under control flow, or above
  and below the same control flow, cannot be separated from it: such a graph is refused.
- The trunk is what the layers need. What lies above the first layers and is not float arithmetic
  (control flow, casts, resizing, cropping, look-ups, all above them, and slices, reshapes and
  arithmetic of nothing else) is pre-processing.
- Below the last layers, the network goes on to an output of the graph when only operators with an
  int8 kernel lie between. Otherwise it goes on through activations, biases and normalization by
  channel, additions of its own tensors, concatenations, reshapes and resizing, and stops there.
  Control flow, box decoding (exp, division, arithmetic with a constant for each position or
  coordinate, slices that take boxes apart), more than four axes and what is not float (NMS, TopK,
  Where, ArgMax) are post-processing.
- Cuts are float32 tensors. An integer edge into the network is a shape: it becomes a constant
  (`cut_network.frozen_shapes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from int8gate.model_zoo.importers.tf1 import control_flow
from int8gate.model_zoo.importers.tf1.graphs import Graph, data_edges, listed, node_of, tensor_of
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


@dataclass(frozen=True)
class Cut:
    """Tensors of the simplified graph: where the network begins and ends, and why."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: tuple[str, ...]  # integer tensors that the network reads, to become constants
    why: tuple[str, ...]


def find_cut(graph: Graph, ends) -> Cut:
    """The cut by the rule above. Raises ValueError, naming the node, where there is none."""
    trunk = Trunk(graph, ends)
    inside = trunk.network
    read: dict[str, None] = {}
    for name in graph.order:
        if name in inside and graph.nodes[name].op not in {"Placeholder"}:
            for edge in data_edges(graph.nodes[name]):
                if _enters(trunk, edge):
                    read[tensor_of(edge)] = None
    floats = tuple(t for t in read if graph.dtype(t).name == "float32")
    shapes = tuple(t for t in read if t not in floats)
    if set(floats) == set(ends.inputs):
        floats = ends.inputs
    left = _left(trunk)
    return Cut(floats, left, shapes, tuple(_why(trunk, floats, left)))


def _enters(trunk: Trunk, edge: str) -> bool:
    """A value that the network reads and that is neither its own nor constant."""
    graph, name = trunk.graph, node_of(edge)
    if graph.nodes[name].op == "Placeholder":
        return True
    return name not in trunk.network and name in graph.dependent


def _left(trunk: Trunk) -> tuple[str, ...]:
    """Float tensors of the network below a layer that others read, or that are outputs."""
    graph, inside = trunk.graph, trunk.network
    needed = graph.above(map(node_of, trunk.ends.outputs))
    found = dict.fromkeys(t for t in trunk.ends.outputs if node_of(t) in inside & trunk.below)
    for name in graph.order:
        if name not in needed or name in inside:
            continue
        for edge in data_edges(graph.nodes[name]):
            tensor = tensor_of(edge)
            if node_of(edge) in inside & trunk.below and graph.dtype(tensor).name == "float32":
                found[tensor] = None
    for tensor in trunk.ends.outputs:
        node = graph.nodes[node_of(tensor)]
        if node.op == "Identity" and tensor_of(node.input[0]) in found:
            found.pop(tensor, None)  # the host passes it on
    return tuple(sorted(found, key=_order(graph, trunk.ends)))


def _order(graph: Graph, ends) -> Callable[[str], tuple]:
    """As the graph's outputs that read them; then as the graph computes them."""
    needed = [graph.above([node_of(output)]) for output in ends.outputs]
    rank = {name: place for place, name in enumerate(graph.order)}

    def key(tensor: str) -> tuple:
        name = node_of(tensor)
        readers = (place for place, nodes in enumerate(needed) if name in nodes)
        return next(readers, len(needed)), rank[name], tensor

    return key


def _why(trunk: Trunk, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> list[str]:
    graph, told = trunk.graph, []
    if set(inputs) != set(trunk.ends.inputs):
        before = graph.above(map(node_of, inputs))
        told.append(
            f"Pre-processing ends at {listed(inputs)}: {_reason(trunk, before)} above the first "
            "layer."
        )
    if set(outputs) != set(trunk.ends.outputs):
        after = trunk.below & graph.above(map(node_of, trunk.ends.outputs), stop=outputs)
        told.append(
            f"Post-processing begins at {listed(outputs)}: {_reason(trunk, after)} below the "
            "last layer."
        )
    return told or ["The network is the whole graph."]


def _reason(trunk: Trunk, names: set[str]) -> str:
    """What the part holds that the network cannot."""
    graph, loops = trunk.graph, trunk.regions.loops
    found = [n for n in graph.order if n in names & trunk.control]
    frames = (graph.nodes[n] for n in found if graph.nodes[n].op in control_flow.ENTER)
    kinds = {
        "a loop": [control_flow.loop_name(control_flow.frame_of(node)) for node in frames],
        "a condition": [
            n for n in found if n not in loops and graph.nodes[n].op in control_flow.SWITCH
        ],
        "control flow": [n for n in found if graph.nodes[n].op in control_flow.FUNCTIONAL],
    }
    told = [f"{kind} ({nodes[0]})" for kind, nodes in kinds.items() if nodes]
    if not told:
        foreign = dict.fromkeys(
            trunk.graph.nodes[n].op
            for n in trunk.graph.order
            if n in names & trunk.foreign & graph.variable
        )
        told = list(foreign)[:4]
    return " and ".join(told) if len(told) < 3 else ", ".join(told)


def named_cut(graph: Graph, ends, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Cut:
    """The cut as named. Raises ValueError when it does not separate a network."""
    inputs, outputs = tuple(map(tensor_of, inputs)), tuple(map(tensor_of, outputs))
    for tensor in (*inputs, *outputs):
        if not graph.has(tensor):
            raise ValueError(f"the simplified graph has no tensor {tensor} to cut at: name another")
        if graph.dtype(tensor).name != "float32":
            raise ValueError(
                f"{tensor} is {graph.dtype(tensor).name}, expected float32 at a cut: name another"
            )
    inside = graph.above(map(node_of, outputs), stop=inputs) - set(map(node_of, inputs))
    _refuse(
        sorted(set(graph.anchors) - inside),
        "layers {} are not between {} and {}",
        inputs,
        outputs,
    )
    _refuse(
        [n for n in graph.order if n in inside and graph.nodes[n].op == "Placeholder"],
        "the network would still read input {} beside {} on the way to {}",
        inputs,
        outputs,
    )
    _refuse(
        [n for n in graph.order if n in inside & control_flow.regions(graph).control],
        "control flow {} is between {} and {}",
        inputs,
        outputs,
    )
    return Cut(inputs, outputs, (), (f"Cut at {listed(inputs)} and {listed(outputs)}, as named.",))


def _refuse(nodes: list[str], sentence: str, inputs, outputs) -> None:
    if nodes:
        named = ", ".join(nodes[:3])
        raise ValueError(
            f"{sentence.format(named, ', '.join(inputs), ', '.join(outputs))}: name a cut that "
            "holds every layer and no control flow"
        )
