"""A full INT8 TFLite file with int4 weights in every operator that has kernels for them.

Convolutions and matrix products of constant weights get integers from -7 to 7, two in a byte, with
a symmetric scale for each output channel (or one, as the file has them), and int32 biases in the
steps that follow. All else stays as TensorFlow's quantizer left it: depthwise and transposed
convolutions keep int8. LiteRT computes such an operator on integers.

Mixes of widths go another way (`other_widths.py`), because they need new conversions between
operators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from int8gate.quantizers.int4 import LEVELS, packed, whole_steps
from int8gate.quantizers.recipe_type import EIGHT_BITS, INT4, Recipe
from int8gate.quantizers.toolchains.tflite.graph_edit import GraphEdit, drop_unused_tensors
from int8gate.quantizers.toolchains.tflite.weighted_network import PRODUCTS
from int8gate.runtimes.tflite_graph import opened, written

VERSIONS = {"CONV_2D": 7, "FULLY_CONNECTED": 10}  # that know int4, of `op_version.cc` of TFLite
LEAST_RANGE = 5e-7  # of the largest weight: TensorFlow's quantizer takes that of zeros, too


@dataclass(frozen=True)
class _Layer:
    """An operator and the indices of what it reads: data, constant weights, bias (-1: none)."""

    operator: Any
    read: int
    weights: int
    bias: int


def with_int4_weights(quantized: bytes, float_model: bytes, recipe: Recipe) -> bytes:
    """The INT8 file with int4 weights in operators to which the recipe's rules give them.

    They are rounded from those of the float file that it was made of, which are found by their
    tensor's name and shape. Raises ValueError where no operator of the file takes int4.
    """
    whole, real = opened(quantized), _FloatConstants(float_model, recipe)
    edit = GraphEdit(whole, whole.subgraphs[0])
    made: dict[int, int] = {}
    kinds = set()
    for layer in _layers(edit, whole.subgraphs[0]):
        values = real.weights.get(_key(edit.tensor(layer.weights)))
        if values is None:
            continue
        if layer.weights not in made:
            made[layer.weights] = _add_weights(whole, layer.weights, values)
        kind, narrow = edit.opcode(layer.operator), made[layer.weights]
        _, weights, bias = PRODUCTS[kind]
        if layer.bias != -1:
            offsets = real.others.get(_key(edit.tensor(layer.bias)))
            scales = edit.tensor(narrow).quantization.scale
            layer.operator.inputs[bias] = _add_bias(whole, layer, offsets, scales)
        layer.operator.inputs[weights] = narrow
        kinds.add(kind)
    if not made:
        raise ValueError(
            f"{recipe.name}: the model has no {' or '.join(VERSIONS)} of constant weights, "
            "expected at least one to give int4: choose a recipe of int8 weights"
        )
    for kind in kinds:
        code = whole.operatorCodes[edit.code(kind)]
        code.version = max(code.version, VERSIONS[kind])
    drop_unused_tensors(whole)
    return written(whole)


def _layers(edit: GraphEdit, graph: Any) -> list[_Layer]:
    """The operators of 8-bit activations whose constant int8 weights may have 4 bits."""
    found = []
    for operator in graph.operators:
        kind = edit.opcode(operator)
        if kind not in VERSIONS:
            continue
        data, weights, bias = PRODUCTS[kind]
        inputs = [int(index) for index in operator.inputs]
        offsets = inputs[bias] if len(inputs) > bias else -1
        layer = _Layer(operator, inputs[data], inputs[weights], offsets)
        has_int8 = edit.is_constant(layer.weights) and edit.dtype(layer.weights) == "int8"
        if has_int8 and edit.dtype(layer.read) in EIGHT_BITS:
            found.append(layer)
    return found


class _FloatConstants:
    """A float file's constants by name and shape, those that are there once.

    `weights` are those of operators that the recipe gives int4, `others` are all.
    """

    def __init__(self, float_model: bytes, recipe: Recipe) -> None:
        whole = opened(float_model)
        graph = whole.subgraphs[0]
        edit = GraphEdit(whole, graph)
        found: dict[tuple, list[np.ndarray]] = {}
        for index, tensor in enumerate(graph.tensors):
            values = edit.constant(index)
            if values is not None:
                found.setdefault(_key(tensor), []).append(values)
        self.others = {key: same[0] for key, same in found.items() if len(same) == 1}
        self.weights: dict[tuple, np.ndarray] = {}
        for operator in graph.operators:
            kind = edit.opcode(operator)
            name = bytes(edit.tensor(int(operator.outputs[0])).name or b"").decode(errors="replace")
            if kind in VERSIONS and recipe.rule_of(name).weights == INT4:
                key = _key(edit.tensor(int(operator.inputs[PRODUCTS[kind][1]])))
                if key in self.others:
                    self.weights[key] = self.others[key]


def _key(tensor: Any) -> tuple:
    return bytes(tensor.name or b""), tuple(() if tensor.shape is None else tensor.shape)


def _add_weights(whole: Any, index: int, values: np.ndarray) -> int:
    """The index of a new int4 tensor in the place of the int8 weights `index`."""
    from ai_edge_litert import schema_py_generated as schema

    old = whole.subgraphs[0].tensors[index]
    axis = old.quantization.quantizedDimension if len(old.quantization.scale) > 1 else None
    others = tuple(each for each in range(values.ndim) if each != axis)
    widest = abs(values).max(axis=others, keepdims=True).astype(np.float64)
    scales = (widest.clip(min=LEAST_RANGE) / LEVELS).astype(np.float32)
    integers = np.rint(values / scales).clip(-LEVELS, LEVELS).astype(np.int8)
    tensor = _copy(old, schema.TensorType.INT4, scales.ravel())
    return _add(whole, tensor, packed(integers))


def _add_bias(whole: Any, layer: _Layer, real: np.ndarray | None, scales: np.ndarray) -> int:
    """The index of a new int32 bias in the steps of what its layer reads times its weights'."""
    from ai_edge_litert import schema_py_generated as schema

    tensors = whole.subgraphs[0].tensors
    old = tensors[layer.bias]
    if real is None:
        data = np.asarray(whole.buffers[old.buffer].data, np.uint8).view(np.int32)
        real = data * np.asarray(old.quantization.scale, np.float64)
    steps = np.float32(tensors[layer.read].quantization.scale[0]) * np.asarray(scales, np.float32)
    tensor = _copy(old, schema.TensorType.INT32, steps)
    return _add(whole, tensor, whole_steps(real, steps).tobytes())


def _copy(old: Any, kind: int, scales: np.ndarray) -> Any:
    """A tensor like another, of another type and other symmetric scales."""
    from ai_edge_litert import schema_py_generated as schema

    made: Any = schema.TensorT()
    how: Any = schema.QuantizationParametersT()
    made.name, made.shape, made.type = old.name, old.shape, kind
    how.scale = np.asarray(scales, np.float32)
    how.zeroPoint = np.zeros(len(scales), np.int64)
    how.quantizedDimension = old.quantization.quantizedDimension
    made.quantization = how
    return made


def _add(whole: Any, tensor: Any, content: bytes) -> int:
    graph = whole.subgraphs[0]
    tensor.buffer = GraphEdit(whole, graph).add_buffer(content)
    tensors = graph.tensors
    tensors.append(tensor)
    return len(tensors) - 1
