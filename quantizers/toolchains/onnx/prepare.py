"""What the stock quantizer needs of a float ONNX graph, seen to once, before any recipe.

What goes wrong without it: tensors without a type stay float without an error; nodes without a
name are mixed up when their biases are copied; a constant that is one node's weights and another's
operand gets one scale for both; shapes of constants that were kept contradict the dynamic
quantizer, which transposes them; operators without an integer kernel split the graph
(`rewrites`).
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from int8gate.model_zoo.importers.onnx.repairs import name_nodes
from int8gate.model_zoo.importers.onnx.structure import (
    Names,
    read_by_subgraphs,
    sort_nodes,
    untyped,
    with_shapes,
)
from int8gate.quantizers.toolchains.onnx.rewrites import rewrite
from int8gate.runtimes import onnx_file, ort

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
STANDARD = ("", "ai.onnx")


def prepare(source: Path, target: Path) -> None:
    """Writes `target`: the graph of `source`, folded, named, with a type for every tensor.

    ONNX Runtime's basic optimizations (standard operators only) fold constants and fuse batch
    normalization. Raises ValueError naming the first tensor whose type stays unknown.
    """

    def complete(model) -> None:
        rewrite(model.graph)
        name_nodes(model)
        _part_shared_constants(model)
        _part_subgraphs(model.graph)

    _write_optimized(source, target, complete, lambda model: _check_typed(model, source))


def fold(source: Path, target: Path, rewrite: Callable) -> None:
    """Writes `target`: the graph of `source`, its constants computed, its shapes known, rewritten.

    ONNX Runtime's basic optimizations, in standard operators; nodes and tensors keep their names.
    `rewrite` changes a graph in place.
    """

    def change(model) -> None:
        sort_nodes(model.graph)
        rewrite(model.graph)

    _write_optimized(source, target, change)


def _write_optimized(
    source: Path, target: Path, change: Callable, check: Callable = lambda model: None
) -> None:
    """Writes `target`: the optimized graph of `source` without what no node needs, with shapes.

    `change` works on the model in place, `check` looks at what comes of it.
    """
    import onnx

    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        optimized = Path(scratch) / source.name
        _optimize(source, optimized)
        model = onnx.load(str(optimized), load_external_data=False)
        _forget_traces(model)
        _keep_what_is_used(model)
        model = with_shapes(model)
        change(model)
        _keep_what_is_used(model)
        model = with_shapes(model)
        check(model)
        outside = [Path(scratch) / name for name in onnx_file.external_locations(model)]
        home = scratch if all(file.is_file() for file in outside) else source.parent
        onnx.load_external_data_for_model(model, str(home))
        onnx_file.write(model, target)


def _optimize(source: Path, target: Path) -> None:
    entries = {}
    if sum(file.stat().st_size for file in onnx_file.files_of(source)) > onnx_file.LARGEST_INSIDE:
        entry = "session.optimized_model_external_initializers_"
        entries = {
            f"{entry}file_name": f"{target.name}.data",
            f"{entry}min_size_in_bytes": str(onnx_file.MANY_BYTES),
        }
    options = ort.options("BASIC", entries=entries, optimized_model_filepath=str(target))
    ort.open_model(source, options)


def _forget_traces(model) -> None:
    """The exporter notes a stack trace at every node: most of a small file, and of its machine."""
    for holder in (model, model.graph, *model.graph.node, *model.graph.value_info):
        del holder.metadata_props[:]
        holder.doc_string = ""


def _keep_what_is_used(model) -> None:
    """Drops operator sets, constants and shapes that no node needs.

    ONNX Runtime lists every operator set it knows, and another reader refuses unknown ones.
    """
    graph = model.graph
    graphs = onnx_file.graphs_of(graph)
    domains = {node.domain for inner in graphs for node in inner.node} | set(STANDARD)
    read = {name for node in graph.node for name in node.input}
    read |= {info.name for info in graph.output} | read_by_subgraphs(graph)
    produced = {name for node in graph.node for name in node.output}
    _keep(model.opset_import, lambda entry: entry.domain in domains)
    _keep(graph.initializer, lambda tensor: tensor.name in read)
    _keep(graph.value_info, lambda info: info.name in produced)


def _keep(repeated, is_wanted) -> None:
    wanted = [entry for entry in repeated if is_wanted(entry)]
    if len(wanted) < len(repeated):
        del repeated[:]
        repeated.extend(wanted)


def _part_shared_constants(model) -> None:
    """A float constant that nodes use in different roles becomes one for each role.

    Weights of several convolutions stay shared, as their scales are the same; biases do not, as
    each has the scale of its node's input. A subgraph stays float and keeps the constant itself.
    """
    from onnx import TensorProto

    constants = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
    }
    names, inner = Names(model.graph), read_by_subgraphs(model.graph)
    uses = defaultdict(lambda: defaultdict(list))
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name in constants:
                uses[name][_role(node, place)].append((node, place))
    for name, by_role in uses.items():
        kept = 0 if name in inner else 1
        for number, users in enumerate(list(by_role.values())[kept:], start=1):
            copy = model.graph.initializer.add()
            copy.CopyFrom(constants[name])
            copy.name = names.new(f"{name}_copy_{number}")
            for node, place in users:
                node.input[place] = copy.name


def _part_subgraphs(graph) -> None:
    """What a subgraph reads of the graph around it comes by an Identity.

    Subgraphs stay float, and the quantizer does not see them: it would leave the tensor, and the
    convolution that makes it, float as well.
    """
    from onnx import helper

    names, read = Names(graph), read_by_subgraphs(graph)
    nodes, copies = [], {}
    for node in graph.node:
        nodes.append(node)
        for name in node.output:
            if name in read:
                copies[name] = names.new(f"{name}_inside")
                identity = names.new(f"{node.name}_inside")
                nodes.append(helper.make_node("Identity", [name], [copies[name]], identity))
    if not copies:
        return
    del graph.node[:]
    graph.node.extend(nodes)
    _, *subgraphs = onnx_file.graphs_of(graph)
    for inner in subgraphs:
        for node in inner.node:
            for place, name in enumerate(node.input):
                node.input[place] = copies.get(name, name)
        for info in inner.output:
            info.name = copies.get(info.name, info.name)


def _role(node, place: int) -> tuple:
    if node.op_type not in WEIGHTED:
        return ("operand",)
    if place == 2:
        return ("bias", node.name)
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return ("weights", node.op_type, place, transposed)


def _check_typed(model, source: Path) -> None:
    missing = untyped(model)
    if missing:
        raise ValueError(
            f"{source.name}: the type of tensor {missing[0]} is unknown "
            f"({len(missing)} such tensors), and the quantizer would leave it float without a "
            "word: export the model with fixed input shapes"
        )
