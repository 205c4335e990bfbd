"""Control edges: those that only order nodes, and those that say where a node runs.

A node without data inputs, a `Const` above all, runs in a loop or under a condition only because of
a control edge from there.
"""

from __future__ import annotations

from collections.abc import Collection

from int8gate.model_zoo.importers.tf1.control_flow import ENTER, MERGE, NEXT, SWITCH, Places
from int8gate.model_zoo.importers.tf1.graphs import Graph, data_edges, is_control, node_of


def without_free_control_edges(graph: Graph):
    """The GraphDef in which a control edge only says where its reader runs.

    Such an edge then comes from where the loop's turn or the branch begins.
    """
    changed = type(graph.graph_def)()
    changed.CopyFrom(graph.graph_def)
    if any(is_control(edge) for node in changed.node for edge in node.input):
        places = Places(graph)
        for node in changed.node:
            if any(map(is_control, node.input)):
                _set(node, placed(graph, places, node, list(filter(is_control, node.input))))
    return changed


def without_nodes(graph: Graph, dropped: Collection[str]):
    """The GraphDef without the nodes `dropped`, whose values no other node reads.

    What ran in a loop or under a condition because of one of them still does.
    """
    changed = type(graph.graph_def)(versions=graph.graph_def.versions)
    changed.library.CopyFrom(graph.graph_def.library)
    places = Places(graph) if dropped else None
    for node in graph.graph_def.node:
        if node.name in dropped:
            continue
        kept = changed.node.add()
        kept.CopyFrom(node)
        kept.attr.pop("_class", None)  # may name a dropped node
        gone = [e for e in node.input if node_of(e) in dropped]
        if gone:
            _set(kept, placed(graph, places, node, gone, dropped))
    return changed


def _set(node, edges: list[str]) -> None:
    del node.input[:]
    node.input.extend(edges)


def placed(
    graph: Graph, places: Places, node, free: list[str], dropped: Collection[str] = ()
) -> list[str]:
    """The edges of `node` without the control edges `free`, but where it would run elsewhere."""
    edges = [e for e in node.input if e not in free]
    if node.op in MERGE:  # alive when one input is: control edges do not tell its place
        return [*edges, *(e for e in free if node_of(e) not in dropped)]
    place = places.of(edges)
    for edge in free:
        both = places.of([*edges, edge])
        if both != place and (begin := _beginning(graph, places, node_of(edge), dropped)):
            edges.append(f"^{begin}")
            place = both
    return edges


def _beginning(graph: Graph, places: Places, name: str, dropped: Collection[str]) -> str | None:
    """The node above `name` that begins the turn or branch in which it runs."""
    pending, seen, others = [name], {name}, []
    for above in pending:
        if above not in dropped and places[above] == places[name]:
            if _begins(graph, graph.nodes[above]):
                return above
            others.append(above)
        for other in map(node_of, graph.nodes[above].input):
            if other not in seen and places[other].frame == places[name].frame:
                seen.add(other)
                pending.append(other)
    return next(iter(others), None)


def _begins(graph: Graph, node) -> bool:
    """Whether it is the first of a branch or of a turn, or a loop's variable."""
    reads = [graph.nodes[node_of(edge)].op for edge in data_edges(node)]
    if node.op == "Identity":
        return reads[0] in SWITCH
    return node.op in MERGE and any(op in ENTER | NEXT for op in reads)
