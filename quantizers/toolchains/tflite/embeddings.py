"""Embeddings of a float `.tflite` as one GATHER each, in place of a lookup between two reshapes.

litert-torch writes ``RESHAPE (1, t) to (t), EMBEDDING_LOOKUP, RESHAPE (t, c) to (1, t, c)``.
TensorFlow's quantizer (2.21) moves the second reshape behind the operators that read it, and with
it the range of one tensor to another: "'tfl.reshape' op quantization parameters violate the same
scale constraint". GATHER takes token numbers of any shape, and computes the same.
"""

from __future__ import annotations

from typing import Any

AXIS = 0  # of the table: its rows are gathered


def with_gathers(whole) -> None:
    """Replaces the lookups of an opened file (`tflite_graph.opened`), in place, where the reshapes
    around one do nothing but take away axes of the token numbers and give them back.
    """
    from ai_edge_litert import schema_py_generated as schema

    kinds = schema.BuiltinOperator
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in whole.operatorCodes]
    for graph in whole.subgraphs:
        producer = {int(index): op for op in graph.operators for index in op.outputs}
        ends = {int(index) for index in graph.outputs}
        for lookup in list(graph.operators):
            if codes[lookup.opcodeIndex] != kinds.EMBEDDING_LOOKUP:
                continue
            numbers, table, rows = (int(i) for i in (*lookup.inputs, *lookup.outputs))
            before = producer.get(numbers)
            behind = [op for op in graph.operators if rows in op.inputs]
            if before is None or len(behind) != 1 or rows in ends:
                continue
            if {codes[op.opcodeIndex] for op in (before, *behind)} != {kinds.RESHAPE}:
                continue
            tokens, embedded = int(before.inputs[0]), int(behind[0].outputs[0])
            shape = [*graph.tensors[tokens].shape, graph.tensors[table].shape[-1]]
            if list(graph.tensors[embedded].shape) != shape:
                continue
            options: Any = schema.GatherOptionsT()
            options.axis = AXIS
            lookup.opcodeIndex = _code(whole, codes, kinds.GATHER)
            lookup.inputs, lookup.outputs = [table, tokens], [embedded]
            lookup.builtinOptionsType = schema.BuiltinOptions.GatherOptions
            lookup.builtinOptions = options
            graph.operators.remove(behind[0])
            if not any(numbers in op.inputs for op in graph.operators):
                graph.operators.remove(before)


def _code(whole, codes: list[int], kind: int) -> int:
    """The number of an operator's code among those of the file, which is added where it lacks."""
    from ai_edge_litert import schema_py_generated as schema

    if kind not in codes:
        made: Any = schema.OperatorCodeT()
        made.builtinCode = made.deprecatedBuiltinCode = kind
        made.version = 1
        whole.operatorCodes.append(made)
        codes.append(kind)
    return codes.index(kind)
