"""What training leaves in a graph: savers, summaries, assertions, optimizers."""

from __future__ import annotations

import re

from model_zoo.importers.graphs import Graph, is_control, node_of

LEFTOVERS = re.compile(
    r"Assert$|NoOp$|PrintV2$|Assign|.*Summary(V2)?$|Save|Restore|MergeV2Checkpoints|Shard"
    r"|(Resource)?(Sparse)?Apply[A-Z]|Scatter(Nd)?(Update|Add|Sub)$|IsVariableInitialized"
    r"|VarIsInitializedOp|.*QueueEnqueue|.*QueueClose|.*QueueSize|ControlTrigger$|Abort$"
)
STORED = {"Variable", "VariableV2", "VarHandleOp"}
PASSIVE = {"Identity", "ReadVariableOp", "Switch", "All", "Any", "IsFinite", "LogicalAnd"} | {
    "Equal",
    "NotEqual",
    "Less",
    "LessEqual",
    "Greater",
    "GreaterEqual",
}


def without_leftovers(graph_def):
    """Without savers, summaries, assertions, optimizers, and variables that only these read."""
    import tensorflow as tf

    dropped = {node.name for node in graph_def.node if LEFTOVERS.match(node.op)}
    while True:
        more = {
            node.name
            for node in graph_def.node
            if node.name not in dropped
            and any(not is_control(e) and node_of(e) in dropped for e in node.input)
        }
        if not more:
            break
        dropped |= more
    dropped |= _only_for(graph_def, dropped)
    kept = tf.compat.v1.GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        if node.name not in dropped:
            kept.node.add().CopyFrom(node)
            edges = [e for e in node.input if node_of(e) not in dropped]
            del kept.node[-1].input[:]
            kept.node[-1].input.extend(edges)
            kept.node[-1].attr.pop("_class", None)  # may name a dropped node
    return kept


def _only_for(graph_def, dropped: set[str]) -> set[str]:
    """Variables, comparisons and switches that nothing else than `dropped` nodes read."""
    graph = Graph(graph_def)
    found: set[str] = set()
    for name in reversed(graph.order):
        op, readers = graph.nodes[name].op, set(graph.consumers[name])
        if name in dropped or op not in PASSIVE | STORED or not readers <= dropped | found:
            continue
        if readers or op in STORED or _reads_variable(graph, name):
            found.add(name)
    return found


def _reads_variable(graph: Graph, name: str) -> bool:
    above = graph.above([name])
    return len(above) <= 3 and any(graph.nodes[other].op in STORED for other in above)
