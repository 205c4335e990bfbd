"""Dropout that a training graph left behind: x / keep * mask, where the mask is drawn at random."""

from __future__ import annotations

from int8gate.model_zoo.importers.tf1.graphs import Graph, data_edges, node_of, tensor_of

RANDOM = ("Random", "StatelessRandom", "Multinomial", "TruncatedNormal")
SELECT = {"Select", "SelectV2"}


def masks(graph: Graph) -> dict[str, str]:
    """By product with a random mask, the tensor that is masked."""
    found = {}
    drawn = graph.below(n for n, node in graph.nodes.items() if node.op.startswith(RANDOM))
    drawn -= graph.variable
    for name, node in graph.nodes.items():
        edges = data_edges(node)
        if node.op == "Mul":
            masked = [e for e in edges if node_of(e) in graph.variable]
            if len(masked) == 1 and any(node_of(e) in drawn for e in edges):
                found[name] = masked[0]
        elif node.op in SELECT and node_of(edges[0]) in drawn and node_of(edges[1]) not in drawn:
            found[name] = edges[1]
    return found


def without(graph: Graph):
    """The GraphDef in which what reads a masked tensor reads what was there before dropout."""
    instead = {f"{name}:0": _unscaled(graph, edge) for name, edge in masks(graph).items()}
    changed = type(graph.graph_def)()
    changed.CopyFrom(graph.graph_def)
    for node in changed.node:
        if f"{node.name}:0" in instead:  # may be an output: the name stays
            edge, dtype = instead[f"{node.name}:0"], node.attr["T"]
            node.CopyFrom(
                type(node)(name=node.name, op="Identity", input=[edge], attr={"T": dtype})
            )
    return changed


def _unscaled(graph: Graph, edge: str) -> str:
    """What was there before 1 / keep."""
    node = graph.nodes[node_of(edge)]
    if node.op not in {"RealDiv", "Mul", "Div"} or node.name not in graph.variable:
        return edge
    variable = [e for e in data_edges(node) if node_of(e) in graph.variable]
    fixed = [e for e in data_edges(node) if node_of(e) not in graph.variable]
    if len(variable) != 1 or graph.imported.get_tensor_by_name(tensor_of(fixed[0])).shape.rank:
        return edge
    return variable[0]
