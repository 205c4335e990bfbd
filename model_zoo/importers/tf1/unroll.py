"""Unrolls TF1 loops (`Enter` to `Exit`) whose number of turns is a small constant.

The tensor arrays of unrolled loops are replaced by the tensors that they held (`lowered`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from int8gate.model_zoo.importers.tf1.control_flow import ENTER, EXIT, MERGE, NEXT, SWITCH, frame_of
from int8gate.model_zoo.importers.tf1.graphs import (
    Graph,
    NotRewritten,
    constant,
    data_edges,
    is_control,
    node_of,
    tensor_of,
)
from int8gate.model_zoo.importers.tf1.proof import constant_value

MOST_TURNS = 64

ARRAY = "TensorArray"


class Loop:
    """The nodes of one frame. `merges` are its variables, by name their first and next values."""

    def __init__(self, graph: Graph, frame: str):
        nodes = graph.nodes
        enters = [n for n, node in nodes.items() if node.op in ENTER and frame_of(node) == frame]
        self.members = graph.below(enters, stop=lambda name: nodes[name].op in EXIT)
        self.enters = {name: nodes[name].input[0] for name in enters}
        self.inner = [n for n in self.members - set(enters) if nodes[n].op in ENTER]
        self.merges, self.exits, self.switches = {}, {}, {}
        self.condition = ""
        for name in graph.order:
            node = nodes[name]
            if name not in self.members:
                continue
            edges = data_edges(node)
            if node.op in MERGE and any(nodes[node_of(e)].op in NEXT for e in edges):
                first, following = sorted(edges, key=lambda e: nodes[node_of(e)].op in NEXT)
                self.merges[name] = (first, nodes[node_of(following)].input[0])
            elif node.op in SWITCH and nodes[node_of(node.input[1])].op == "LoopCond":
                self.switches[name] = node.input[0]
            elif node.op == "LoopCond":
                self.condition = node.input[0]
            elif node.op in EXIT:
                self.exits[name] = edges[0]


def next_frame(graph: Graph, tried: Iterable[str]) -> str | None:
    """The next loop to unroll: one that holds or feeds a layer, and that holds no other loop."""
    frames = dict.fromkeys(frame_of(node) for node in graph.nodes.values() if node.op in ENTER)
    needed = graph.above(graph.anchors)
    for frame in frames:
        if frame not in tried and not (loop := Loop(graph, frame)).inner and loop.members & needed:
            return frame
    return None


def unrolled(graph: Graph, frame: str):
    """The GraphDef with a copy of the loop's nodes for each turn.

    Raises NotRewritten when the number of turns depends on the image or is large.
    """

    loop = Loop(graph, frame)
    changed = type(graph.graph_def)(versions=graph.graph_def.versions)
    changed.library.CopyFrom(graph.graph_def.library)
    changed.node.extend(n for n in graph.graph_def.node if n.name not in loop.members)
    now = {name: first for name, (first, _) in loop.merges.items()}
    for turn in range(MOST_TURNS + 1):
        names, size = _Names(loop, now, turn), len(changed.node)
        _copy(graph, loop, names, changed)
        if not _goes_on(changed, names.edge(loop.condition)):
            del changed.node[size:]
            break
        now = {name: names.edge(following) for name, (_, following) in loop.merges.items()}
    else:
        raise NotRewritten(f"more than {MOST_TURNS} turns")
    for name, edge in loop.exits.items():
        dtype = graph.nodes[name].attr["T"]
        changed.node.add(name=name, op="Identity", input=[names.edge(edge)], attr={"T": dtype})
    return lowered(Graph(changed))


class _Names:
    """What the edges of a loop are called in one turn."""

    def __init__(self, loop: Loop, now: dict[str, str], turn: int):
        self._loop, self._now, self._turn = loop, now, turn

    def edge(self, edge: str) -> str:
        name, loop = node_of(edge), self._loop
        if name in loop.enters:
            return self.edge(loop.enters[name])
        if name in loop.switches:
            return self.edge(loop.switches[name])
        if name in loop.merges:
            value = self._now[name]
            return self.edge(value) if node_of(value) in loop.enters else value
        if name not in loop.members:
            return edge
        mark, _, port = edge.partition(":")
        return f"{self.node(mark)}:{port}" if port else self.node(mark)

    def node(self, name: str) -> str:
        return f"{name}/turn_{self._turn}"


def _copy(graph: Graph, loop: Loop, names: _Names, into) -> None:
    """Adds the nodes of one turn to `into`."""
    skipped = {*loop.enters, *loop.merges, *loop.switches, *loop.exits}
    for name in loop.members - skipped:
        node = graph.nodes[name]
        if node.op == "LoopCond" or node.op in NEXT:
            continue
        copy = into.node.add()
        copy.CopyFrom(node)
        copy.name = names.node(name)
        del copy.input[:]
        copy.input.extend(
            f"^{node_of(names.edge(e[1:]))}" if is_control(e) else names.edge(e)
            for e in node.input
            if not (is_control(e) and _gone(graph, e))
        )


def _gone(graph: Graph, edge: str) -> bool:
    return graph.nodes[node_of(edge)].op in {"LoopCond", *NEXT}


def _goes_on(graph_def, condition: str) -> bool:
    """The value of the loop's condition, which must not depend on an input."""
    try:
        return bool(constant_value(Graph(graph_def), condition))
    except NotRewritten as error:
        raise NotRewritten(f"its number of turns {error}") from error


