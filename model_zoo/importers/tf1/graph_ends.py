"""Where a frozen graph begins and ends: its images, its outputs, and flags of training.

Where nobody named the outputs, they are found (`outputs_of`). Training flags and keep probabilities
become constants of inference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from int8gate.engine import memory
from int8gate.model_zoo.importers.tf1 import leftovers, untrusted_graph
from int8gate.model_zoo.importers.tf1.control_flow import (
    ALWAYS,
    EXIT,
    MERGE,
    OUTSIDE,
    SWITCH,
    Places,
)
from int8gate.model_zoo.importers.tf1.graphs import (
    Graph,
    cause,
    constant,
    extract,
    listed,
    node_of,
    replace,
    tensor_of,
)
from int8gate.model_zoo.importers.tf1.leftovers import without_leftovers
from int8gate.model_zoo.importers.tf1.operators import INPUTS

READING = {"IteratorGetNext", "QueueDequeueV2"}
MOST_DESCRIBED = 24

TRAINING_FLAGS = re.compile(r"train|phase|learning|dropout", re.I)
INFERENCE_FLAGS = re.compile(r"infer|eval|predict|test", re.I)
FLOAT_BYTES = 4
KEEP = re.compile(r"keep", re.I)
RATE = re.compile(r"drop|rate", re.I)


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


@dataclass(frozen=True)
class Ends:
    """The names of the tensors ("node:0") where a graph begins and ends."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def find_ends(source, inputs: tuple[str, ...], outputs: tuple[str, ...], file: str):
    """(Ends, the GraphDef between them, sentences on what was done).

    An input is a placeholder that is no training flag; an output is a tensor that nothing reads.
    Named `inputs` may be inner tensors: the graph then begins there.
    """
    kept = without_leftovers(source, map(node_of, outputs))
    untrusted_graph.check(file, kept)
    repairs = []
    if len(kept.node) < len(source.node):
        count = len(source.node) - len(kept.node)
        repairs.append(f"Dropped {count} nodes of training, saving and assertions.")
    graph = _checked(Graph(kept), file)
    _must_exist(graph, (*inputs, *outputs), file)
    ends = tuple(map(tensor_of, outputs)) or outputs_of(graph, file)
    if not outputs and (rest := [t for t in sinks(graph) if t not in ends]):
        repairs.append(f"Left out what loops and conditions leave behind: {listed(rest)}.")
    graph, sentences = _begin(graph, inputs, ends)
    repairs += sentences
    graph, sentences = _fold_flags(graph, inputs, ends)
    repairs += sentences
    begin = tuple(map(tensor_of, inputs)) or _inputs(graph, ends, file)
    graph = Graph(extract(graph.graph_def, ends))
    _check_reached(graph, begin, ends, file)
    return Ends(begin, ends), graph.graph_def, repairs


def _checked(graph: Graph, file: str) -> Graph:
    try:
        imported = graph.imported
    except Exception as error:
        raise ValueError(
            f"{file} cannot be loaded, expected operators of TensorFlow: "
            f"{cause(error)}: export it without custom operators"
        ) from error
    for operation in imported.get_operations():
        for tensor in operation.outputs:
            if tensor.shape.is_fully_defined():
                memory.check_tensor(file, tensor.name[:80], tensor.shape.as_list(), FLOAT_BYTES)
    return graph


def _must_exist(graph: Graph, tensors: Iterable[str], file: str) -> None:
    for tensor in tensors:
        if not graph.has(tensor):
            raise ValueError(
                f"{file} has no tensor {tensor}: name one of its own, for example "
                f"{', '.join(described(graph, sinks(graph)[:4]))}"
            )


def _begin(graph: Graph, inputs: tuple[str, ...], outputs: tuple[str, ...]):
    """The graph with a placeholder at each named input that is an inner tensor."""
    import tensorflow as tf

    inner = {
        tensor_of(t): tf.compat.v1.NodeDef(name=node_of(t), op="Placeholder")
        for t in inputs
        if graph.nodes[node_of(t)].op not in INPUTS
    }
    for tensor, node in inner.items():
        if not tensor.endswith(":0"):
            raise ValueError(f"input {tensor} is not the first output of its node: name another")
        node.attr["dtype"].type = graph.dtype(tensor).as_datatype_enum
        shape = graph.imported.get_tensor_by_name(tensor).shape
        node.attr["shape"].shape.CopyFrom(shape.as_proto())
    if not inner:
        return graph, []
    changed = Graph(replace(graph.graph_def, inner, outputs))
    return changed, [f"The graph begins at {', '.join(inner)}, as named."]


