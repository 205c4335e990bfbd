"""Small tools over a `GraphDef`: names, edges, surgery, and words for people.

A tensor is named "node:0", a node "node". An edge in a `NodeDef` is "node", "node:1" or, for a
control edge, "^node". `listed`, `refusal` and `cause` tell people of tensors and errors.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from int8gate.model_zoo.importers.tf1.operators import CONVOLUTIONS, INPUTS, PRODUCTS, SHAPES

MOST_NAMES = 4
_NODE = re.compile(r"\{\{node ([^}\s]+)\}\}|[Nn]ode '([^']+)'|[Nn]ode:? \[\[([^\]]+)\]\]")
_TRACE = re.compile(
    r"Graph execution error|Detected at node|Node: '|\[\[|Original stack trace|File "
)


def node_of(edge: str) -> str:
    return edge.lstrip("^").partition(":")[0]


def tensor_of(edge: str) -> str:
    """The full name of a data edge: "conv" is "conv:0"."""
    return edge if ":" in edge else f"{edge}:0"


def edge_of(tensor: str) -> str:
    """How a `NodeDef` writes a tensor: "conv:0" is "conv"."""
    return tensor.removesuffix(":0")


def is_control(edge: str) -> bool:
    return edge.startswith("^")


def data_edges(node) -> list[str]:
    return [edge for edge in node.input if not is_control(edge)]


class Graph:
    """A `GraphDef` with its edges indexed. Not changed after it was made."""

    def __init__(self, graph_def):
        self.graph_def = graph_def
        self.nodes = {node.name: node for node in graph_def.node}

    @cached_property
    def consumers(self) -> dict[str, list[str]]:
        """By node name, the nodes that read it, through data or control edges."""
        readers: dict[str, list[str]] = defaultdict(list)
        for node in self.graph_def.node:
            for edge in node.input:
                readers[node_of(edge)].append(node.name)
        return readers

    @cached_property
    def imported(self):
        """The `tf.Graph`, with inferred dtypes and shapes."""
        import tensorflow as tf

        graph = tf.Graph()
        with graph.as_default():
            tf.graph_util.import_graph_def(self.graph_def, name="")
        return graph

    @cached_property
    def order(self) -> list[str]:
        """Node names, each after what it reads; a loop is entered at its `Enter`."""
        waiting = {
            node.name: len({node_of(e) for e in node.input if not self._is_back_edge(e)})
            for node in self.graph_def.node
        }
        ready = [name for name, count in waiting.items() if not count]
        for name in ready:
            if self.nodes[name].op in {"NextIteration", "RefNextIteration"}:
                continue
            for reader in dict.fromkeys(self.consumers[name]):
                waiting[reader] -= 1
                if not waiting[reader]:
                    ready.append(reader)
        return ready

    def _is_back_edge(self, edge: str) -> bool:
        return self.nodes[node_of(edge)].op in {"NextIteration", "RefNextIteration"}

    @cached_property
    def variable(self) -> set[str]:
        """Nodes whose value depends on an input, other than through its shape."""
        begin = [name for name, node in self.nodes.items() if node.op in INPUTS]
        return reach(begin, self.carried)

    @cached_property
    def dependent(self) -> set[str]:
        """Nodes that depend on an input in any way: the others are constant."""
        return self.below(name for name, node in self.nodes.items() if node.op in INPUTS)

    def data_consumers(self, name: str) -> Iterator[str]:
        """The nodes that read a value of `name`."""
        for reader in self.consumers[name]:
            if name in map(node_of, data_edges(self.nodes[reader])):
                yield reader

    def carried(self, name: str) -> Iterator[str]:
        """The nodes that read a value of `name` and not only its shape."""
        readers = self.data_consumers(name)
        return (reader for reader in readers if self.nodes[reader].op not in SHAPES)

    @cached_property
    def anchors(self) -> list[str]:
        """The layers that make it a network: convolutions, and products with constant weights."""
        return [
            name
            for name in self.order
            if (node := self.nodes[name]).op in CONVOLUTIONS | PRODUCTS
            and name in self.variable
            and (node.op in CONVOLUTIONS or self._has_weights(node))
        ]

    def _has_weights(self, node) -> bool:
        return any(node_of(edge) not in self.variable for edge in data_edges(node))

    def above(self, names: Iterable[str], stop: Iterable[str] = ()) -> set[str]:
        """`names` and everything they read, not going past the tensors in `stop`."""
        ends = {tensor_of(tensor) for tensor in stop}
        return reach(
            names,
            lambda name: (
                node_of(e)
                for e in self.nodes[name].input
                if is_control(e) or tensor_of(e) not in ends
            ),
        )

    def below(self, names: Iterable[str], stop: Callable[[str], bool] | None = None) -> set[str]:
        """`names` and everything that reads them; a node where `stop` is true is the last."""
        return reach(names, lambda name: () if stop and stop(name) else self.consumers[name])

    def dtype(self, tensor: str):
        return self.imported.get_tensor_by_name(tensor_of(tensor)).dtype.base_dtype

    def shape(self, tensor: str) -> str:
        return str(self.imported.get_tensor_by_name(tensor_of(tensor)).shape)

    def has(self, tensor: str) -> bool:
        try:
            self.imported.get_tensor_by_name(tensor_of(tensor))
        except (KeyError, ValueError):
            return False
        return True


def reach(start: Iterable[str], step: Callable[[str], Iterable[str]]) -> set[str]:
    found = set(start)
    pending = list(found)
    while pending:
        for name in step(pending.pop()):
            if name not in found:
                found.add(name)
                pending.append(name)
    return found


def extract(graph_def, tensors: Iterable[str]):
    """The part of the graph that `tensors` need."""
    import tensorflow as tf

    nodes = list(dict.fromkeys(node_of(tensor) for tensor in tensors))
    part = tf.compat.v1.graph_util.extract_sub_graph(graph_def, nodes)
    part.library.CopyFrom(graph_def.library)
    return part


def replace(graph_def, substitutes: Mapping[str, Any], keep: Iterable[str]):
    """The part that the tensors `keep` need, where each tensor of `substitutes` is that node.

    A substitute is a `NodeDef` with one output and an unused name (or the replaced node's own).
    """
    changed = type(graph_def)()
    changed.CopyFrom(graph_def)
    taken = {node.name for node in substitutes.values()}
    for node in changed.node:
        for position, edge in enumerate(node.input):
            if not is_control(edge) and tensor_of(edge) in substitutes:
                node.input[position] = substitutes[tensor_of(edge)].name
    for position in reversed(range(len(changed.node))):
        if changed.node[position].name in taken:
            del changed.node[position]
    changed.node.extend(substitutes.values())
    kept = [substitutes[t].name if t in substitutes else t for t in map(tensor_of, keep)]
    return extract(changed, kept)


def constant(name: str, value: np.ndarray):
    """A `Const` node."""
    import tensorflow as tf

    node = tf.compat.v1.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = tf.dtypes.as_dtype(np.asarray(value).dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return node


def placeholder(name: str, dtype, shape: Sequence[int]):
    """A `Placeholder` node of static shape."""
    import tensorflow as tf

    node = tf.compat.v1.NodeDef(name=name, op="Placeholder")
    node.attr["dtype"].type = tf.dtypes.as_dtype(dtype).as_datatype_enum
    node.attr["shape"].shape.CopyFrom(tf.TensorShape(shape).as_proto())
    return node


def free_name(graph: Graph, wish: str) -> str:
    wish = re.sub(r"[^A-Za-z0-9_./-]", "_", wish)
    count = 0
    while (name := f"{wish}_{count}" if count else wish) in graph.nodes:
        count += 1
    return name


class NotRewritten(ValueError):
    """Why a graph cannot be rewritten, in a clause of ours."""


def listed(tensors: Sequence[str]) -> str:
    """Names in a sentence: all of a few, else how many, the first and the last."""
    names = list(tensors)
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    scope = _common_scope(names)
    first, last = (name.removeprefix(scope) for name in (names[0], names[-1]))
    within = f", in {scope.rstrip('/')}" if scope else ""
    return f"{len(names)} tensors, {first} to {last}{within}"


def _common_scope(names: Sequence[str]) -> str:
    scopes = [name.rpartition(":")[0].split("/")[:-1] for name in names]
    common = []
    for parts in zip(*scopes, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "".join(f"{part}/" for part in common)


def failed_node(error: Exception) -> str:
    """The node that an error of TensorFlow is about, empty when it does not say."""
    node = getattr(error, "op", None) or getattr(error, "node_def", None)
    if node is not None:
        return node.name
    found = _NODE.search(str(error))
    return next(filter(None, found.groups()), "") if found else ""


def refusal(error: Exception) -> str:
    """Why a rewritten graph is not used, without TensorFlow's words."""
    if isinstance(error, NotRewritten):
        return str(error)
    node = failed_node(error)
    return f"the rewritten graph does not run{f' (node {node})' if node else ''}"


def cause(error: Exception) -> str:
    """What an error of TensorFlow says, in one line, without its stack traces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not _TRACE.match(line)] or [type(error).__name__]
    node = failed_node(error)
    where = f"node {node}: " if node and node not in told[0] else ""
    return f"{where}{told[0]}"[:200]
