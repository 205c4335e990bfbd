"""What a TFLite file computes with integers, operator by operator, whatever it was meant to.

A file can say that its recipe leaves operators float (`BY_RECIPE`, written by `with_kept`): a
metadata entry with their indices in the first subgraph, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from int8gate.runtimes.tflite_graph import Graph, Operator, opened, read_graph, written

BY_RECIPE = "int8gate.float_by_recipe"
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class FloatOperator:
    """An operator that touches a float tensor, with the first such tensor (outputs first)."""

    op: str
    tensor: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.op} ({self.tensor}, {self.dtype})"


def float_operators(graph: Graph) -> list[FloatOperator]:
    """Operators that read or write a float tensor; empty for a full-integer model.

    QUANTIZE and DEQUANTIZE count, at the border too: their float side is computed on the CPU, and
    an integrator who asked for integer inputs and outputs did not ask for them.
    """
    return [found for found in map(_float_operator, graph.operators) if found]


def _float_operator(operator: Operator) -> FloatOperator | None:
    tensor = next((t for t in operator.outputs + operator.inputs if t.is_float), None)
    return FloatOperator(operator.opcode, tensor.name, tensor.dtype) if tensor else None


def what_is_integer(graph: Graph) -> dict:
    """The record's `integer_ops`: share of integer operators, and those that touch a float.

    Those that the file says its recipe leaves float, and the conversions at their borders, are
    `float_by_recipe`. Where operators of 8 bits stand beside them, `int16_ops` are those of 16, and
    `int4_ops` those with int4 weights, conversions apart.
    """
    meant = _with_borders(graph)
    lists: dict[str, list[str]] = {"float_ops": [], "float_by_recipe": []}
    for operator in graph.operators:
        if found := _float_operator(operator):
            lists["float_by_recipe" if id(operator) in meant else "float_ops"].append(str(found))
    lists |= _other_widths(graph)
    optional = {name: those for name, those in lists.items() if those or name == "float_ops"}
    return {"fraction": integer_fraction(graph)} | optional


def _other_widths(graph: Graph) -> dict[str, list[str]]:
    computing = [o for o in graph.operators if o.outputs and o.opcode not in CONVERSIONS]
    wide = [operator for operator in computing if operator.dtype == "int16"]
    narrow = [o for o in computing if any(t.dtype == "int4" for t in o.inputs)]
    beside = any(operator.dtype in ("int8", "uint8") for operator in computing)
    listed = {"int16_ops": wide if beside else [], "int4_ops": narrow}
    return {
        name: [f"{o.opcode} ({o.outputs[0].name}, {o.dtype})" for o in operators]
        for name, operators in listed.items()
    }


def what_is_integer_in(path: Path) -> dict:
    """`what_is_integer` of a file."""
    return what_is_integer(read_graph(path))


def integer_fraction(graph: Graph) -> float | None:
    """Share of operators, 0 to 1, with no float tensor; None where there is no operator."""
    if not graph.operators:
        return None
    return 1.0 - len(float_operators(graph)) / len(graph.operators)


def with_kept(model: bytes, kept: Iterable[int]) -> bytes:
    """The `.tflite`, saying that its recipe leaves the operators of these indices float."""
    from ai_edge_litert import schema_py_generated as schema

    whole, buffer, entry = opened(model), schema.BufferT(), schema.MetadataT()
    buffer.data = list(json.dumps(sorted(kept)).encode())
    entry.name, entry.buffer = BY_RECIPE, len(whole.buffers)
    whole.buffers.append(buffer)
    whole.metadata = [*(whole.metadata or []), entry]
    return written(whole)


def _with_borders(graph: Graph) -> set[int]:
    """Identities of the operators that the recipe leaves float, and of conversions beside them."""
    kept = _listed(graph)
    first = [operator for operator in graph.operators if operator.subgraph == 0]
    meant = [operator for operator in first if operator.index in kept]
    read = {id(tensor) for operator in meant for tensor in operator.inputs}
    made = {id(tensor) for operator in meant for tensor in operator.outputs}
    borders = (
        operator
        for operator in first
        if (operator.opcode == "DEQUANTIZE" and read & set(map(id, operator.outputs)))
        or (operator.opcode == "QUANTIZE" and made & set(map(id, operator.inputs)))
    )
    return {id(operator) for operator in (*meant, *borders)}


def _listed(graph: Graph) -> list:
    """What the file says; nothing where that is no list, in a file of somebody else's."""
    try:
        found = json.loads(graph.metadata.get(BY_RECIPE, b"[]"))
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) else []
