"""A TFLite file read and changed without TensorFlow: operators, tensors, multiply-accumulates.

The schema is https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
as generated in `ai_edge_litert`. `read_graph` lists the operators of every subgraph; the body of a
loop is counted once, because its number of turns is not in the file. `opened` gives a file as
Python objects that can be changed, `written` makes a file of them again. `channel_spread` tells how
unlike the channels of a layer are, by the weight scales of a per-channel file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from int8gate.engine import memory

FILE_IDENTIFIER = b"TFL3"  # bytes 4 to 8 of a TFLite flatbuffer
BITS = {"bool": 8, "string": 0, "resource": 0, "variant": 0, "complex64": 64, "complex128": 128}
BITS |= {"int2": 2, "int4": 4, "uint4": 4, "float8_e4m3fn": 8, "float8_e5m2": 8, "bfloat16": 16}
BITS |= {f"{sign}int{bits}": bits for sign in ("", "u") for bits in (8, 16, 32, 64)}
BITS |= {f"float{bits}": bits for bits in (16, 32, 64)}
TABLE_LOOKUPS = {"GATHER", "GATHER_ND", "EMBEDDING_LOOKUP"}  # read a few rows, not the table


@dataclass(frozen=True)
class Tensor:
    """Name, static shape (a dynamic dimension counts as the 1 the file holds) and dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    is_constant: bool

    @property
    def elements(self) -> int:
        return math.prod(max(1, size) for size in self.shape)

    @property
    def size_bytes(self) -> int:
        return math.ceil(self.elements * BITS[self.dtype] / 8)

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith(("float", "bfloat"))


@dataclass(frozen=True)
class Operator:
    """One operator: `opcode` as in the schema (`CONV_2D`), or `CUSTOM:<code>`.

    `inputs` and `outputs` leave out absent optional tensors. `dtype` is the first output's.
    `bytes_moved` is every distinct tensor once, constants included; `constant_bytes` is their part.
    """

    index: int
    opcode: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    macs: int
    bytes_moved: int
    constant_bytes: int
    dtype: str
    subgraph: int = 0


@dataclass(frozen=True)
class Graph:
    """A TFLite model: operators and tensors of all subgraphs, inputs and outputs of the first.

    `metadata` is what the file holds besides, by name.
    """

    path: Path
    operators: tuple[Operator, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: Mapping[str, bytes] = field(default_factory=dict, hash=False)

    @property
    def macs(self) -> int:
        return sum(operator.macs for operator in self.operators)

    @property
    def constant_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors if tensor.is_constant)


def read_graph(path: str | Path) -> Graph:
    """Read a .tflite file.

    Raises FileNotFoundError, and ValueError for a file that is truncated or no TFLite model.
    """
    path = Path(path)
    return graph_of(path.read_bytes(), path)


def graph_of(data: bytes, path: Path) -> Graph:
    """What `read_graph` reads of the content of a file, which errors call `path`."""
    if data[4:8] != FILE_IDENTIFIER:
        raise ValueError(
            f"{path}: expected a TFLite model ({FILE_IDENTIFIER!r} at byte 4), found {data[4:8]!r} "
            f"in {len(data)} bytes: pass the .tflite file itself, or export it again"
        )
    try:
        return _parse(path, data)
    # The flatbuffers reader follows offsets unchecked, so a damaged file can raise anything.
    except Exception as error:
        raise ValueError(
            f"{path}: expected a complete TFLite model, found {len(data)} unreadable bytes "
            f"({type(error).__name__}: {error}): truncated or damaged, copy or export it again"
        ) from error


def _parse(path: Path, data: bytes) -> Graph:
    from ai_edge_litert import schema_py_generated as schema

    def items(table: object, field: str) -> Iterator:
        return map(getattr(table, field), range(getattr(table, f"{field}Length")()))

    def pick(table: object, field: str) -> tuple[Tensor, ...]:
        indices = [index for index in items(table, field) if index != -1]  # -1: left out
        if any(not 0 <= index < len(local) for index in indices):
            raise ValueError(f"{field} {indices} of {len(local)} tensors")
        return tuple(local[index] for index in indices)

    def read_tensor(raw: Any) -> Tensor:
        shape = tuple(int(size) for size in items(raw, "Shape"))
        name = (raw.Name() or b"").decode(errors="replace")
        return Tensor(name, shape, _names("TensorType")[raw.Type()].lower(), held[raw.Buffer()])

    model = schema.Model.GetRootAs(data, 0)
    held = [_holds_data(buffer, len(data)) for buffer in items(model, "Buffers")]
    opcodes = [_opcode_name(code) for code in items(model, "OperatorCodes")]
    operators: list[Operator] = []
    tensors: list[Tensor] = []
    borders = []
    for number, subgraph in enumerate(items(model, "Subgraphs")):
        local = [read_tensor(raw) for raw in items(subgraph, "Tensors")]
        tensors += local
        borders.append((pick(subgraph, "Inputs"), pick(subgraph, "Outputs")))
        for index, raw in enumerate(items(subgraph, "Operators")):
            opcode, ends = opcodes[raw.OpcodeIndex()], (pick(raw, "Inputs"), pick(raw, "Outputs"))
            macs, moved = _macs(opcode, *ends, raw), _bytes(opcode, *ends)
            dtype = (ends[1] + ends[0])[0].dtype if any(ends) else "none"
            operators.append(Operator(index, opcode, *ends, macs, *moved, dtype, number))
    if not borders:
        raise ValueError("the model has no subgraph")
    entries = {
        entry.Name().decode(errors="replace"): _data(model.Buffers(entry.Buffer()))
        for entry in items(model, "Metadata")
        if entry.Name()
    }
    return Graph(path, tuple(operators), tuple(tensors), *borders[0], entries)


