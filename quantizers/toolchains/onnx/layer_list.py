"""The layers of a float ONNX graph: which nodes compute with integers once it is quantized."""

from __future__ import annotations

import math
from pathlib import Path

from int8gate.quantizers.layer import Layer, completed
from int8gate.quantizers.recipe_type import FLOAT16, FLOAT32, INT4
from int8gate.quantizers.toolchains.onnx.float_nodes import shapes_of
from int8gate.quantizers.toolchains.onnx.int4_nodes import takes_int4
from int8gate.quantizers.toolchains.onnx.placement import (
    WITHOUT_LOSS,
    Placement,
    activations_of,
    is_product,
    place,
)
from int8gate.runtimes.onnx_graph import FLOAT_PRODUCTS, macs_of

MOVES = WITHOUT_LOSS | {"Pad", "Identity"}
WIDE = (FLOAT16, FLOAT32)


def layers(float_model: Path) -> list[Layer]:
    """What can be quantized of a prepared float model, in the order of its graph."""
    import onnx

    model = onnx.load(str(float_model), load_external_data=False)
    return layers_in(model, place(model))


def layers_in(model, placement: Placement) -> list[Layer]:
    """Those of a loaded model whose nodes `placement` makes integer."""
    graph, integer = model.graph, set(placement.integer)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    macs = _macs(graph, constants)
    readers = {name: node for node in graph.node for name in node.input}
    found = []
    for node in graph.node:
        if node.name not in integer or _only_moves(node):
            continue
        joined = activations_of([node.name], graph) & integer
        last = readers[node.output[0]] if joined else node
        layer = Layer(
            name=node.name,
            kind=node.op_type,
            operators=(node.name, *sorted(joined)),
            weights=_weights(node, constants),
            macs=macs.get(node.name, 0),
            share=0.0,
            outputs=tuple(last.output),
            widths=(INT4, *WIDE) if takes_int4(node, constants) else WIDE,
        )
        found.append(layer)
    return completed(found, [node.name for node in graph.node], sum(macs.values()))


def _only_moves(node) -> bool:
    modes = [entry.s for entry in node.attribute if entry.name == "mode"]
    is_nearest = node.op_type == "Resize" and modes in ([], [b"nearest"])
    return is_nearest or node.op_type in MOVES


def _weights(node, constants: dict) -> int:
    """Numbers in the constants of a product, its bias included; others have none."""
    if not is_product(node, constants):
        return 0
    return sum(math.prod(constants[name].dims) for name in node.input if name in constants)


def _macs(graph, constants: dict) -> dict[str, int]:
    """Multiply-accumulates by node, of those whose shapes are known."""
    weights = {name: tuple(tensor.dims) for name, tensor in constants.items()}
    shapes = shapes_of(graph) | weights
    found = {}
    for node in graph.node:
        ends = [
            [("", shapes[n]) for n in names if n in shapes] for names in (node.input, node.output)
        ]
        if node.op_type in FLOAT_PRODUCTS and all(ends):
            found[node.name] = macs_of(node.op_type, node, *ends, weights)
    return found
