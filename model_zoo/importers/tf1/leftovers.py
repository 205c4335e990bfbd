"""What training leaves in a graph: savers, summaries, assertions, optimizers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from int8gate.model_zoo.importers.tf1 import ordering
from int8gate.model_zoo.importers.tf1.graphs import Graph, data_edges, node_of, reach
from int8gate.model_zoo.importers.tf1.operators import CONVOLUTIONS, PRODUCTS

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


def without_leftovers(graph_def, named: Iterable[str] = ()):
    """Without savers, summaries, assertions, optimizers, and what only these read.

    The nodes `named` are wanted.
    """
    graph, wanted = Graph(graph_def), set(named)
    begin = [n.name for n in graph_def.node if LEFTOVERS.match(n.op) and n.name not in wanted]
    dropped = reach(begin, graph.data_consumers) - wanted
    return ordering.without_nodes(graph, dropped | _only_for(graph, dropped, wanted))


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
