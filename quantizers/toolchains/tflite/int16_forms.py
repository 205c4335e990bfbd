"""Operators without an int16 form, written as ones that have it: before int16x8 quantization.

TFLite's quantizer for int16 activations refuses PRELU and DEPTH_TO_SPACE, the ends and the
activations of super-resolution networks. Both are sums and orders of operators that it takes:

    PRELU           slope * x + (1 - slope) * relu(x)
    DEPTH_TO_SPACE  (n, h, w, b * b * c) to (n, h, w, b, b, c), transposed to (n, h, b, w, b, c),
                    to (n, b * h, b * w, c)
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from int8gate.quantizers.toolchains.tflite.graph_edit import GraphEdit, drop_unused_codes
from int8gate.runtimes.tflite_graph import opened, written


def with_int16_forms(model: bytes) -> bytes:
    """The float `.tflite` without PRELU and DEPTH_TO_SPACE; the same bytes where it has none.

    A PRELU whose slopes the network computes stays, and is the quantizer's to refuse.
    """
    return written_out(model)[0]


def written_out(
    model: bytes, places: Collection[int] | None = None
) -> tuple[bytes, dict[int, int]]:
    """`with_int16_forms` of the operators at these places of the first subgraph, None: of all; and
    for each place in the new file which it was in the old one. Tensors keep their numbers.
    """
    whole = opened(model)
    origin: dict[int, int] = {}
    changed = False
    for number, graph in enumerate(whole.subgraphs):
        edit, operators = GraphEdit(whole, graph), []
        for place, operator in enumerate(graph.operators):
            form = FORMS.get(edit.opcode(operator)) if places is None or place in places else None
            replaced = form(edit, operator) if form else None
            if number == 0:
                made = range(len(operators), len(operators) + len(replaced or [operator]))
                origin |= dict.fromkeys(made, place)
            operators += replaced or [operator]
            changed = changed or bool(replaced)
        graph.operators = operators
    if not changed:
        return bytes(model), origin
    drop_unused_codes(whole)  # the calibrator knows only operators that a graph has
    return written(whole), origin


def _prelu(edit: GraphEdit, operator) -> list | None:
    x, slopes = operator.inputs
    (y,) = operator.outputs
    slope = edit.constant(slopes)
    if slope is None:
        return None
    slopes = edit.add_constant(slope, y, "slopes")
    others = edit.add_constant(1 - slope, y, "others")
    positive, scaled, added = (edit.like(y, part) for part in ("positive", "scaled", "added"))
    return [
        edit.operator("RELU", [x], [positive]),
        edit.operator("MUL", [x, slopes], [scaled], "MulOptions"),
        edit.operator("MUL", [positive, others], [added], "MulOptions"),
        edit.operator("ADD", [scaled, added], [y], "AddOptions"),
    ]


def _depth_to_space(edit: GraphEdit, operator) -> list:
    (x,), (y,) = operator.inputs, operator.outputs
    block = operator.builtinOptions.blockSize
    batch, height, width, _ = (int(side) for side in edit.tensor(x).shape)
    channels = int(edit.tensor(y).shape[-1])
    apart = [batch, height, width, block, block, channels]
    woven = [batch, height, block, width, block, channels]
    together = [batch, height * block, width * block, channels]
    blocks, rows = edit.like(y, "blocks", apart), edit.like(y, "rows", woven)
    axes, first, last = (
        edit.add_constant(np.array(values, np.int32), y, part)
        for values, part in (([0, 1, 3, 2, 4, 5], "axes"), (apart, "apart"), (together, "together"))
    )
    reshape = ("ReshapeOptions", {"newShape": apart}), ("ReshapeOptions", {"newShape": together})
    return [
        edit.operator("RESHAPE", [x, first], [blocks], *reshape[0]),
        edit.operator("TRANSPOSE", [blocks, axes], [rows], "TransposeOptions"),
        edit.operator("RESHAPE", [rows, last], [y], *reshape[1]),
    ]


FORMS = {"PRELU": _prelu, "DEPTH_TO_SPACE": _depth_to_space}
