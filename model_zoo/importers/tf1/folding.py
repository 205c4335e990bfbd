"""TensorFlow's own simplification of graphs, and the static shapes that it distrusts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from int8gate.model_zoo.importers.tf1.graphs import Graph, constant, extract, node_of
from int8gate.model_zoo.importers.tf1.ordering import without_free_control_edges

FOLDING = ("debug_stripper", "pruning", "constfold", "loop", "dependency", "constfold", "pruning")
PASSED_ON = {"StopGradient", "CheckNumerics", "PreventGradient", "Snapshot", "Print"}


def fold(graph: Graph, kept: Iterable[str]):
    """The GraphDef after TensorFlow's own folding: constants, shapes, constant conditions."""
    names = list(dict.fromkeys(map(node_of, kept)))
    while True:
        known = Graph(with_known_shapes(graph))
        folded = _optimized(without_free_control_edges(known), names)
        part = Graph(without_free_control_edges(Graph(extract(folded, names))))
        if not known_shapes(part):
            return part.graph_def
        graph = part


def known_shapes(graph: Graph) -> dict[str, np.ndarray]:
    """By node that asks for a shape which is static, the answer."""
    found = {}
    for name, node in graph.nodes.items():
        if node.op in {"Shape", "Size", "Rank"}:
            operation = graph.imported.get_operation_by_name(name)
            shape, dtype = operation.inputs[0].shape, operation.outputs[0].dtype.as_numpy_dtype
            if shape.is_fully_defined():
                answers = {"Shape": shape, "Size": shape.num_elements(), "Rank": shape.rank}
                found[name] = np.array(answers[node.op], dtype)
    return found


def with_known_shapes(graph: Graph):
    """The GraphDef with constants for static shapes; TensorFlow's folding distrusts those of
    placeholders."""
    known = known_shapes(graph)
    changed = type(graph.graph_def)()
    changed.CopyFrom(graph.graph_def)
    for node in changed.node:
        if node.name in known:
            places = [f"^{node_of(edge)}" for edge in node.input]  # it runs where its input does
            node.CopyFrom(constant(node.name, known[node.name]))
            node.input.extend(places)
    return changed


def _optimized(graph_def, kept: list[str]):
    import tensorflow as tf
    from tensorflow.python.grappler import tf_optimizer

    meta = tf.compat.v1.MetaGraphDef()
    meta.graph_def.CopyFrom(graph_def)
    meta.collection_def["train_op"].node_list.value.extend(kept)
    config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    rewriting = config.graph_options.rewrite_options
    rewriting.min_graph_nodes = -1
    rewriting.optimizers.extend(FOLDING)
    folded = tf_optimizer.OptimizeGraph(config, meta, verbose=False)
    for node in folded.node:
        node.device = ""
    return folded


def without_identities(graph: Graph, kept: Iterable[str]):
    """The GraphDef without nodes that pass their input on, but for the names in `kept`."""
    import tensorflow as tf

    changed = type(graph.graph_def)()
    changed.CopyFrom(graph.graph_def)
    for node in changed.node:
        if node.op in PASSED_ON:
            node.CopyFrom(
                tf.compat.v1.NodeDef(
                    name=node.name, op="Identity", input=node.input[:1], attr={"T": node.attr["T"]}
                )
            )
    protected = list(dict.fromkeys(map(node_of, kept)))
    spliced = tf.compat.v1.graph_util.remove_training_nodes(changed, protected)
    spliced.library.CopyFrom(graph.graph_def.library)
    spliced.versions.CopyFrom(graph.graph_def.versions)
    return spliced
