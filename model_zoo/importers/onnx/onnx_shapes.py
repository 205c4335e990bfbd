"""Types and shapes of an ONNX graph's tensors, by ONNX's inference and else by ONNX Runtime's."""

from __future__ import annotations

import re

_AT_NODE = re.compile(r"running (\w+) node\. Name:'([^']*)' Status Message: (.*)")
_ASSERTED = re.compile(r"^\S*onnxruntime\S*:\d+ .*? was false\. ")
_LONGEST = 220  # characters


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


def fixed_shape(info) -> tuple[int, ...] | None:
    """The shape of a `ValueInfoProto`; None where a side is symbolic or nothing is known."""
    kind = info.type.tensor_type
    if not kind.HasField("shape"):
        return None
    sides = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
    return None if any(side is None for side in sides) else tuple(sides)


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
