"""What an ONNX model asks for, counted before anything of it is allocated or run."""

from __future__ import annotations

from pathlib import Path

from int8gate.engine import memory
from int8gate.model_zoo.importers.onnx.onnx_shapes import fixed_shape
from int8gate.runtimes import onnx_file

SMALL = 2**10  # bytes of a tensor whose values shape inference may look at
MOST_NODES = 10**6  # of a model whose functions are written out
WIDEST = 8  # times the bytes that a packed tensor takes in the file (4 bits to 4 bytes)


def check_functions(path: Path, model) -> None:
    """Raises ValueError where functions that call functions would be written out to absurdly many
    nodes.
    """
    bodies = {(f.domain, f.name): f.node for f in model.functions}
    counts: dict[tuple[str, str], int] = {}

    def count(nodes, open_calls: tuple) -> int:
        total = 0
        for node in nodes:
            key = node.domain, node.op_type
            if key in open_calls:
                raise ValueError(
                    f"{path}: function {node.op_type[:80]!r} calls itself: export the model again"
                )
            if key in bodies and key not in counts:
                counts[key] = count(bodies[key], (*open_calls, key))
            total += counts.get(key, 1)
        return total

    try:
        found = count(model.graph.node, ())
    except RecursionError:
        found = MOST_NODES + 1
    if found > MOST_NODES:
        raise ValueError(
            f"{path}: its functions write out to more than {MOST_NODES:,} nodes: that is no model, "
            "it would fill memory"
        )


def check_tensors(path: Path, model) -> None:
    """Raises ValueError for a tensor that is declared, or follows, to take absurd memory.

    Constants must be as large as the file holds them; what nodes make is inferred, as far as that
    can be told without running them.
    """
    for tensor in onnx_file.tensors_of(model.graph):
        needed = memory.size_of(tensor.dims, _itemsize(tensor.data_type))
        is_inside = tensor.data_location != tensor.EXTERNAL
        if needed > SMALL and is_inside and needed > WIDEST * tensor.ByteSize():
            raise ValueError(
                f"{path}: tensor {tensor.name[:80]} declares {memory.gib(needed)}, the file holds "
                f"{tensor.ByteSize():,} bytes of it: the file is damaged, export it again"
            )
    for sparse in model.graph.sparse_initializer:
        itemsize = _itemsize(sparse.values.data_type)
        memory.check_tensor(str(path), sparse.values.name[:80], sparse.dims, itemsize)
    for info in _inferred(model):
        if (shape := fixed_shape(info)) is not None:
            itemsize = _itemsize(info.type.tensor_type.elem_type)
            memory.check_tensor(str(path), info.name[:80], shape, itemsize)


def _inferred(model) -> list:
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


def _itemsize(data_type: int) -> int:
    from onnx import helper

    try:
        return helper.tensor_dtype_to_np_dtype(data_type).itemsize
    except KeyError:
        return 1
