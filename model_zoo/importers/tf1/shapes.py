"""The static shapes at a cut, as real inputs show them."""

from __future__ import annotations

import numpy as np

from int8gate.model_zoo.importers.tf1.cut import Cut
from int8gate.model_zoo.importers.tf1.graphs import Graph, constant, free_name, node_of, tensor_of
from int8gate.model_zoo.importers.tf1.operators import SHAPES
from int8gate.model_zoo.importers.tf1.running import run
from int8gate.model_zoo.importers.tf1.wording import listed


def static_shapes(graph: Graph, tensors, images: list[dict]) -> dict[str, tuple[int, ...]]:
    """By tensor, its shape, which must be the same on every image."""
    tensors = tuple(dict.fromkeys(tensors))
    seen: dict[str, set] = {tensor: set() for tensor in tensors}
    for values in run(graph, tensors, images):
        for tensor, value in zip(tensors, values, strict=True):
            seen[tensor].add(value.shape)
    for tensor, found in seen.items():
        if len(found) > 1:
            raise ValueError(
                f"{tensor} has shapes {sorted(found)} on different samples, expected one static "
                "shape: name another cut, or export the graph with a fixed size"
            )
    return {tensor: found.pop() for tensor, found in seen.items()}


def frozen_shapes(graph: Graph, cut: Cut, images: list[dict], repairs: list[str]) -> dict:
    """By integer tensor that the network reads, its value, which no image may change."""
    if not cut.shapes:
        return {}
    scrambled = [{t: np.flip(v) for t, v in feed.items()} for feed in images]
    blank = [{t: np.zeros_like(v) for t, v in images[0].items()}]
    values = list(run(graph, cut.shapes, [*images, *scrambled, *blank]))
    for place, tensor in enumerate(cut.shapes):
        if any(not np.array_equal(row[place], values[0][place]) for row in values):
            raise ValueError(
                f"the network reads {tensor} ({graph.dtype(tensor).name}), which changes with the "
                "image, expected a shape: name another cut"
            )
    repairs.append(f"Fixed as seen on {len(values)} inputs: {listed(cut.shapes)}.")
    return dict(zip(cut.shapes, values[0], strict=True))


def host_without_network(graph: Graph, cut: Cut, image: dict):
    """The GraphDef of the host, where shapes of the network's tensors are constants.

    Otherwise the host would run the network to learn its shapes.
    """
    network = graph.above(map(node_of, cut.outputs), stop=cut.inputs) & graph.below(graph.anchors)
    reads = [
        tensor_of(name if port == 0 else f"{name}:{port}")
        for name, node in graph.nodes.items()
        if node.op in SHAPES and node_of(node.input[0]) in network
        for port in range(len(graph.imported.get_operation_by_name(name).outputs))
    ]
    if not reads:
        return graph.graph_def
    values = next(run(graph, reads, [image]))
    known = {
        tensor: constant(free_name(graph, f"known_{tensor}"), value)
        for tensor, value in zip(reads, values, strict=True)
    }
    changed = type(graph.graph_def)()
    changed.CopyFrom(graph.graph_def)
    for node in changed.node:
        for place, edge in enumerate(node.input):
            if not edge.startswith("^") and tensor_of(edge) in known:
                node.input[place] = known[tensor_of(edge)].name
    changed.node.extend(known.values())
    return changed
