"""Runs graphs, and reads what they answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from model_zoo.importers.graphs import Graph, data_edges, node_of, reach, tensor_of
from model_zoo.importers.operators import INPUTS
from model_zoo.importers.wording import NotRewritten


def session(graph):
    """A session of one thread on the CPU, which runs the graph as it is written."""
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=1, device_count={"GPU": 0}
    )
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = tf.compat.v1.OptimizerOptions.L0
    return tf.compat.v1.Session(graph=graph, config=config)


def run(graph: Graph, fetch: Sequence[str], feeds: Iterable[Mapping]) -> Iterator[list]:
    """The values of `fetch` for each of `feeds`."""
    running = session(graph.imported)  # not as a context: that would change the caller's graph
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
