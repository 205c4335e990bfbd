"""Names in an ONNX graph: of tensors and nodes, those of subgraphs too, and new ones among them."""

from __future__ import annotations

from int8gate.runtimes import onnx_file


class Names:
    """Every name of a model, so that a new one is no other's.

    A subgraph (If, Loop) sees the tensors around it, so that one list serves all graphs.
    """

    def __init__(self, graph) -> None:
        self._taken = set(tensor_names(graph)) | {
            node.name for inner in onnx_file.graphs_of(graph) for node in inner.node
        }

    def new(self, wanted: str) -> str:
        """`wanted`, with a number behind it where something bears that name already."""
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name


def tensor_names(graph) -> list[str]:
    """Names of the tensors of a graph and of its subgraphs, each once, in the order of the file."""
    found: dict[str, None] = {}
    for inner in onnx_file.graphs_of(graph):
        for info in (*inner.input, *inner.initializer, *inner.value_info):
            found[info.name] = None
        for sparse in inner.sparse_initializer:
            found[sparse.values.name] = None
        for node in inner.node:
            found |= dict.fromkeys((*node.input, *node.output))
        found |= {info.name: None for info in inner.output}
    found.pop("", None)
    return list(found)


def read_by_subgraphs(graph) -> set[str]:
    """Names that the subgraphs of a graph's nodes read; some are tensors of the graph itself."""
    return {name for node in graph.node for name in read_by_node(node)}


def read_by_node(node) -> set[str]:
    """Names from outside that nodes and outputs of a node's subgraphs read."""
    inner = list(onnx_file.graphs_within(node))
    read = {name for graph in inner for node in graph.node for name in node.input}
    read |= {info.name for graph in inner for info in graph.output}
    made = {name for graph in inner for node in graph.node for name in node.output}
    made |= {info.name for graph in inner for info in (*graph.input, *graph.initializer)}
    return read - made