def lowered(graph: Graph):
    """The GraphDef without the tensor arrays whose every index is constant, in no loop."""
    if not any(node.op.startswith(ARRAY) for node in graph.nodes.values()):
        return graph.graph_def
    lowering = _Lowering(graph)
    for name in graph.order:
        lowering.visit(graph.nodes[name])
    return lowering.result()


def _handle(node) -> str:
    return node.name if node.op == f"{ARRAY}V3" else node_of(node.input[0])


class _Lowering:
    def __init__(self, graph: Graph):
        self.graph = graph
        self.held: dict[str, dict[int, str]] = {}  # by flow tensor, the element at each index
        self.sizes: dict[str, int] = {}
        self.instead: dict[str, Any] = {}  # by node name, the node in its place
        self.added: list = []
        self.left: set[str] = set()  # handles of arrays that stay

    def visit(self, node) -> None:
        if node.op == "Identity" and tensor_of(node.input[0]) in self.held:
            self.held[f"{node.name}:0"] = self.held[tensor_of(node.input[0])]
        if not node.op.startswith(ARRAY):
            return
        handle = _handle(node)
        try:
            self._lower(node, handle)
        except NotRewritten:
            self.left.add(handle)

    def _lower(self, node, handle: str) -> None:
        if any(self.graph.nodes[name].op in ENTER for name in self.graph.consumers[handle]):
            raise NotRewritten(f"{handle} is used in a loop")
        kind = node.op.removeprefix(ARRAY).removesuffix("V3").lower() or "new"
        act = getattr(self, f"_{kind}", None)
        if act is None:
            raise NotRewritten(f"{node.name} is a {node.op}, which is not replaced")
        act(node)

    def _new(self, node) -> None:
        self.sizes[node.name] = int(self._constant(node.input[0], node))
        self.held[f"{node.name}:1"] = {}

    def _write(self, node) -> None:
        _, index, value, flow = node.input[:4]
        elements = {**self._elements(flow, node), int(self._constant(index, node)): value}
        self.held[f"{node.name}:0"] = elements

    def _scatter(self, node) -> None:
        _, indices, value, flow = node.input[:4]
        elements = dict(self._elements(flow, node))
        for row, index in enumerate(self._constant(indices, node)):
            elements[int(index)] = self._slice(node, value, row)
        self.held[f"{node.name}:0"] = elements

    def _read(self, node) -> None:
        _, index, flow = node.input[:3]
        elements = self._elements(flow, node)
        wanted = int(self._constant(index, node))
        if wanted not in elements:
            raise NotRewritten(f"{node.name} reads element {wanted}, which was not written")
        self._put(node, "Identity", [elements[wanted]], {"T": node.attr["dtype"]})

    def _gather(self, node) -> None:
        _, indices, flow = node.input[:3]
        elements = self._elements(flow, node)
        wanted = [int(index) for index in self._constant(indices, node)]
        if not wanted or not set(wanted) <= set(elements):
            raise NotRewritten(f"{node.name} gathers elements that were not written")
        self._put(node, "Pack", [elements[i] for i in wanted], {"T": node.attr["dtype"]})
        self.instead[node.name].attr["N"].i = len(wanted)

    def _size(self, node) -> None:
        size = self.sizes[node_of(node.input[0])]
        self.instead[node.name] = constant(node.name, np.array(size, np.int32))

    def _put(self, node, op: str, inputs: list[str], attributes: dict) -> None:
        self.instead[node.name] = type(node)(name=node.name, op=op, input=inputs, attr=attributes)

    def _slice(self, node, value: str, row: int) -> str:
        """`value[row]`."""
        name = f"{node.name}/element_{row}"
        bounds = [np.array([n], np.int32) for n in (row, row + 1, 1)]
        parts = [constant(f"{name}/{i}", bound) for i, bound in enumerate(bounds)]
        sliced = type(node)(name=name, op="StridedSlice", input=[value, *(p.name for p in parts)])
        sliced.attr["T"].CopyFrom(node.attr["T"])
        sliced.attr["Index"].type = parts[0].attr["dtype"].type
        sliced.attr["shrink_axis_mask"].i = 1
        self.added += [*parts, sliced]
        return name

    def _elements(self, flow: str, node) -> dict[int, str]:
        if tensor_of(flow) not in self.held:
            raise NotRewritten(f"{node.name} uses an array whose elements are not known")
        return self.held[tensor_of(flow)]

    def _constant(self, tensor: str, node) -> np.ndarray:
        try:
            return constant_value(self.graph, tensor)
        except NotRewritten as error:
            raise NotRewritten(f"an index or size of {node.name} {error}") from error

    def result(self):
        changed = type(self.graph.graph_def)(versions=self.graph.graph_def.versions)
        changed.library.CopyFrom(self.graph.graph_def.library)
        for node in self.graph.graph_def.node:
            left = node.name not in self.instead or _handle(node) in self.left
            changed.node.append(node if left else self.instead[node.name])
        changed.node.extend(self.added)
        return changed
