"""Runs graphs, and reads what they answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from int8gate.model_zoo.importers.tf1.graphs import Graph, data_edges, node_of, reach, tensor_of
from int8gate.model_zoo.importers.tf1.operators import INPUTS
from int8gate.model_zoo.importers.tf1.wording import NotRewritten


def run(
    graph: Graph, fetch: Sequence[str], feeds: Iterable[Mapping], optimize: bool = False
) -> Iterator[list]:
    """The values of `fetch` for each of `feeds`, from the graph as it is written.

    `optimize`: after TensorFlow's own rewriting, which rounds elsewhere.
    """
    from int8gate.runtimes.frozen_graph import session

    running = session(graph.imported, optimize)  # not as a context: that would change the caller's
    try:
        for feed in feeds:
            yield running.run(list(fetch), dict(feed))
    finally:
        running.close()


def constant_value(graph: Graph, tensor: str) -> np.ndarray:
    """The value of a tensor that depends on no input. Raises NotRewritten when it does."""
    needed = reach([node_of(tensor)], lambda name: map(node_of, data_edges(graph.nodes[name])))
    if inputs := sorted(name for name in needed if graph.nodes[name].op in INPUTS):
        raise NotRewritten(f"depends on {', '.join(inputs)}")
    part = type(graph.graph_def)(versions=graph.graph_def.versions)
    for name in needed:
        node = part.node.add()
        node.CopyFrom(graph.nodes[name])
        del node.input[:]
        node.input.extend(data_edges(graph.nodes[name]))
    return next(run(Graph(part), [tensor_of(tensor)], [{}]))[0]
