"""Ranges of our own in a TFLite file: what TensorFlow's quantizer reads, written by us.

A float `.tflite` carries a range in each tensor's `QuantizationParameters` (fields `min` and `max`,
TFLite schema); `tensorflow.lite.python.convert.mlir_quantize` turns such a file into INT8. No tool
but TensorFlow's own calibrator (minimum and maximum only) writes these fields, so this does.

A file can be 550 MB, so it is not taken apart: the new tables are appended behind the old file, and
each tensor's reference is turned to them. References of a flatbuffer point forward, which is why
the end is a good place (https://flatbuffers.dev/internals/).
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Iterable, Mapping

from int8gate.runtimes.tflite_editing import opened, written
from int8gate.runtimes.tflite_graph import FILE_IDENTIFIER

_QUANTIZATION = 12  # place of a Tensor's field `quantization` in its vtable, bytes
_FLOAT32 = 0  # TensorType.FLOAT32
_OUTPUTS = 8  # place of a SubGraph's field `outputs` in its vtable
_VTABLE = struct.pack("<4H", 8, 12, 4, 8)  # of a table of 12 bytes with fields `min` and `max`
# The table (its vtable, min, max: all relative), then the vectors (length, value) of both.
_TABLE = struct.Struct("<iIIIfIf")


def activations(model: bytes) -> dict[str, int]:
    """Each float32 tensor that an inference computes or takes, with its index in the file.

    They stand in the order of the file. A name that several tensors have gets ``#index`` behind it.
    Raises ValueError for a file that is no TFLite model, or of several subgraphs: inside a loop or
    a condition a tensor has many values in one inference, of which only the last could be seen.
    """
    graph = _root(model).Subgraphs(0)
    is_float = (graph.Tensors(index).Type() == _FLOAT32 for index in range(graph.TensorsLength()))
    floats = {index for index, found in enumerate(is_float) if found}
    return {name: index for name, index in computed(model).items() if index in floats}


def computed(model: bytes) -> dict[str, int]:
    """Like `activations`, of every dtype: an integer model's too."""
    graph = _root(model).Subgraphs(0)
    tensors = [graph.Tensors(index) for index in range(graph.TensorsLength())]
    found = set(_indices(graph, "Inputs"))
    for number in range(graph.OperatorsLength()):
        found.update(_indices(graph.Operators(number), "Outputs"))
    names = [(tensor.Name() or b"").decode(errors="replace") for tensor in tensors]
    times = Counter(names)
    return {
        name if times[name] == 1 else f"{name}#{index}": index
        for index, (name, tensor) in enumerate(zip(names, tensors, strict=True))
        if index in found and not tensor.IsVariable()
    }


def with_ranges(model: bytes, ranges: Mapping[str, tuple[float, float]]) -> bytes:
    """The float `.tflite` with (minimum, maximum), real values, in the tensors named so.

    Names are those of `activations`; a tensor that is not in `ranges` stays as it is. Raises
    ValueError for a name that the model does not have, and for a range that is none.
    """
    known = activations(model)
    for name, (low, high) in ranges.items():
        if name not in known:
            raise ValueError(
                f"the model has no activation tensor {name!r}: these ranges are of another model, "
                "calibrate this one"
            )
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ValueError(
                f"tensor {name}: {low:g} to {high:g} is no range: expected two finite numbers, the "
                "lower first"
            )
    content = _with_empty_fields(model)
    graph = _root(content).Subgraphs(0)
    content += bytes(-len(content) % 4)
    vtable = len(content)
    content += _VTABLE
    for name, (low, high) in ranges.items():
        table = graph.Tensors(known[name])._tab
        field = table.Pos + table.Offset(_QUANTIZATION)
        struct.pack_into("<I", content, field, len(content) - field)
        content += _TABLE.pack(len(content) - vtable, 8, 12, 1, low, 1, high)
    return bytes(content)


def with_outputs(model: bytes, indices: Iterable[int]) -> bytes:
    """The `.tflite` with these tensors as the outputs of its graph; signatures keep theirs."""
    content, chosen = bytearray(model), list(indices)
    content += bytes(-len(content) % 4)
    table = _root(content).Subgraphs(0)._tab
    field = table.Pos + table.Offset(_OUTPUTS)
    struct.pack_into("<I", content, field, len(content) - field)
    content += struct.pack(f"<I{len(chosen)}i", len(chosen), *chosen)
    return bytes(content)


def _with_empty_fields(model: bytes) -> bytearray:
    """A copy in which every tensor has a field for its quantization, as most writers leave one."""
    from ai_edge_litert import schema_py_generated as schema

    content = bytearray(model)
    graph = _root(content).Subgraphs(0)
    tables = [graph.Tensors(index)._tab for index in range(graph.TensorsLength())]
    if all(table.Offset(_QUANTIZATION) for table in tables):
        return content
    whole = opened(content)
    for tensor in whole.subgraphs[0].tensors:
        tensor.quantization = tensor.quantization or schema.QuantizationParametersT()
    return bytearray(written(whole))


def _root(model: bytes | bytearray):
    from ai_edge_litert import schema_py_generated as schema

    if bytes(model[4:8]) != FILE_IDENTIFIER:
        raise ValueError(
            f"expected a TFLite model ({FILE_IDENTIFIER!r} at byte 4), found {bytes(model[4:8])!r} "
            f"in {len(model)} bytes"
        )
    root = schema.Model.GetRootAs(model, 0)
    if root.SubgraphsLength() != 1:
        raise ValueError(
            f"the model has {root.SubgraphsLength()} subgraphs, expected 1: ranges inside a loop "
            "or a condition (WHILE, IF) are not collected; write the loop out where its length is "
            "fixed, or leave it to the host"
        )
    return root


def _indices(table, field: str) -> list[int]:
    return [int(getattr(table, field)(at)) for at in range(getattr(table, f"{field}Length")())]
