"""An ONNX graph in half or double precision, written in float32.

float16 files are written for graphics cards: whole (input and output too), or with a Cast at either
end. INT8 starts from float32, which holds every value of a half exactly, so the weights stay what
they are. float64 loses digits that 8 bits do not keep either.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from int8gate.runtimes import onnx_file

# Attributes that name a type, by the operators that have them: Cast and its like; random numbers,
# windows and EyeLike; what normalizations and attention compute with inside.
TYPE_ATTRIBUTES = frozenset(
    {"to", "dtype", "output_datatype", "output_dtype", "stash_type", "softmax_precision"}
)


def widened(kind: int) -> int:
    """FLOAT for the `TensorProto` types that `in_float32` turns into it, any other as it is."""
    from onnx import TensorProto

    return TensorProto.FLOAT if kind in _turned_types() else kind


def has_halves(model) -> bool:
    """Whether anything of a model is float16 or bfloat16."""
    from onnx import TensorProto

    halves = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
    return any(tensor.data_type in halves for tensor in onnx_file.tensors_of(model.graph)) or any(
        attribute.name == "to" and attribute.i in halves
        for graph in onnx_file.graphs_of(model.graph)
        for node in graph.node
        for attribute in node.attribute
    )


def _turned_types() -> dict[int, str]:
    from onnx import TensorProto

    return {
        TensorProto.FLOAT16: "float16",
        TensorProto.BFLOAT16: "bfloat16",
        TensorProto.DOUBLE: "float64",
    }


def in_float32(model, home: Path) -> list[str]:
    """Turns every float16, bfloat16 and float64 of a model into float32, in place.

    Constants in external data files in the directory `home` are read. Returns the sentences; none
    where there was nothing to do.
    """
    from onnx import AttributeProto

    names, seen = _turned_types(), set()

    def turned(kind: int) -> int:
        if kind in names:
            seen.add(names[kind])
        return widened(kind)

    graphs = list(onnx_file.graphs_of(model.graph))
    sparse = [entry.values for graph in graphs for entry in graph.sparse_initializer]
    for tensor in (*onnx_file.tensors_of(model.graph), *sparse):
        if tensor.data_type in names:
            seen.add(names[tensor.data_type])
            _cast_tensor(tensor, home)
    for graph in graphs:
        for info in (*graph.input, *graph.output, *graph.value_info):
            for kind in _tensor_types(info.type):
                kind.elem_type = turned(kind.elem_type)
        for node in graph.node:
            for attribute in node.attribute:
                is_type = attribute.type == AttributeProto.INT and attribute.name in TYPE_ATTRIBUTES
                if is_type:
                    attribute.i = turned(attribute.i)
    if not seen:
        return []
    return [f"The graph computes in {' and '.join(sorted(seen))}: it is float32 now."]


def _cast_tensor(tensor, home: Path) -> None:
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor, str(home)).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _tensor_types(kind) -> Iterator:
    """The tensor types within a `TypeProto`: its own, or those of a sequence's elements."""
    which = kind.WhichOneof("value")
    if which in ("tensor_type", "sparse_tensor_type"):
        yield getattr(kind, which)
    elif which in ("sequence_type", "optional_type"):
        yield from _tensor_types(getattr(kind, which).elem_type)
    elif which == "map_type":
        yield from _tensor_types(kind.map_type.value_type)
