"""Repetitions of computed values in a float `.tflite` as CONCATENATION, in place of BROADCAST_TO.

PyTorch's `expand` becomes BROADCAST_TO where something reads the larger tensor: so grouped-query
attention gives each key and value head to several query heads. Vela 5.2 knows no BROADCAST_TO and
leaves it to the CPU, between operators of the NPU; the same tensor concatenated with itself it
takes. Both move values as they are. (onnx2tf multiplies by ones for ONNX's Expand.)
"""

from __future__ import annotations

import math

from int8gate.quantizers.toolchains.tflite.graph_edit import GraphEdit, drop_unused_codes

MOST = 64  # copies: one value spread over a whole map would be thousands


def with_concatenations(whole) -> None:
    """Replaces the BROADCAST_TO of an opened file (`tflite_graph.opened`) that repeat a computed
    float tensor of as many axes, at most `MOST` times, in place.
    """
    for graph in whole.subgraphs:
        edit, operators = GraphEdit(whole, graph), []
        for operator in graph.operators:
            is_one = edit.opcode(operator) == "BROADCAST_TO"
            operators += (_concatenations(edit, operator) if is_one else None) or [operator]
        graph.operators = operators
    drop_unused_codes(whole)


def _concatenations(edit: GraphEdit, operator) -> list | None:
    """Those in the place of a BROADCAST_TO, one for each axis that grows; None where it stays."""
    source, result = int(operator.inputs[0]), int(operator.outputs[0])
    small, large = ([int(n) for n in edit.tensor(end).shape] for end in (source, result))
    if edit.dtype(source) != "float32" or edit.is_constant(source) or len(small) != len(large):
        return None
    grown = [axis for axis, side in enumerate(small) if side != large[axis]]
    if not grown or math.prod(large[axis] for axis in grown) > MOST:
        return None
    found, given, shape = [], source, small
    for axis in grown:
        shape = [*shape[:axis], large[axis], *shape[axis + 1 :]]
        made = result if axis == grown[-1] else edit.like(result, "repeated", shape)
        settings = {"axis": axis}
        ends = [given] * large[axis], [made]
        found.append(edit.operator("CONCATENATION", *ends, "ConcatenationOptions", settings))
        given = made
    return found
