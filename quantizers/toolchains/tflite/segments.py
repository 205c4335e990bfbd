"""A float `.tflite` in segments, of which any operators are quantized in memory (`segmented.py`).

A segment is a `.tflite` of its own with the ranges of the whole: TensorFlow's quantizer takes 0.1 s
for one. Where an operator's inputs and outputs have to have one scale (a concatenation, a pooling),
the quantizer chooses it from what stands around, so that such tensors never stand between segments.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from int8gate.quantizers.recipe_type import FLOAT32, INT8, WIDTHS, Recipe
from int8gate.quantizers.segmented import Operator, Program, Segmented, State, cut
from int8gate.quantizers.toolchains.tflite.attention_masks import with_near_masks
from int8gate.quantizers.toolchains.tflite.float_operators import of_widths
from int8gate.quantizers.toolchains.tflite.layer_list import ACTIVATIONS, MOVES, layers_in, name_of
from int8gate.quantizers.toolchains.tflite.mixed_widths import quantized_mix
from int8gate.quantizers.toolchains.tflite.ranges import snapped_to_pixels, with_ranges
from int8gate.runtimes import tflite_graph
from int8gate.runtimes.artifact import TensorSpec
from int8gate.runtimes.litert import LiteRTSession, spec_of
from int8gate.runtimes.tflite_graph import graph_of, read_graph, written

ONE_SCALE = MOVES | ACTIVATIONS | {"CONCATENATION", "AVERAGE_POOL_2D", "MAXIMUM", "MINIMUM", "SUB"}


def opened(
    float_model: Path,
    ranges: Mapping[str, tuple[float, float]],
    recipe: Recipe,
    pixel_range: tuple[float, float] | None = None,
) -> TfliteSegments:
    """A float `.tflite`; `ranges` and `pixel_range` as `convert.quantize` has them.

    Raises ValueError for a model of several subgraphs, and what `convert.quantize` raises.
    """
    ranged = with_ranges(*with_near_masks(float_model.read_bytes(), ranges))
    if recipe.pixel_ranges and pixel_range is not None:
        ranged, _ = snapped_to_pixels(ranged, *pixel_range)
    return TfliteSegments(float_model, ranged, recipe)


class TfliteSegments(Segmented):
    def __init__(self, float_model: Path, ranged: bytes, recipe: Recipe) -> None:
        self._path, self._recipe = float_model, recipe
        graph = read_graph(float_model)
        chosen = of_widths(graph, recipe)
        self._kept = frozenset(map(name_of, chosen[FLOAT32]))
        self._model = tflite_graph.opened(ranged)
        session = LiteRTSession(float_model)
        self._inputs, outputs = session.inputs, session.outputs
        own = self._model.subgraphs[0]
        self._ends = [
            _by_name(own, list(map(int, indices)), specs)
            for indices, specs in ((own.inputs, self._inputs), (own.outputs, outputs))
        ]
        self.outputs = tuple(map(str, self._ends[1]))
        quantizable = [each for each in layers_in(graph) if each.name not in self._kept]
        self.layers = tuple(quantizable)
        first = [each for each in graph.operators if each.subgraph == 0]
        self._names = [name_of(each) if each.outputs else "" for each in first]
        self.operators = tuple(
            self._operator(name, each)
            for name, each in zip(self._names, own.operators, strict=True)
        )
        self.segments = cut(
            self.operators,
            list(map(str, self._ends[0])),
            self.outputs,
            {layer.name for layer in self.layers},
            self._sizes(),
            # An output that is read, too, is rounded for the caller as it is for the reader.
            {*self._of_one_scale([each.opcode for each in first]), *self.outputs},
        )
        self._stored: dict[str, list[TensorSpec]] = {}

    @property
    def by_recipe(self) -> frozenset[str]:
        return self._kept

    def feed(self, inputs: Sequence[np.ndarray]) -> State:
        return {
            str(index): spec.quantize(array)
            for index, spec, array in zip(self._ends[0], self._inputs, inputs, strict=True)
        }

    def rounded(self, state: State) -> State:
        found = dict(state)
        for spec, name in zip(self._ends_of(0), self.segments[0].takes, strict=True):
            if spec.is_quantized:
                found[name] = spec.dequantize(spec.quantize(state[name]))
        return found

    def rounded_outputs(self, outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        by_name = dict(zip(self.segments[-1].gives, self._ends_of(-1), strict=True))
        specs = [by_name.get(name) for name in self.outputs]
        return [
            spec.dequantize(spec.quantize(array)) if spec and spec.is_quantized else array
            for spec, array in zip(specs, outputs, strict=True)
        ]

    def program(self, segment: int, kept: frozenset[str]) -> Program:
        if not self.segments[segment].gives:  # nothing reads what its operators compute
            return lambda arrays: []
        part = self._part(segment)
        kept = self.within(segment, kept)
        if kept == self.within(segment, self.all_float):
            return _Run(part).run
        return _Run(self._quantized(part, kept, "float32")).run

    def _quantized(self, part: bytes, kept: frozenset[str], io: str) -> bytes:
        graph = graph_of(part, self._path)
        chosen: dict[str, list] = {width: [] for width in WIDTHS}
        for each in graph.operators:
            if not each.outputs:
                continue
            name = name_of(each)
            width = FLOAT32 if name in kept else self._recipe.rule_of(name).width or INT8
            chosen.setdefault(width, []).append(each)
        try:
            return quantized_mix(part, graph, self._recipe, chosen, io)[0]
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"TensorFlow's quantizer stops: {error}") from error

    def _ends_of(self, segment: int) -> list[TensorSpec]:
        """The inputs of the first segment, or the outputs of the last, as the artifact has them."""
        if segment not in self._stored:
            number = segment % len(self.segments)
            kept = self.within(number, self._kept)
            run = _Run(self._quantized(self._part(number), kept, self._recipe.io))
            self._stored[segment] = run.inputs if segment == 0 else run.outputs
        return self._stored[segment]

    def _part(self, segment: int) -> bytes:
        """A `.tflite` of a segment's operators alone."""
        from ai_edge_litert import schema_py_generated as schema

        found, whole = self.segments[segment], self._model
        own = whole.subgraphs[0]
        operators = own.operators[found.start : found.stop]
        used = [int(i) for each in operators for i in (*each.inputs, *each.outputs) if i != -1]
        used = sorted({*used, *map(int, found.takes), *map(int, found.gives)})
        place = {index: number for number, index in enumerate(used)} | {-1: -1}
        buffers = sorted({0, *(own.tensors[index].buffer for index in used)})
        of_buffer = {index: number for number, index in enumerate(buffers)}
        part = schema.ModelT()
        part.version, part.description = whole.version, whole.description
        part.operatorCodes = whole.operatorCodes
        part.buffers = [whole.buffers[index] for index in buffers]
        graph = schema.SubGraphT()
        tensors = [own.tensors[index] for index in used]
        graph.tensors = [_with(each, buffer=of_buffer[each.buffer]) for each in tensors]
        graph.operators = [
            _with(
                each,
                inputs=[place[int(index)] for index in each.inputs],
                outputs=[place[int(index)] for index in each.outputs],
            )
            for each in operators
        ]
        graph.inputs = [place[int(name)] for name in found.takes]
        graph.outputs = [place[int(name)] for name in found.gives]
        graph.name = own.name
        part.subgraphs = [graph]
        return written(part)

    def _operator(self, name: str, raw: Any) -> Operator:
        tensors, buffers = self._model.subgraphs[0].tensors, self._model.buffers
        reads = [int(index) for index in raw.inputs if index != -1]
        reads = [i for i in reads if buffers[tensors[i].buffer].data is None]
        return Operator(name, tuple(map(str, dict.fromkeys(reads))), tuple(map(str, raw.outputs)))

    def _sizes(self) -> dict[str, int]:
        found = {}
        for index, tensor in enumerate(self._model.subgraphs[0].tensors):
            if not tensor.isVariable:
                shape = [] if tensor.shape is None else tensor.shape
                found[str(index)] = math.prod(int(side) for side in shape)
        return found

    def _of_one_scale(self, opcodes: list[str]) -> set[str]:
        """Tensors that an operator reads or writes whose ends have one scale."""
        return {
            name
            for operator, opcode in zip(self.operators, opcodes, strict=True)
            if opcode in ONE_SCALE
            for name in (*operator.reads, *operator.writes)
        }


class _Run:
    """A `.tflite` in memory: real or stored arrays in, the same out, in the file's order."""

    def __init__(self, model: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        content = bytes(model)
        try:
            self._interpreter = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"LiteRT cannot load a segment: {error}") from error
        ends = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self.inputs, self.outputs = ([spec_of(details) for details in each] for each in ends)
        self._takes, self._gives = ([details["index"] for details in each] for each in ends)

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        for index, array in zip(self._takes, arrays, strict=True):
            self._interpreter.set_tensor(index, array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._gives]


def _by_name(graph: Any, indices: list[int], specs: Sequence[TensorSpec]) -> list[int]:
    """Inputs or outputs of a graph in the order of a session's, which are known by their names."""
    by_name = {bytes(graph.tensors[index].name or b"").decode(): index for index in indices}
    if len(by_name) < len(indices):
        raise ValueError("inputs or outputs of one name: give each a name of its own")
    return [by_name[spec.name] for spec in specs]


def _with(table: Any, **changed: Any) -> Any:
    """A copy of a table with other values in some of its fields."""
    copied = copy.copy(table)
    for field, value in changed.items():
        setattr(copied, field, value)
    return copied
