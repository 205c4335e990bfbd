"""Masks of attention (-1e9, float32's lowest) as numbers that a scale of 8 bits can hold.

A mask is added to the scores before a softmax, so that what is masked weighs nothing. In integers
the sum gets one scale, and with -1e9 in it all scores are one step. What is `MARGIN` below the
least score weighs as good as nothing, too: a mask need not reach further, nor the range of the sum.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np

from int8gate.quantizers.toolchains.tflite.graph_edit import GraphEdit
from int8gate.quantizers.toolchains.tflite.ranges import activations
from int8gate.runtimes.tflite_graph import opened, written

MARGIN = 12.0  # of scores: e ** -12 is 6e-6

Ranges = dict[str, tuple[float, float]]


def with_near_masks(
    model: bytes, ranges: Mapping[str, tuple[float, float]]
) -> tuple[bytes, Ranges]:
    """The float `.tflite` and the ranges of its tensors, with masks that reach no further.

    Where nothing is masked so, both are what they were.
    """
    from ai_edge_litert import schema_py_generated as schema

    whole = opened(model)
    graph, changed = whole.subgraphs[0], dict(ranges)
    names = {index: name for name, index in activations(model).items()}
    producer = {int(index): op for op in graph.operators for index in op.outputs}
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in whole.operatorCodes]

    def kind(op) -> int | None:
        return None if op is None else codes[op.opcodeIndex]

    is_changed = False
    for softmax in graph.operators:
        if kind(softmax) != schema.BuiltinOperator.SOFTMAX:
            continue
        masked = [int(softmax.inputs[0])]
        while kind(producer.get(masked[-1])) == schema.BuiltinOperator.RESHAPE:
            masked.append(int(producer[masked[-1]].inputs[0]))
        add = producer.get(masked[-1])
        if add is None or kind(add) != schema.BuiltinOperator.ADD:
            continue
        for place in (0, 1):
            mask, scores = (int(add.inputs[at]) for at in (place, 1 - place))
            values = _constant(whole, graph.tensors[mask])
            if values is None or names.get(scores) not in ranges:
                continue
            near = _near(values, *ranges[names[scores]])
            if near is None:
                continue
            is_changed = True
            add.inputs[place] = _added(whole, graph, graph.tensors[mask], near[0])
            for name in (names[index] for index in masked if names.get(index) in ranges):
                low, high = changed[name]
                changed[name] = (min(max(low, near[1]), high), high)
    if not is_changed:
        return model, changed
    return written(whole), changed


def _near(values: np.ndarray, low: float, high: float) -> tuple[np.ndarray, float] | None:
    """The mask no lower than need be, and the least sum; None where it is none or near already.

    `low` and `high` are the scores' range.
    """
    masks = values < low - high - MARGIN
    if not masks.any() or masks.all():
        return None
    least = low + min(float(values[~masks].min()), 0.0) - MARGIN
    limit = np.float32(least - high)
    if values.min() >= limit:
        return None
    return np.maximum(values, limit), least


def _constant(whole, tensor) -> np.ndarray | None:
    """The values of a float32 constant, flat."""
    from ai_edge_litert import schema_py_generated as schema

    data = whole.buffers[tensor.buffer].data
    if tensor.type != schema.TensorType.FLOAT32 or data is None or not len(data):
        return None
    return np.asarray(data).view(np.float32)


def _added(whole, graph, like, values: np.ndarray) -> int:
    """The number of a new constant: others may read the old one."""
    tensor = copy.copy(like)
    tensor.name = like.name + b"/near"
    tensor.buffer = GraphEdit(whole, graph).add_buffer(values.astype(np.float32).tobytes())
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
