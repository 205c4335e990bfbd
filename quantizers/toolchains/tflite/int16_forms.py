"""Operators without an int16 form, written as ones that have it: before int16x8 quantization.

TFLite's quantizer for int16 activations refuses PRELU and DEPTH_TO_SPACE, the ends and the
activations of super-resolution networks. Both are sums and orders of operators that it takes:

    PRELU           slope * x + (1 - slope) * relu(x)
    DEPTH_TO_SPACE  (n, h, w, b * b * c) to (n, h, w, b, b, c), transposed to (n, h, b, w, b, c),
                    to (n, b * h, b * w, c)
"""

from __future__ import annotations

import numpy as np

from int8gate.runtimes.tflite_graph import opened, written


def with_int16_forms(model: bytes) -> bytes:
    """The float `.tflite` without PRELU and DEPTH_TO_SPACE; the same bytes where it has none.

    A PRELU whose slopes the network computes stays, and is the quantizer's to refuse.
    """
    from ai_edge_litert import schema_py_generated as schema

    codes = schema.BuiltinOperator
    whole = opened(model)
    written_as = {codes.PRELU: _prelu, codes.DEPTH_TO_SPACE: _depth_to_space}
    changed = False
    for graph in whole.subgraphs:
        edit, operators = _Edit(whole, graph), []
        for operator in graph.operators:
            code = whole.operatorCodes[operator.opcodeIndex]
            form = written_as.get(max(code.builtinCode, code.deprecatedBuiltinCode))
            replaced = form(edit, operator) if form else None
            operators += replaced or [operator]
            changed = changed or bool(replaced)
        graph.operators = operators
    if not changed:
        return bytes(model)
    _drop_unused_codes(whole)  # the calibrator knows only operators that a graph has
    return written(whole)


def _drop_unused_codes(whole) -> None:
    operators = [operator for graph in whole.subgraphs for operator in graph.operators]
    used = sorted({operator.opcodeIndex for operator in operators})
    whole.operatorCodes = [whole.operatorCodes[index] for index in used]
    for operator in operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)


def _prelu(edit: _Edit, operator) -> list | None:
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


def _depth_to_space(edit: _Edit, operator) -> list:
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


class _Edit:
    """New tensors, constants and operators of one graph of a model (object form of the schema)."""

    def __init__(self, whole, graph):
        from ai_edge_litert import schema_py_generated

        self._schema, self._whole, self._graph = schema_py_generated, whole, graph

    def tensor(self, index: int):
        return self._graph.tensors[index]

    def constant(self, index: int) -> np.ndarray | None:
        """A float32 tensor's values, or None where they are computed."""
        tensor = self.tensor(index)
        data = self._whole.buffers[tensor.buffer].data
        if data is None or len(data) == 0 or tensor.type != self._schema.TensorType.FLOAT32:
            return None
        return np.asarray(data, np.uint8).view(np.float32).reshape(tensor.shape)

    def like(self, index: int, part: str, shape: list[int] | None = None) -> int:
        """A computed float32 tensor of the same shape, or of another one."""
        chosen = self.tensor(index).shape if shape is None else shape
        return self._add(index, part, list(chosen), self._schema.TensorType.FLOAT32, 0)

    def add_constant(self, values: np.ndarray, index: int, part: str) -> int:
        """A constant tensor for what becomes of tensor `index`."""
        types = self._schema.TensorType
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._whole.buffers.append(buffer)
        kind = types.FLOAT32 if values.dtype == np.float32 else types.INT32
        return self._add(index, part, list(values.shape), kind, len(self._whole.buffers) - 1)

    def operator(self, name: str, inputs, outputs, options: str | None = None, values=None):
        """An operator with options of that kind of the schema, and these of their fields."""
        made = self._schema.OperatorT()
        made.opcodeIndex = self._code(getattr(self._schema.BuiltinOperator, name))
        made.inputs, made.outputs = list(inputs), list(outputs)
        if options:
            made.builtinOptionsType = getattr(self._schema.BuiltinOptions, options)
            made.builtinOptions = getattr(self._schema, f"{options}T")()
            for field, value in (values or {}).items():
                setattr(made.builtinOptions, field, value)
        return made

    def _add(self, index: int, part: str, shape: list[int], kind: int, buffer: int) -> int:
        tensor = self._schema.TensorT()
        tensor.name = f"{part}_{index}".encode()  # short: a small network is half names
        tensor.shape, tensor.type, tensor.buffer = shape, kind, buffer
        tensor.quantization = self._schema.QuantizationParametersT()
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _code(self, builtin: int) -> int:
        for place, code in enumerate(self._whole.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin:
                return place
        code = self._schema.OperatorCodeT()
        code.builtinCode, code.version = builtin, 1
        code.deprecatedBuiltinCode = min(builtin, 127)
        self._whole.operatorCodes.append(code)
        return len(self._whole.operatorCodes) - 1
