"""Single operators of another integer width inside an 8-bit TFLite file: int16 activations (16x8),
int4 weights.

TensorFlow's quantizer has one width for a whole file. So it leaves these operators float, and AI
Edge Quantizer gives them int8 weights, int16 activations and a bias of 64 bits, or int4 weights.
What stands at their borders then (from int8 to float, from float to int16, and back) becomes one
QUANTIZE: no float is left, and an NPU takes the file as a whole. What an int16 operator reads from
or gives to one of 8 bits has 8 bits there; between two of them it has 16.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from int8gate.quantizers.recipe_type import INT16
from int8gate.quantizers.toolchains.tflite.float_operators import found_in
from int8gate.quantizers.toolchains.tflite.graph_edit import (
    GraphEdit,
    drop_unused_codes,
    drop_unused_tensors,
)
from int8gate.quantizers.toolchains.tflite.int16_forms import written_out
from int8gate.quantizers.toolchains.tflite.layer_list import MOVES
from int8gate.quantizers.toolchains.tflite.width_forms import BITS, has_form, quantizer_name
from int8gate.runtimes.tflite_graph import Graph, Operator, graph_of, opened, written
from int8gate.runtimes.tflite_integers import CONVERSIONS

SAME_SCALE = 1e-5  # of a scale: what float32 makes of one number
Ranges = Mapping[str, tuple[float, float]]
_NUMBERED = re.compile(rb"t(\d+)(.*)", re.DOTALL)  # what AI Edge Quantizer makes of our names
STORED = ("int8", "uint8", "int16")


def with_moves(
    graph: Graph, chosen: Sequence[Operator], others: Sequence[Operator]
) -> list[Operator]:
    """The chosen operators of a float model, and those between them that only move values.

    What the rules name `others` stays as they say.
    """
    named = {id(operator) for operator in others}
    own = {id(operator) for operator in chosen}
    writer = {id(tensor): each for each in graph.operators for tensor in each.outputs}
    readers: dict[int, list[Operator]] = {}
    for each in graph.operators:
        for tensor in each.inputs:
            readers.setdefault(id(tensor), []).append(each)
    ends = {id(tensor) for tensor in graph.outputs}

    def is_between(operator: Operator) -> bool:
        before = [writer.get(id(t)) for t in operator.inputs if t.is_float and not t.is_constant]
        given = operator.outputs
        behind = [each for tensor in given for each in readers.get(id(tensor), ())]
        return (
            bool(before and behind)
            and all(each is not None and id(each) in own for each in before)
            and all(id(each) in own for each in behind)
            and not any(id(tensor) in ends for tensor in given)
        )

    moves = [
        o for o in graph.operators if o.opcode in MOVES and o.outputs and o.outputs[0].is_float
    ]
    moves = [o for o in moves if id(o) not in named and has_form(o.opcode, INT16)]
    while more := [o for o in moves if id(o) not in own and is_between(o)]:
        own.update(map(id, more))
    return [operator for operator in graph.operators if id(operator) in own]


def with_integers(
    mixed: bytes,
    graph: Graph,
    floats: Sequence[Operator],
    chosen: Mapping[str, Sequence[Operator]],
    ranges: Ranges,
    per_channel: bool,
) -> tuple[bytes, dict[int, Operator]]:
    """A file of TensorFlow's quantizer whose `chosen` operators have widths of `BITS`.

    `mixed` leaves `floats` and the `chosen` operators (by width) of the float model `graph` float,
    `ranges` are of the float model's tensors by name. Gives with the file the places in `mixed` of
    those that were found there. Raises ValueError where a tensor of theirs has no range.
    """
    found = graph_of(mixed, graph.path)
    width_of = {id(operator): width for width, of in chosen.items() for operator in of}
    known = found_in(found, graph, [*floats, *(o for of in chosen.values() for o in of)])
    places = {place: each for place, each in known.items() if id(each) in width_of}
    if not places:
        return mixed, places
    widths = {place: width_of[id(each)] for place, each in places.items()}
    names = _names(mixed, known)
    wide = [place for place, width in widths.items() if width == INT16]
    mixed, origin = written_out(mixed, wide)
    widths = {place: widths[old] for place, old in origin.items() if old in widths}
    numbered = _Numbered(mixed)
    limits = _limits(numbered, names, widths, ranges)
    whole = numbered.restored(_quantized(numbered, widths, limits, per_channel))
    _check_given(numbered, whole, widths)
    return _with_plain_borders(whole), places


class _Numbered:
    """A model whose tensors are called by numbers: AI Edge Quantizer wants names that differ, and
    takes expressions for them.
    """

    def __init__(self, model: bytes) -> None:
        self.whole = opened(model)
        self.graph = self.whole.subgraphs[0]
        self._names = [bytes(tensor.name or b"") for tensor in self.graph.tensors]
        for number, tensor in enumerate(self.graph.tensors):
            tensor.name = b"t%d" % number
        self.model = written(self.whole)

    def name(self, number: int) -> str:
        """What tensor `number` was called."""
        return self._names[number].decode(errors="replace")

    def restored(self, quantized: bytes) -> Any:
        """The `ModelT` of what became of the model, with the names from before."""
        whole = opened(quantized)
        for tensor in whole.subgraphs[0].tensors:
            if made := _NUMBERED.fullmatch(bytes(tensor.name)):
                tensor.name = self._names[int(made[1])] + made[2]
        return whole


def _names(mixed: bytes, known: Mapping[int, Operator]) -> dict[int, str]:
    """What the float model calls the tensors that operators at the `known` places write."""
    operators, found = opened(mixed).subgraphs[0].operators, {}
    for place, operator in known.items():
        numbers = map(int, operators[place].outputs)
        found |= {n: t.name for n, t in zip(numbers, operator.outputs, strict=True)}
    return found


def _limits(
    numbered: _Numbered, names: Mapping[int, str], places: Iterable[int], ranges: Ranges
) -> dict[int, tuple[float, float]]:
    """The range of each float tensor that an operator at one of the `places` reads or writes."""
    graph, edit = numbered.graph, GraphEdit(numbered.whole, numbered.graph)
    stored = {
        int(each.outputs[0]): int(each.inputs[0])
        for each in graph.operators
        if edit.opcode(each) == "DEQUANTIZE"
    }
    stored |= {  # what is 8 bits behind it has the same scale there
        int(each.inputs[0]): int(each.outputs[0])
        for each in graph.operators
        if edit.opcode(each) == "QUANTIZE" and edit.dtype(int(each.outputs[0])) in STORED
    }
    found: dict[int, tuple[float, float]] = {}
    for place in sorted(places):
        operator = graph.operators[place]
        for number in (*map(int, operator.inputs), *map(int, operator.outputs)):
            if number == -1 or edit.dtype(number) != "float32" or edit.is_constant(number):
                continue
            name = names.get(number, numbered.name(number))
            if number in stored:
                found[number] = _stored_range(stored[number], edit)
            elif name in ranges:
                found[number] = ranges[name]
            elif number not in found:
                found[number] = _computed_range(operator, edit, found, name)
    return found


def _computed_range(
    operator: Any, edit: GraphEdit, found: Mapping[int, tuple[float, float]], name: str
) -> tuple[float, float]:
    """The range of what an operator of an int16 form makes of a tensor whose range was `found`."""
    source = int(operator.inputs[0])
    low, high = found.get(source, (np.nan, np.nan))
    kind = edit.opcode(operator)
    if kind == "RELU":
        low, high = max(low, 0.0), max(high, 0.0)
    elif kind == "MUL" and (factors := edit.constant(int(operator.inputs[1]))) is not None:
        ends = np.array([low * factors.min(), low * factors.max()])
        ends = np.append(ends, [high * factors.min(), high * factors.max()])
        low, high = float(ends.min()), float(ends.max())
    elif kind not in ("RESHAPE", "TRANSPOSE"):
        low = np.nan
    if not np.isfinite((low, high)).all():
        raise ValueError(
            f"tensor {name} needs a range and calibration has none for it: calibrate the float "
            "model again"
        )
    return low, high


def _check_given(numbered: _Numbered, whole: Any, widths: Mapping[int, str]) -> None:
    """Raises ValueError for an operator that AI Edge Quantizer passed over without a word."""
    edit = GraphEdit(whole, whole.subgraphs[0])
    for place, width in widths.items():
        operator = numbered.graph.operators[place]
        number = int(operator.outputs[0])
        if edit.dtype(number) != f"int{BITS[width][0]}":
            kind = GraphEdit(numbered.whole, numbered.graph).opcode(operator)
            raise ValueError(
                f"AI Edge Quantizer gave no {width} to {kind} ({numbered.name(number)}): take it "
                f"out of the recipe's {width} operators"
            )


def _stored_range(number: int, edit: GraphEdit) -> tuple[float, float]:
    """What an integer tensor can hold, real values."""
    limits, how = np.iinfo(edit.dtype(number)), edit.tensor(number).quantization
    scale, zero = float(how.scale[0]), int(how.zeroPoint[0])
    return (limits.min - zero) * scale, (limits.max - zero) * scale


def _quantized(
    numbered: _Numbered,
    widths: Mapping[int, str],
    limits: Mapping[int, tuple[float, float]],
    per_channel: bool,
) -> bytes:
    from ai_edge_quantizer import qtyping, quantizer

    kind = qtyping.QuantGranularity
    work = quantizer.Quantizer(bytearray(numbered.model))
    edit = GraphEdit(numbered.whole, numbered.graph)
    for place, width in widths.items():
        operator = numbered.graph.operators[place]
        activations, weights = BITS[width]
        work.add_static_config(
            rf"^t{int(operator.outputs[0])}(;|$)",
            quantizer_name(edit.opcode(operator)),  # an output of the file has the same name
            activation_num_bits=activations,
            weight_num_bits=weights,
            weight_granularity=kind.CHANNELWISE if per_channel else kind.TENSORWISE,
        )
    observed = {
        f"t{number}": {
            end: np.full((1,) * _rank(numbered.graph.tensors[number]), value, np.float32)
            for end, value in zip(("min", "max"), both, strict=True)
        }
        for number, both in limits.items()
    }
    try:
        found = work.quantize(observed, enable_progress_report=False)
    except (ValueError, RuntimeError, KeyError) as error:
        raise ValueError(f"AI Edge Quantizer stops: {error}") from error
    return bytes(found.quantized_model)


def _rank(tensor: Any) -> int:
    return 0 if tensor.shape is None else len(tensor.shape)


def _with_plain_borders(whole: Any) -> bytes:
    """The model, in which one QUANTIZE stands where floats stood between two integers."""
    graph = whole.subgraphs[0]
    edit = GraphEdit(whole, graph)
    stored = {
        int(each.outputs[0]): int(each.inputs[0])
        for each in graph.operators
        if edit.opcode(each) == "DEQUANTIZE" and edit.dtype(int(each.inputs[0])) in STORED
    }
    for each in graph.operators:
        if edit.opcode(each) == "QUANTIZE" and int(each.inputs[0]) in stored:
            each.inputs = [stored[int(each.inputs[0])]]
    same = {
        int(each.outputs[0]): int(each.inputs[0])
        for each in graph.operators
        if edit.opcode(each) == "QUANTIZE" and _is_same(*each.inputs, *each.outputs, edit)
    }
    for each in graph.operators:
        each.inputs = [same.get(int(number), int(number)) for number in each.inputs]
    read = {int(number) for each in graph.operators for number in each.inputs}
    read.update(map(int, graph.outputs))
    graph.operators = [
        each
        for each in graph.operators
        if edit.opcode(each) not in CONVERSIONS or int(each.outputs[0]) in read
    ]
    drop_unused_codes(whole)
    drop_unused_tensors(whole)
    return written(whole)


def _is_same(first: int, second: int, edit: GraphEdit) -> bool:
    """Whether two tensors hold the same values by the same integers."""
    if edit.dtype(first) != edit.dtype(second) or edit.dtype(first) not in STORED:
        return False
    one, other = (edit.tensor(int(number)).quantization for number in (first, second))
    alike = abs(one.scale[0] / other.scale[0] - 1) < SAME_SCALE
    return bool(alike and one.zeroPoint[0] == other.zeroPoint[0])
