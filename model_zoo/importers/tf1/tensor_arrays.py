"""Replaces the tensor arrays of unrolled loops by the tensors that they held."""

from __future__ import annotations

import numpy as np

from int8gate.model_zoo.importers.tf1.control_flow import ENTER
from int8gate.model_zoo.importers.tf1.graphs import Graph, constant, node_of, tensor_of
from int8gate.model_zoo.importers.tf1.running import constant_value
from int8gate.model_zoo.importers.tf1.wording import NotRewritten

ARRAY = "TensorArray"


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
        self.instead: dict[str, object] = {}  # by node name, the node in its place
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
