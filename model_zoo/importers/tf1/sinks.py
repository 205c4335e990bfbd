"""Which tensors are a graph's outputs, where nobody named them."""

from __future__ import annotations

from collections.abc import Sequence

from int8gate.model_zoo.importers.tf1.control_flow import EXIT, MERGE, OUTSIDE, SWITCH, Places
from int8gate.model_zoo.importers.tf1.graphs import Graph, node_of
from int8gate.model_zoo.importers.tf1.liveness import ALWAYS
from int8gate.model_zoo.importers.tf1.operators import INPUTS

READING = {"IteratorGetNext", "QueueDequeueV2"}
MOST_DESCRIBED = 24


def outputs_of(graph: Graph, file: str) -> tuple[str, ...]:
    """The tensors that nothing reads, in graph order, when all of them look like outputs.

    Raises ValueError, listing them, when they do not: bools, and a float scalar beside others (a
    loss).
    """
    ends, places = sinks(graph), Places(graph)
    ends = [t for t in ends if not _is_control(graph, t, places)] or ends
    ends = [t for t in ends if not _is_text_or_handle(graph, t)] or ends
    values = [t for t in ends if not graph.dtype(t).is_bool and not _is_text_or_handle(graph, t)]
    floats = [t for t in values if _rank(graph, t) == 0 and graph.dtype(t).is_floating]
    if not values or len(values) < len(ends) or (floats and len(values) > 1):
        told = ", ".join(described(graph, ends)) or "none depends on an input"
        raise ValueError(
            f"{file} ends in {len(ends)} tensors that are not all outputs of a network: {told}: "
            "name its outputs"
        )
    return tuple(values)


def sinks(graph: Graph) -> list[str]:
    """Tensors that nothing reads and that depend on an input, in graph order.

    What a loop computes in its turns is none: it does not leave the loop.
    """
    begun = graph.below(name for name, node in graph.nodes.items() if feeds_a_graph(node))
    places, tensors = Places(graph), []
    for node in graph.graph_def.node:
        guard = "AssertGuard/" in node.name or node.name.startswith("gradients/")
        inside = node.op not in EXIT and places[node.name].frame != OUTSIDE
        read = graph.consumers[node.name] or node.name not in begun or feeds_a_graph(node)
        if not (read or guard or inside):
            found = graph.imported.get_operation_by_name(node.name).outputs
            first = node.op.startswith("FusedBatch") or node.op in MERGE
            wanted = found[:1] if first else found
            tensors += [tensor.name for tensor in wanted if not _counts_turns(node, tensor)]
    return tensors


def described(graph: Graph, tensors: Sequence[str]) -> list[str]:
    """Each with its dtype and shape."""
    told = [f"{t} ({graph.dtype(t).name} {graph.shape(t)})" for t in tensors[:MOST_DESCRIBED]]
    return [*told, "..."] if len(tensors) > MOST_DESCRIBED else told


def feeds_a_graph(node) -> bool:
    """Whether data come in there."""
    return node.op in INPUTS | READING


def _is_control(graph: Graph, tensor: str, places: Places) -> bool:
    """What loops and conditions leave behind: what `Exit`, `Merge` and `Switch` put out, the pivots
    of conditions, and what lives in a branch alone."""
    node = graph.nodes[node_of(tensor)]
    if places[node.name].alive != ALWAYS:
        return True
    if node.op == "Identity" and graph.dtype(tensor).is_bool:
        decides = {node_of(node.input[0]), *graph.consumers[node_of(node.input[0])]}
        return any(graph.nodes[name].op in SWITCH for name in decides)
    return node.op in EXIT | MERGE | SWITCH


def _counts_turns(node, tensor) -> bool:
    """The counter that a loop leaves behind."""
    return node.op in EXIT and tensor.dtype.is_integer and tensor.shape.rank in {0, None}


def _is_text_or_handle(graph: Graph, tensor: str) -> bool:
    return graph.dtype(tensor).name in {"string", "resource", "variant"}


def _rank(graph: Graph, tensor: str) -> int | None:
    return graph.imported.get_tensor_by_name(tensor).shape.rank
