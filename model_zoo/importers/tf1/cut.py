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
  (`network.frozen_shapes`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from int8gate.model_zoo.importers.tf1 import control_flow
from int8gate.model_zoo.importers.tf1.graphs import Graph, data_edges, node_of, tensor_of
from int8gate.model_zoo.importers.tf1.trunk import Trunk
from int8gate.model_zoo.importers.tf1.wording import listed


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
