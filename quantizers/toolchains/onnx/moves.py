"""Operators of a QDQ graph that only move values, on the integers themselves.

ONNX Runtime takes the Q/DQ pairs from around a Reshape or a Transpose and leaves those around
others, which then move floats. Between a DQ and Qs of the same scale they get what the DQ reads,
and give what the Q gave: the values are the same, bit for bit.
"""

from __future__ import annotations

from collections import defaultdict

MOVED_AS_FLOATS = ("Pad", "Tile", "Expand", "DepthToSpace", "SpaceToDepth")


def move_integers(graph) -> None:
    """Moves integers where floats would be moved, in place; a padding of zeros is the zero point.

    Nodes may be out of order afterwards.
    """
    producer = {name: node for node in graph.node for name in node.output}
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    outputs = {info.name for info in graph.output}
    for node in list(graph.node):
        if node.op_type not in MOVED_AS_FLOATS or node.output[0] in outputs:
            continue
        before, after = producer.get(node.input[0]), readers[node.output[0]]
        if before is None or before.op_type != "DequantizeLinear" or not after:
            continue
        if any(q.op_type != "QuantizeLinear" or q.input[1:] != before.input[1:] for q in after):
            continue
        if node.op_type == "Pad" and not _pad_with(node, before.input[2]):
            continue
        node.input[0], node.output[0] = before.input[0], after[0].output[0]
        for quantizer in after:
            for reader in readers[quantizer.output[0]]:
                for place, name in enumerate(reader.input):
                    if name == quantizer.output[0]:
                        reader.input[place] = node.output[0]
            graph.node.remove(quantizer)
        producer[node.output[0]] = node


def _pad_with(node, zero_point: str) -> bool:
    """Makes the zero point what a Pad puts around a map; False where that is another number."""
    if len(node.input) > 2 and node.input[2]:
        return False
    modes = [entry.s for entry in node.attribute if entry.name == "mode"]
    if modes in ([], [b"constant"]):
        axes = list(node.input[3:])
        del node.input[2:]
        node.input.extend([zero_point, *axes])
    return True
