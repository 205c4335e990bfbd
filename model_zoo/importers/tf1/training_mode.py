"""Whether a graph trains: what of it does so, and which value of a flag switches that off."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from int8gate.model_zoo.importers.tf1 import functions
from int8gate.model_zoo.importers.tf1.folding import fold
from int8gate.model_zoo.importers.tf1.graphs import Graph, constant, data_edges, replace, tensor_of
from int8gate.model_zoo.importers.tf1.operators import NORMALIZATIONS

SCALING = {"RealDiv", "Div", "Mul"}


def normalizing_batches(graph: Graph) -> list[str]:
    """Normalizations that take mean and variance from the batch, as training does."""
    return [
        name
        for name in graph.order
        if graph.nodes[name].op in NORMALIZATIONS and graph.nodes[name].attr["is_training"].b
    ]


def check(graph: Graph) -> None:
    """Raises ValueError naming what normalizes by the statistics of its batch."""
    if found := normalizing_batches(graph):
        raise ValueError(
            f"node {found[0]} ({graph.nodes[found[0]].op}) normalizes by the mean and variance of "
            "its own batch, as in training, so that its answers depend on the pictures beside: "
            "freeze the graph for inference (training=False)"
        )


def value_of_inference(graph: Graph, flag: str, values, outputs: Iterable[str]):
    """Which of two values of a scalar placeholder leaves less of training in the graph: random
    numbers, statistics of the batch, divisions by a keep probability of 0; None where both leave
    the same.
    """
    left = [_left_of_training(graph, flag, value, tuple(outputs)) for value in values]
    return None if left[0] == left[1] else values[left[1] < left[0]]


def _left_of_training(graph: Graph, flag: str, value, outputs: tuple[str, ...]) -> int:
    dtype = graph.dtype(flag).as_numpy_dtype
    node = constant(flag, np.array(value, dtype))
    fixed = Graph(fold(Graph(replace(graph.graph_def, {f"{flag}:0": node}, outputs)), outputs))
    for _ in range(functions.MOST_ROUNDS):
        if not functions.decided(fixed):
            break
        fixed = Graph(fold(Graph(functions.inlined(fixed)), outputs))
    random = [node for node in fixed.graph_def.node if node.op.startswith("Random")]
    return len(random) + len(normalizing_batches(fixed)) + _divisions_by_zero(fixed)


def _divisions_by_zero(graph: Graph) -> int:
    """Those that dropout with a keep probability of 0 makes, or their infinite factors."""
    import tensorflow as tf

    found = 0
    for node in graph.graph_def.node:
        for place, edge in enumerate(data_edges(node) if node.op in SCALING else ()):
            value = tf.get_static_value(graph.imported.get_tensor_by_name(tensor_of(edge)))
            if value is not None and value.size:
                is_zero = place == 1 and node.op != "Mul" and not value.any()
                found += bool(is_zero or np.isinf(value).all())
    return found
