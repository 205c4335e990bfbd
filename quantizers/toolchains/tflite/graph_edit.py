"""Changes of a TFLite graph in the object form of its schema: new tensors, constants, operators."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from int8gate.quantizers.int4 import unpacked

NUMBERS = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool")


@cache
def enum_names(enum: str) -> dict[int, str]:
    """The names of an enumeration of the schema, by value."""
    from ai_edge_litert import schema_py_generated

    members = vars(getattr(schema_py_generated, enum)).items()
    return {value: name for name, value in members if not name.startswith("_")}


def drop_unused_codes(whole) -> None:
    """Takes the operator codes out of a `ModelT` that no operator has, in place."""
    operators = [operator for graph in whole.subgraphs for operator in graph.operators]
    used = sorted({operator.opcodeIndex for operator in operators})
    whole.operatorCodes = [whole.operatorCodes[index] for index in used]
    for operator in operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)


def drop_unused_tensors(whole) -> None:
    """Takes the tensors and buffers out of a `ModelT` of one subgraph that nothing reads, in place.

    Numbers of the others change.
    """
    graph = whole.subgraphs[0]
    lists = [(graph, "inputs"), (graph, "outputs")]
    lists += [(o, part) for o in graph.operators for part in ("inputs", "outputs", "intermediates")]
    lists = [(of, part) for of, part in lists if getattr(of, part) is not None]
    entries = [
        entry
        for signature in whole.signatureDefs or []
        for entry in (*(signature.inputs or []), *(signature.outputs or []))
    ]
    numbers = {int(number) for of, part in lists for number in getattr(of, part)} - {-1}
    used = sorted(numbers | {entry.tensorIndex for entry in entries})
    place = {old: new for new, old in enumerate(used)} | {-1: -1}
    graph.tensors = [graph.tensors[number] for number in used]
    for of, part in lists:
        setattr(of, part, [place[int(number)] for number in getattr(of, part)])
    for entry in entries:
        entry.tensorIndex = place[entry.tensorIndex]
    holders = [*graph.tensors, *(whole.metadata or [])]
    kept = sorted({0, *(int(holder.buffer) for holder in holders)})
    of_buffer = {old: new for new, old in enumerate(kept)}
    for holder in holders:
        holder.buffer = of_buffer[int(holder.buffer)]
    whole.buffers = [whole.buffers[number] for number in kept]
    whole.metadataBuffer = None  # numbers of buffers, in files of old


class GraphEdit:
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

    def values(self, index: int) -> np.ndarray | None:
        """A constant tensor's values as the file has them, None of one that is computed.

        Those of int4 are int8. None too of a dtype that numpy has none for.
        """
        tensor = self.tensor(index)
        data = self._whole.buffers[tensor.buffer].data
        if data is None or len(data) == 0:
            return None
        dtype = self.dtype(index)
        shape = () if tensor.shape is None else tensor.shape
        content = np.asarray(data, np.uint8)
        if dtype == "int4":
            return unpacked(content, math.prod(shape)).reshape(shape)
        return content.view(dtype).reshape(shape) if dtype in NUMBERS else None

    def dtype(self, index: int) -> str:
        """A tensor's dtype, as numpy calls it where it has that."""
        return enum_names("TensorType")[self.tensor(index).type].lower()

    def is_constant(self, index: int) -> bool:
        """Whether the file holds a tensor's values."""
        data = self._whole.buffers[self.tensor(index).buffer].data
        return data is not None and len(data) > 0

    def opcode(self, operator) -> str:
        """An operator's name in the schema."""
        code = self._whole.operatorCodes[operator.opcodeIndex]
        return enum_names("BuiltinOperator")[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def like(self, index: int, part: str, shape: list[int] | None = None) -> int:
        """A computed float32 tensor of the same shape, or of another one."""
        chosen = self.tensor(index).shape if shape is None else shape
        return self._add(index, part, list(chosen), self._schema.TensorType.FLOAT32, 0)

    def add_constant(self, values: np.ndarray, index: int, part: str) -> int:
        """A constant tensor for what becomes of tensor `index`."""
        types = self._schema.TensorType
        kind = types.FLOAT32 if values.dtype == np.float32 else types.INT32
        buffer = self.add_buffer(values.tobytes())
        return self._add(index, part, list(values.shape), kind, buffer)

    def add_buffer(self, content: bytes) -> int:
        """The number of a new buffer of the model."""
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        self._whole.buffers.append(buffer)
        return len(self._whole.buffers) - 1

    def operator(self, name: str, inputs, outputs, options: str | None = None, values=None):
        """An operator with options of that kind of the schema, and these of their fields."""
        made = self._schema.OperatorT()
        made.opcodeIndex = self.code(name)
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

    def code(self, name: str) -> int:
        """The index of an operator code of the model, which is added where it has none."""
        builtin = getattr(self._schema.BuiltinOperator, name)
        for place, code in enumerate(self._whole.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin:
                return place
        code = self._schema.OperatorCodeT()
        code.builtinCode, code.version = builtin, 1
        code.deprecatedBuiltinCode = min(builtin, 127)
        self._whole.operatorCodes.append(code)
        return len(self._whole.operatorCodes) - 1
