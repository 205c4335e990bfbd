"""The layers of a float `.tflite`: operators that do arithmetic, by the tensors that they write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from int8gate.quantizers.layer import Layer, completed
from int8gate.quantizers.recipe_type import FLOAT32
from int8gate.quantizers.toolchains.tflite.width_forms import BITS, WEIGHTED, has_form
from int8gate.runtimes.tflite_graph import Graph, Operator, read_graph

MOVES = frozenset(  # values as they are, or some of them
    {
        *("RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "SPLIT"),
        *("SPLIT_V", "GATHER", "GATHER_ND", "PACK", "UNPACK", "PAD", "MIRROR_PAD", "TILE"),
        *("BROADCAST_TO", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "BATCH_TO_SPACE_ND", "REVERSE_V2"),
        *("SPACE_TO_BATCH_ND", "RESIZE_NEAREST_NEIGHBOR", "MAX_POOL_2D", "REDUCE_MAX"),
        *("REDUCE_MIN", "CAST", "QUANTIZE", "DEQUANTIZE", "FILL", "SHAPE", "EMBEDDING_LOOKUP"),
    }
)
ONE_SCALE_KERNELS = frozenset(  # they compute on integers of one scale, read and written
    {
        *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "CONCATENATION", "PAD", "PADV2"),
        *("SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "PACK", "UNPACK", "GATHER", "MIRROR_PAD"),
        *("MAX_POOL_2D", "AVERAGE_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
        *("DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "BROADCAST_TO", "TILE", "MAXIMUM", "MINIMUM"),
        *("REDUCE_MAX", "REDUCE_MIN"),
    }
)
ACTIVATIONS = frozenset({"RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"})


def layers(float_model: Path) -> list[Layer]:
    """What can be quantized of a float model, in the order of its graph."""
    return layers_in(read_graph(float_model))


def layers_in(graph: Graph) -> list[Layer]:
    """Those of a graph that was read; of its first subgraph, the one that has ranges."""
    operators = [each for each in graph.operators if each.outputs and each.subgraph == 0]
    readers = {id(tensor): each for each in operators for tensor in each.inputs}
    times = Counter(id(tensor) for each in operators for tensor in each.inputs)
    times.update(id(tensor) for tensor in graph.outputs)
    found = []
    for operator in operators:
        if not _does_arithmetic(operator):
            continue
        joined, result = [operator], operator.outputs[0]
        behind = readers.get(id(result))
        if behind is not None and behind.opcode in ACTIVATIONS and times[id(result)] == 1:
            joined.append(behind)
        layer = Layer(
            name=name_of(operator),
            kind=operator.opcode,
            operators=tuple(map(name_of, joined)),
            weights=_weights(operator),
            macs=operator.macs,
            share=0.0,
            outputs=tuple(tensor.name for tensor in joined[-1].outputs),
        )
        found.append(layer)
    kinds = {name_of(each): each.opcode for each in operators}
    return [
        replace(layer, widths=_widths({kinds[name] for name in layer.operators}))
        for layer in completed(found, list(map(name_of, operators)), graph.macs)
    ]


def name_of(operator: Operator) -> str:
    """What rules call an operator."""
    return operator.outputs[0].name


def _does_arithmetic(operator: Operator) -> bool:
    kind = operator.opcode
    if kind in MOVES or kind in ACTIVATIONS or kind.startswith("CUSTOM:"):
        return False
    return operator.outputs[0].is_float and any(tensor.is_float for tensor in operator.inputs)


def _widths(kinds: Collection[str]) -> tuple[str, ...]:
    """Of operators of these kinds: what all of them may have."""
    narrow = (width for width in BITS if all(has_form(kind, width) for kind in kinds))
    return (*narrow, FLOAT32)


def _weights(operator: Operator) -> int:
    """Numbers in the constants of a product, its bias included; others have none."""
    if operator.opcode not in WEIGHTED:
        return 0
    return sum(t.elements for t in operator.inputs if t.is_constant and t.is_float)
