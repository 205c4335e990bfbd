"""Nodes of a quantized ONNX graph that a recipe's rules give float16.

They are float32 first (`float_nodes.py`); then their weights are stored as float16, and a Cast
stands where they read or give float32. What two of them hand over stays float16. Where a runtime
has no float16 kernel (ONNX Runtime on most x86 CPUs) it computes such a node in float32 between
casts of its own: the file is smaller, and no faster there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from int8gate.model_zoo.importers.onnx.structure import Names, read_by_subgraphs, sort_nodes
from int8gate.quantizers.recipe_type import Recipe

LARGEST = float(np.finfo(np.float16).max)
_HALF = "tensor(float16)"


def check_half(
    model, recipe: Recipe, chosen: Collection[str], ranges: Mapping[str, tuple[float, float]]
) -> None:
    """Raises ValueError for the first of the chosen nodes of a float model that float16 cannot be
    given to: an operator without such a form, or values beyond what it holds.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.name not in chosen:
            continue
        said = f"{recipe.name}: {node.op_type} ({node.name})"
        if not _places(model, node, node.input, "inputs"):
            raise ValueError(
                f"{said} has no float16 form in ONNX: take it out of the recipe's float16 "
                "operators, or leave it float32"
            )
        for name in (*node.input, *node.output):
            largest = max(map(abs, ranges.get(name, (0.0,))))
            if name in constants:
                values = _float_values(constants[name])
                largest = 0.0 if values is None or not values.size else float(abs(values).max())
            if largest > LARGEST:
                raise ValueError(
                    f"{said} has values up to {largest:.3g} in {name}, and float16 ends at "
                    f"{LARGEST:g}: leave it float32"
                )


def as_half(model, chosen: Collection[str]) -> list[str]:
    """Gives the chosen nodes float16, in place; returns the names of the casts at their borders."""
    from onnx import TensorProto

    graph, names = model.graph, Names(model.graph)
    nodes = [node for node in graph.node if node.name in chosen]
    if not nodes:
        return []
    constants = {tensor.name: tensor for tensor in graph.initializer}
    halves: dict[str, str] = {}  # by tensor what it is called in float16
    casts = []
    for node in nodes:
        for place in _places(model, node, node.output, "outputs"):
            name = node.output[place]
            halves[name] = node.output[place] = names.new(f"{name}_float16")
            casts.append(_cast(names, halves[name], name, TensorProto.FLOAT))
    for node in nodes:
        for place in _places(model, node, node.input, "inputs"):
            name = node.input[place]
            if name not in halves:
                halves[name] = names.new(f"{name}_float16")
                values = _float_values(constants[name]) if name in constants else None
                if values is not None:
                    graph.initializer.append(_stored(values, halves[name]))
                else:
                    casts.append(_cast(names, name, halves[name], TensorProto.FLOAT16))
            node.input[place] = halves[name]
    ends = {info.name for info in graph.output}
    graph.node.extend(casts)
    read = {name for node in graph.node for name in node.input} | ends | read_by_subgraphs(graph)
    for cast in casts:
        if cast.output[0] not in read:
            graph.node.remove(cast)
    for name in halves.keys() & constants.keys() - read:
        graph.initializer.remove(constants[name])
    sort_nodes(graph)
    return [cast.name for cast in casts if cast.output[0] in read]


def _places(model, node, ends: Sequence[str], kind: str) -> list[int]:
    """Which inputs or outputs of a node are of the type that float16 may stand for; none where its
    operator knows no float16.
    """
    from onnx import defs

    versions = {entry.domain: entry.version for entry in model.opset_import}
    version = versions.get(node.domain, versions.get("ai.onnx", 1))
    try:
        schema = defs.get_schema(node.op_type, version, node.domain)
    except defs.SchemaError:
        return []
    allowed = {entry.type_param_str: entry.allowed_type_strs for entry in schema.type_constraints}
    main = schema.outputs[0].type_str
    if _HALF not in allowed.get(main, ()):
        return []
    formal = list(getattr(schema, kind))
    types = [formal[min(place, len(formal) - 1)].type_str for place in range(len(ends))]
    return [place for place, name in enumerate(ends) if name and types[place] == main]


def _cast(names: Names, given: str, made: str, kind: int):
    from onnx import helper

    return helper.make_node("Cast", [given], [made], names.new(f"{made}_cast"), to=kind)


def _float_values(tensor) -> np.ndarray | None:
    from onnx import TensorProto, numpy_helper

    return numpy_helper.to_array(tensor) if tensor.data_type == TensorProto.FLOAT else None


def _stored(values: np.ndarray, name: str):
    from onnx import numpy_helper

    return numpy_helper.from_array(values.astype(np.float16), name)
