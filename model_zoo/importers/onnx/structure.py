"""What stands in an ONNX graph: names, the order of its nodes, types and shapes of its tensors.

Names are those of tensors and nodes, those of subgraphs too, and new ones among them. In order,
each node stands behind those whose results it reads. Types and shapes come from ONNX's inference,
else from ONNX Runtime's.
"""

from __future__ import annotations

import heapq
import re
from graphlib import CycleError, TopologicalSorter

from int8gate.runtimes import onnx_file

_AT_NODE = re.compile(r"running (\w+) node\. Name:'([^']*)' Status Message: (.*)")
_ASSERTED = re.compile(r"^\S*onnxruntime\S*:\d+ .*? was false\. ")
_LONGEST = 220  # characters
SMALL = 2**10  # bytes of a tensor whose values shape inference may look at


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


def read_instead(graph, tensor: str, other: str) -> None:
    """Has all that reads a tensor read another one, also within subgraphs."""
    for inner in onnx_file.graphs_of(graph):
        for node in inner.node:
            for place, name in enumerate(node.input):
                if name == tensor:
                    node.input[place] = other


def sort_nodes(graph) -> bool:
    """Puts each node behind those whose results it reads, in place; False where one was before.

    ONNX Runtime's float16 tool writes its casts at the end. Raises ValueError naming a node of a
    circle.
    """
    was_sorted = True
    for inner in onnx_file.graphs_of(graph):
        ordered = _in_order(inner)
        if ordered != list(range(len(inner.node))):
            was_sorted = False
            nodes = [type(node).FromString(node.SerializeToString()) for node in inner.node]
            del inner.node[:]
            inner.node.extend(nodes[number] for number in ordered)
    return was_sorted


def _in_order(graph) -> list[int]:
    """Numbers of the nodes so that each stands behind its sources; else as they were."""
    producer = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    sorter = TopologicalSorter()
    for number, node in enumerate(graph.node):
        read = {*node.input, *read_by_node(node)}
        sorter.add(number, *(producer[name] for name in read if name in producer))
    try:
        sorter.prepare()
    except CycleError as error:
        first = graph.node[min(error.args[1])]
        raise ValueError(
            f"node {first.name or first.output[0]} ({first.op_type}) reads, by way of "
            "others, its own result: that is no graph that runs; export the model again"
        ) from error
    ready, ordered = [], []
    while sorter.is_active():
        for number in sorter.get_ready():
            heapq.heappush(ready, number)
        ordered.append(heapq.heappop(ready))
        sorter.done(ordered[-1])
    return ordered


def with_shapes(model):
    """The model with a type, and a shape where it can be told, for every tensor.

    Weights in external data need not be loaded, so that a model beyond 2 GiB can be inferred.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    if not untyped(model):
        return model
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

    try:
        found = SymbolicShapeInference.infer_shapes(model, auto_merge=True, guess_output_rank=True)
    # It asserts, indexes and looks up without a check: what it cannot do shows below, as untyped.
    except Exception:
        return model
    return found or model


def untyped(model) -> list[str]:
    """Tensors between nodes of which nothing tells the type, in the order of the graph."""
    infos = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    known = {info.name for info in infos if _is_typed(info.type)}
    produced = (name for node in model.graph.node for name in node.output if name)
    return [name for name in produced if name not in known]


def unshaped(model) -> list[str]:
    """Tensors between nodes whose shape is unknown or symbolic, in the order of the graph."""
    infos = (*model.graph.value_info, *model.graph.output)
    known = {info.name for info in infos if fixed_shape(info) is not None}
    produced = (name for node in model.graph.node for name in node.output if name)
    return [name for name in produced if name not in known]


def inferred(model) -> list:
    """Every tensor of which a shape is told or follows from others."""
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(_without_weights(model), data_prop=True).graph
    # What contradicts itself is told by the checks that follow.
    except Exception:
        graph = model.graph
    return [*graph.input, *graph.output, *graph.value_info]


def _without_weights(model):
    """The model with the shapes of its large constants, not their values."""
    import onnx

    bare = onnx.ModelProto(ir_version=model.ir_version)
    bare.opset_import.extend(model.opset_import)
    graph = bare.graph
    for field in ("node", "input", "output", "value_info"):
        getattr(graph, field).extend(getattr(model.graph, field))
    for tensor in model.graph.initializer:
        if tensor.ByteSize() <= SMALL:
            graph.initializer.append(tensor)
        else:
            kept = graph.initializer.add(name=tensor.name, data_type=tensor.data_type)
            kept.dims.extend(tensor.dims)
            kept.data_location = tensor.EXTERNAL
    return bare


def fixed_shape(info) -> tuple[int, ...] | None:
    """The shape of a `ValueInfoProto`; None where a side is symbolic or nothing is known."""
    kind = info.type.tensor_type
    if not kind.HasField("shape"):
        return None
    sides = kind.shape.dim
    known = all(side.HasField("dim_value") for side in sides)
    return tuple(side.dim_value for side in sides) if known else None


def sides_in_words(info) -> str:
    """``(N, 3, ?, ?)``: the declared shape as a person writes it."""
    kind = info.type.tensor_type
    if not kind.HasField("shape"):
        return "(no shape)"
    sides = (
        str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim
    )
    return f"({', '.join(sides)})"


def plainly(error: Exception) -> str:
    """What a library in C++ says, as one clause: the node, the reason, without its source files."""
    said = " ".join(str(error).split())
    if found := _AT_NODE.search(said):
        operator, name, reason = found.groups()
        said = f"{operator} node {name!r}: {_ASSERTED.sub('', reason)}"
    return said.rstrip(".").replace(". ", "; ")[:_LONGEST]


def _is_typed(kind) -> bool:
    if kind.HasField("tensor_type"):
        return kind.tensor_type.elem_type != 0
    return kind.WhichOneof("value") is not None