@cache
def _names(enum: str) -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    members = vars(getattr(schema, enum)).items()
    return {value: name for name, value in members if not name.startswith("_")}


def _opcode_name(code: Any) -> str:
    value = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # the old field stops at 127
    name = _names("BuiltinOperator").get(value, f"BUILTIN_{value}")
    return f"CUSTOM:{(code.CustomCode() or b'').decode()}" if name == "CUSTOM" else name


def _holds_data(buffer: Any, file_size: int) -> bool:
    end = buffer.Offset() + buffer.Size()  # set where weights stand behind a full flatbuffer
    if end > file_size:
        raise ValueError(f"weights end at byte {end}")
    if buffer.Offset() > 1:
        return True
    # As an array, because that checks the range, which DataLength() alone does not.
    return buffer.DataLength() > 0 and len(buffer.DataAsNumpy()) > 0


def _data(buffer: Any) -> bytes:
    return buffer.DataAsNumpy().tobytes() if buffer.DataLength() else b""


def _bytes(opcode: str, inputs: tuple, outputs: tuple) -> tuple[int, int]:
    """Bytes of every distinct tensor, and the constants' part of them."""
    distinct = list({id(tensor): tensor for tensor in inputs + outputs}.values())
    if opcode in TABLE_LOOKUPS:  # reads as much as it writes, not the whole table
        distinct = [tensor for tensor in distinct if not tensor.is_constant] + list(outputs)
    constant = sum(tensor.size_bytes for tensor in distinct if tensor.is_constant)
    return sum(tensor.size_bytes for tensor in distinct), constant


def _macs(opcode: str, inputs: tuple, outputs: tuple, raw: Any) -> int:
    """Multiply-accumulates of one operator; 0 for all but convolutions and matrix products.

    Weights are [out, height, width, in / groups], depthwise [1, height, width, out], fully
    connected [out, in]. A transposed convolution's count includes what its padding cuts off.
    """
    if opcode in ("CONV_2D", "FULLY_CONNECTED"):
        return outputs[0].elements * math.prod(inputs[1].shape[1:])
    if opcode == "DEPTHWISE_CONV_2D":
        return outputs[0].elements * math.prod(inputs[1].shape[1:3])
    if opcode == "TRANSPOSE_CONV":  # inputs: output shape, weights, data
        return inputs[2].elements * math.prod(inputs[1].shape[:3])
    if opcode == "BATCH_MATMUL":
        return outputs[0].elements * inputs[0].shape[-2 if _is_left_transposed(raw) else -1]
    return 0


def _is_left_transposed(batch_matmul: Any) -> bool:
    from ai_edge_litert.schema_py_generated import BatchMatMulOptions

    options, table = BatchMatMulOptions(), batch_matmul.BuiltinOptions()
    if table is None:
        return False
    options.Init(table.Bytes, table.Pos)
    return options.AdjX()


def check_sizes(path: Path) -> None:
    """Raises ValueError for a damaged file, and for a tensor that takes absurd memory.

    The file is parsed in Python first, which checks every offset that it follows.
    """
    for tensor in read_graph(path).tensors:
        itemsize = max(1, BITS[tensor.dtype] // 8)
        memory.check_tensor(str(path), tensor.name[:80], tensor.shape, itemsize)


def opened(model: bytes | bytearray) -> Any:
    """The file's `ModelT` of LiteRT's schema: attributes and lists, to be changed in place.

    Weights and options that stand behind the flatbuffer, as AI Edge Quantizer writes large ones,
    are taken into it: `written` moves what is in front of them. Raises ValueError where they end
    behind the file.
    """
    from ai_edge_litert import schema_py_generated as schema

    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(model), 0))
    for buffer in whole.buffers or []:
        if buffer.offset > 1:
            buffer.data = _behind(model, buffer.offset, buffer.size)
        buffer.offset = buffer.size = 0
    for graph in whole.subgraphs or []:
        for each in graph.operators or []:
            if each.largeCustomOptionsOffset > 1:
                place = each.largeCustomOptionsOffset, each.largeCustomOptionsSize
                each.customOptions = _behind(model, *place)
            each.largeCustomOptionsOffset = each.largeCustomOptionsSize = 0
    return whole


def _behind(model: bytes | bytearray, start: int, size: int) -> Any:
    """Bytes as an array, which flatbuffers writes at once."""
    import numpy as np

    if start + size > len(model):
        raise ValueError(f"weights end at byte {start + size} of a file of {len(model)}")
    return np.frombuffer(model, np.uint8, size, start).copy()


def written(whole: Any) -> bytes:
    """The file of a `ModelT`."""
    import flatbuffers

    builder = flatbuffers.Builder(2**20)  # grows
    builder.Finish(whole.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


@dataclass(frozen=True)
class ChannelSpread:
    """The weight tensor whose channels' scales differ most.

    `ratio` is the largest over the 10th percentile: with one scale for the whole tensor, a tenth
    of the channels would be left 127 / `ratio` levels or fewer.
    """

    tensor: str
    ratio: float


def channel_spread(model: Path) -> ChannelSpread:
    """Looks at every per-channel weight tensor of a `.tflite` file, which it loads.

    Raises ValueError where no tensor has a scale for each channel.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    spreads = []
    for details in Interpreter(str(model)).get_tensor_details():
        scales = details["quantization_parameters"]["scales"]
        if len(scales) > 1:
            ratio = float(scales.max() / np.percentile(scales, 10))
            name = details["name"].partition(";")[0]  # of a fused tensor: the names of its parts
            spreads.append(ChannelSpread(name, ratio))
    if not spreads:
        raise ValueError(f"{model} has no weight tensor with a scale for each channel")
    return max(spreads, key=lambda spread: spread.ratio)