def _fold_flags(graph: Graph, inputs: tuple[str, ...], outputs: tuple[str, ...]):
    """Training flags, keep probabilities and defaults become constants of inference."""
    named = {node_of(name) for name in inputs}
    values, rest = {}, []
    for node in graph.graph_def.node:
        if node.op in INPUTS and node.name not in named:
            value = _inference_value(graph, node, outputs)
            rest.append(node.name) if value is None else values.update({node.name: value})
    if not rest and not named and values:
        largest = max(values, key=lambda name: values[name].size)
        if values[largest].ndim >= 2:
            del values[largest]
    substitutes = {f"{name}:0": constant(name, value) for name, value in values.items()}
    if not substitutes:
        return graph, []
    changed = Graph(replace(graph.graph_def, substitutes, outputs))
    told = (f"{n} = {v.item() if v.size == 1 else 'its default'}" for n, v in values.items())
    return changed, [f"Fixed at its value of inference: {', '.join(told)}."]


def _inference_value(graph: Graph, node, outputs: tuple[str, ...]) -> np.ndarray | None:
    """The value of a flag at inference, None for what is an input.

    The graph tells it, else the name; a bool of which neither does is taken for a flag of training.
    """
    import tensorflow as tf

    tensor = graph.imported.get_tensor_by_name(f"{node.name}:0")
    name = node.name.rpartition("/")[2] or node.name
    if tensor.dtype == tf.bool and tensor.shape.rank in {0, None}:
        switched = leftovers.value_of_inference(graph, node.name, (False, True), outputs)
        if switched is None:
            switched = bool(INFERENCE_FLAGS.search(name)) and not TRAINING_FLAGS.search(name)
        return np.array(switched)
    if tensor.dtype.is_floating and tensor.shape.rank == 0:
        dtype = tensor.dtype.as_numpy_dtype
        chosen = leftovers.value_of_inference(graph, node.name, (1, 0), outputs)
        if chosen is not None:
            return np.array(chosen, dtype)
        if KEEP.search(name):
            return np.array(1, dtype)
        if RATE.search(name):
            return np.array(0, dtype)
    if node.op == "PlaceholderWithDefault":
        return tf.get_static_value(graph.imported.get_operation_by_name(node.name).inputs[0])
    return None


def _inputs(graph: Graph, outputs: tuple[str, ...], file: str) -> tuple[str, ...]:
    needed = graph.above(map(node_of, outputs))
    found = [f"{n.name}:0" for n in graph.graph_def.node if feeds_a_graph(n) and n.name in needed]
    numbers = [t for t in found if graph.dtype(t).is_floating or graph.dtype(t).is_integer]
    if len(numbers) != 1 or len(found) != 1:
        raise ValueError(
            f"{file} begins in {len(found)} tensors, expected one image: "
            f"{', '.join(described(graph, found)) or 'no placeholder'}: name its input (an inner "
            "tensor may be named, such as a decoded image)"
        )
    return tuple(found)


def _check_reached(graph: Graph, inputs: tuple[str, ...], outputs: tuple[str, ...], file: str):
    known = {node_of(tensor) for tensor in inputs}
    open_ends = [n.name for n in graph.graph_def.node if feeds_a_graph(n) and n.name not in known]
    if open_ends:
        raise ValueError(
            f"{file}: {', '.join(outputs)} need {', '.join(open_ends)} beside "
            f"{', '.join(inputs)}: name these inputs too, or other outputs"
        )
    if missing := known - set(graph.nodes):
        raise ValueError(
            f"{file}: {', '.join(outputs)} do not depend on {', '.join(sorted(missing))}: name "
            "another input or other outputs"
        )
