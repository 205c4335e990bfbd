"""Ranges of our own in a TFLite file: what TensorFlow's quantizer reads, written by us.

A float `.tflite` carries a range in each tensor's `QuantizationParameters` (fields `min` and `max`,
TFLite schema); `tensorflow.lite.python.convert.mlir_quantize` turns such a file into INT8. No tool
but TensorFlow's own calibrator (minimum and maximum only) writes these fields, so this does.

A file can be 550 MB, so it is not taken apart: the new tables are appended behind the old file, and
each tensor's reference is turned to them. References of a flatbuffer point forward, which is why
the end is a good place (https://flatbuffers.dev/internals/).

Pictures can get declared ranges, where calibration guessed (`snapped_to_pixels`). Luminance spans
16..235 only, and calibration sees less still, so that a step of 8 bits would be 0.86 grey levels,
another for each of a network's pictures, and every sum of two of them would round to a third grid.
With the range of pixels they all step by one grey level: the input loses nothing, the output what
any picture of bytes loses.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from int8gate.runtimes.tflite_graph import FILE_IDENTIFIER, opened, written

_QUANTIZATION = 12  # place of a Tensor's field `quantization` in its vtable, bytes
_FLOAT32 = 0  # TensorType.FLOAT32
_OUTPUTS = 8  # place of a SubGraph's field `outputs` in its vtable
_VTABLE = struct.pack("<4H", 8, 12, 4, 8)  # of a table of 12 bytes with fields `min` and `max`
# The table (its vtable, min, max: all relative), then the vectors (length, value) of both.
_TABLE = struct.Struct("<iIIIfIf")

MARGIN = 0.1  # of the span, that a picture's calibrated range may end short of the pixels'
# Features of a network's inside overshoot more, and clipping them costs: with 0.1 here too, a
# super-resolution network lost 0.41 dB and not 0.09.
OVERSHOOT = 0.02
# What is a picture for certain, the network's input and an output that enlarges it: its range may
# be further off, since pixels end where theirs ends.
MARGIN_OF_ENDS = 0.4
SAME = 1e-6  # of the span: what float32 makes of one number


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


def known_ranges(model: bytes) -> dict[str, tuple[float, float]]:
    """The (minimum, maximum) that tensors of a float `.tflite` have, by name; see `with_ranges`."""
    graph, found = _root(model).Subgraphs(0), {}
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        how = tensor.Quantization()
        if how is not None and how.MinLength() == how.MaxLength() == 1:
            found[(tensor.Name() or b"").decode(errors="replace")] = how.Min(0), how.Max(0)
    return found


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


def _root(model: bytes | bytearray) -> Any:
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


def snapped_to_pixels(calibrated: bytes, low: float, high: float) -> tuple[bytes, list[str]]:
    """The model with the range `low`..`high` (of pixels 0 and 255) for every tensor that has
    nearly that, and the names of those whose range that changed.

    Nearly is within `MARGIN` of the span inside it, or `OVERSHOOT` outside, at either end; for the
    network's input, and for an output of rank 4 that is larger than it and has its channels, within
    `MARGIN_OF_ENDS` on either side. `calibrated` is a float model with each tensor's range
    (`with_ranges`).
    """

    model = opened(calibrated)
    span, snapped = high - low, []
    graph = model.subgraphs[0]
    pictures = _pictures(graph)
    for index, tensor in enumerate(graph.tensors):
        found = tensor.quantization
        if found is None or found.min is None or len(found.min) != 1:
            continue
        inset = (found.min[0] - low) / span, (high - found.max[0]) / span
        beyond, within = (
            (MARGIN_OF_ENDS, MARGIN_OF_ENDS) if index in pictures else (OVERSHOOT, MARGIN)
        )
        if all(-beyond <= end <= within for end in inset):
            found.min, found.max = [low], [high]
            if max(map(abs, inset)) > SAME:
                snapped.append(bytes(tensor.name or b"").decode(errors="replace"))
    return written(model), snapped


def _pictures(graph) -> set[int]:
    """Indices of the one input, if it is a map (n, h, w, c), and of outputs that enlarge it."""
    inputs, outputs = ([] if ends is None else list(ends) for ends in (graph.inputs, graph.outputs))
    if len(inputs) != 1:
        return set()
    shapes = {index: list(graph.tensors[index].shape) for index in {*inputs, *outputs}}
    taken = shapes[inputs[0]]
    if len(taken) != 4:
        return set()
    enlarged = {
        index
        for index in outputs
        if len(shapes[index]) == 4
        and shapes[index][3] == taken[3]
        and all(new > old for new, old in zip(shapes[index][1:3], taken[1:3], strict=True))
    }
    return {inputs[0], *enlarged}
