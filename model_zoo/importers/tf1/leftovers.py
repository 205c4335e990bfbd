"""What training leaves in a graph: what is taken out, folded away, or refused.

Savers, summaries, assertions, optimizers and what only these read are taken out. TensorFlow's own
simplification folds constants (`fold`); static shapes, which it distrusts, are put in as constants.
A normalization by the statistics of its batch is refused (`check`). `value_of_inference` tells
which value of a flag switches training off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from int8gate.model_zoo.importers.tf1 import control_flow, functions
from int8gate.model_zoo.importers.tf1.control_flow import without_free_control_edges
from int8gate.model_zoo.importers.tf1.graphs import (
    Graph,
    constant,
    data_edges,
    extract,
    node_of,
    reach,
    replace,
    tensor_of,
)
from int8gate.model_zoo.importers.tf1.operators import CONVOLUTIONS, NORMALIZATIONS, PRODUCTS

LEFTOVERS = re.compile(
    r"Assert$|NoOp$|PrintV2$|Assign|.*Summary(V2)?$|Save|Restore|MergeV2Checkpoints|Shard"
    r"|(Resource)?(Sparse)?Apply[A-Z]|Scatter(Nd)?(Update|Add|Sub)$|IsVariableInitialized"
    r"|VarIsInitializedOp|.*QueueEnqueue|.*QueueClose|.*QueueSize|ControlTrigger$|Abort$"
)
CHECKING = {"Assert", "PrintV2", "NoOp"}
BOOL = 10  # DT_BOOL, types.proto
STORED = {"Variable", "VariableV2", "VarHandleOp"}
PASSIVE = {"Identity", "ReadVariableOp", "Switch", "All", "Any", "IsFinite", "LogicalAnd"} | {
    "Equal",
    "NotEqual",
    "Less",
    "LessEqual",
    "Greater",
    "GreaterEqual",
}
REDUCING = {"Max", "Min", "Mean", "Sum", "Prod"}

FOLDING = ("debug_stripper", "pruning", "constfold", "loop", "dependency", "constfold", "pruning")
PASSED_ON = {"StopGradient", "CheckNumerics", "PreventGradient", "Snapshot", "Print"}

SCALING = {"RealDiv", "Div", "Mul"}


def without_leftovers(graph_def, named: Iterable[str] = ()):
    """Without savers, summaries, assertions, optimizers, and what only these read.

    The nodes `named` are wanted.
    """
    graph, wanted = Graph(graph_def), set(named)
    begin = [n.name for n in graph_def.node if LEFTOVERS.match(n.op) and n.name not in wanted]
    dropped = reach(begin, graph.data_consumers) - wanted
    return control_flow.without_nodes(graph, dropped | _only_for(graph, dropped, wanted))


def _only_for(graph: Graph, dropped: set[str], wanted: set[str]) -> set[str]:
    """What nothing else than `dropped` nodes read.

    A value that a layer made may be an output, whatever summary or check reads it: of these only
    comparisons, switches and, for checks, reductions go.
    """
    layers = [name for name, node in graph.nodes.items() if node.op in CONVOLUTIONS | PRODUCTS]
    learned = reach(layers, graph.carried)
    checks = {name for name in dropped if graph.nodes[name].op in CHECKING}
    found: set[str] = set()
    for name in reversed(graph.order):
        op, readers = graph.nodes[name].op, set(graph.consumers[name])
        if name in dropped | wanted:
            continue
        if _ends_a_check(graph, name) and found.issuperset(graph.data_consumers(name)):
            found.add(name)
            checks.add(name)
        if name in found or not readers <= dropped | found:
            continue
        if not readers:
            side = op in STORED or (op in PASSIVE and _reads_variable(graph, name))
        elif op in PASSIVE | STORED:
            side = op != "Identity" or name not in learned  # which may name an output
        elif any(name in map(node_of, data_edges(graph.nodes[reader])) for reader in readers):
            side = name not in learned or (op in REDUCING and readers <= checks)
        else:
            side = False
        if side:
            found.add(name)
            checks |= {name} if readers <= checks else set()
    return found


def _ends_a_check(graph: Graph, name: str) -> bool:
    """Whether it is what a condition around an assertion passes on: whether that held."""
    node = graph.nodes[name]
    if node.op == "Identity" and node.attr["T"].type == BOOL:
        node = graph.nodes[node_of(node.input[0])]
    if node.op == "If":
        return set(node.attr["Tout"].list.type) == {BOOL}
    return node.op == "Merge" and node.attr["T"].type == BOOL


def _reads_variable(graph: Graph, name: str) -> bool:
    above = graph.above([name])
    return len(above) <= 3 and any(graph.nodes[other].op in STORED for other in above)


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
    folded: Any = tf_optimizer.OptimizeGraph(config, meta, verbose=False)
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
