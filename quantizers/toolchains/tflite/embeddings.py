"""Embeddings of a float `.tflite` as one GATHER each, in place of a lookup between two reshapes.

litert-torch writes ``RESHAPE (1, t) to (t), EMBEDDING_LOOKUP, RESHAPE (t, c) to (1, t, c)``.
TensorFlow's quantizer (2.21) moves the second reshape behind the operators that read it, and with
it the range of one tensor to another: "'tfl.reshape' op quantization parameters violate the same
scale constraint". GATHER takes token numbers of any shape, and computes the same.
"""

from __future__ import annotations

from int8gate.quantizers.toolchains.tflite.graph_edit import GraphEdit

AXIS = 0  # of the table: its rows are gathered


def with_gathers(whole) -> None:
    """Replaces the lookups of an opened file (`tflite_graph.opened`), in place, where the reshapes
    around one do nothing but take away axes of the token numbers and give them back.
    """
    for graph in whole.subgraphs:
        edit = GraphEdit(whole, graph)
        producer = {int(index): op for op in graph.operators for index in op.outputs}
        ends = {int(index) for index in graph.outputs}
        for lookup in list(graph.operators):
            if edit.opcode(lookup) != "EMBEDDING_LOOKUP":
                continue
            numbers, table, rows = (int(i) for i in (*lookup.inputs, *lookup.outputs))
            before = producer.get(numbers)
            behind = [op for op in graph.operators if rows in op.inputs]
            if before is None or len(behind) != 1 or rows in ends:
                continue
            if {edit.opcode(op) for op in (before, *behind)} != {"RESHAPE"}:
                continue
            tokens, embedded = int(before.inputs[0]), int(behind[0].outputs[0])
            shape = [*edit.tensor(tokens).shape, edit.tensor(table).shape[-1]]
            if list(edit.tensor(embedded).shape) != shape:
                continue
            ends_of_gather = [table, tokens], [embedded]
            gather = edit.operator("GATHER", *ends_of_gather, "GatherOptions", {"axis": AXIS})
            graph.operators[graph.operators.index(lookup)] = gather
            graph.operators.remove(behind[0])
            if not any(numbers in op.inputs for op in graph.operators):
                graph.operators.remove(before)
