"""A float ONNX model in segments, of which any nodes are quantized in memory (`segmented.py`).

Where integers go is decided for the whole graph (`placement`), which a segment does not show; a
segment is then quantized by that placement and the ranges of the whole.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from int8gate.quantizers.recipe_type import FLOAT16, INT4, Recipe
from int8gate.quantizers.segmented import Operator, Program, Segmented, State, cut
from int8gate.quantizers.toolchains.onnx import static
from int8gate.quantizers.toolchains.onnx.float_nodes import part_constants
from int8gate.quantizers.toolchains.onnx.layer_list import layers_in
from int8gate.quantizers.toolchains.onnx.other_widths import check_widths, give_widths, kept_by
from int8gate.quantizers.toolchains.onnx.placement import ACTIVATIONS, Placement, placing
from int8gate.runtimes import onnx_file, ort
from int8gate.runtimes.artifact import TensorSpec
from int8gate.runtimes.session import in_layout


def opened(
    float_model: Path,
    ranges: Mapping[str, tuple[float, float]],
    recipe: Recipe,
    pixel_range: tuple[float, float] | None = None,
) -> OnnxSegments:
    """A prepared float model; `ranges` are those of calibration, by tensor.

    Raises ValueError where a range is missing.
    """
    import onnx

    model = onnx.load(str(float_model))
    kept, _ = kept_by(recipe, model)
    return OnnxSegments(model, static.marked(float_model), dict(ranges), recipe, kept)


class OnnxSegments(Segmented):
    def __init__(
        self,
        model,
        calibrated: dict[str, str],
        ranges: dict[str, tuple[float, float]],
        recipe: Recipe,
        kept: Sequence[str],
    ) -> None:
        self._model, self._calibrated, self._ranges = model, calibrated, ranges
        self._recipe = recipe
        by_name = {node.name: recipe.rule_of(node.name).width for node in model.graph.node}
        self._widths = {
            width: frozenset(name for name, own in by_name.items() if own == width)
            for width in (INT4, FLOAT16)
        }
        self._kept = frozenset(kept).difference(*self._widths.values())
        graph = model.graph
        self._has_subgraphs = _has_subgraphs(graph)
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._infos = {i.name: i for i in (*graph.value_info, *graph.input, *graph.output)}
        given = [info for info in graph.input if info.name not in self._constants]
        self._inputs = [_spec(info) for info in given]
        self.outputs = tuple(info.name for info in graph.output)
        self._placing = placing(model)
        self._place = functools.lru_cache(maxsize=4)(self._placed)
        self.layers = tuple(layers_in(model, self._place(self._kept)))
        self.operators = tuple(map(self._operator, graph.node))
        self.segments = cut(
            self.operators,
            [spec.name for spec in self._inputs],
            self.outputs,
            {layer.name for layer in self.layers},
            {} if self._has_subgraphs else self._sizes(),
            # An output that is read, too, is rounded for the caller as it is for the reader.
            {*_read_by_activations(graph), *self.outputs},
        )

    @property
    def by_recipe(self) -> frozenset[str]:
        return self._kept

    def feed(self, inputs: Sequence[np.ndarray]) -> State:
        return {
            spec.name: np.ascontiguousarray(spec.quantize(in_layout(array, spec.shape)))
            for spec, array in zip(self._inputs, inputs, strict=True)
        }

    def rounded(self, state: State) -> State:
        return state  # inputs and outputs of the artifact are float

    def rounded_outputs(self, outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return list(outputs)

    def program(self, segment: int, kept: frozenset[str]) -> Program:
        if not self.segments[segment].gives:  # nothing reads what its nodes compute
            return lambda arrays: []
        widths = {w: self.within(segment, of - kept) for w, of in self._widths.items()}
        others = frozenset(name for of in widths.values() for name in of)
        placement = self._within(segment, self._place(kept | others))
        part = self._part(segment)
        check_widths(part, self._recipe, widths, self._chosen(segment))
        if placement.integer:
            part_constants(part.graph, placement.by_recipe)
            ranges = self._chosen(segment)
            try:
                part = static.quantize_placed(part, placement, self._recipe, ranges, widths)
            except ValueError:
                raise
            # The stock quantizer asserts, indexes and looks up without a check.
            except Exception as error:
                raise ValueError(
                    f"ONNX Runtime's quantizer stops: {type(error).__name__}: {error}"
                ) from error
            self._give_floats(part.graph, placement)
        else:
            give_widths(part, widths)
        session = ort.open_model(part.SerializeToString(), ort.options())
        takes = self.segments[segment].takes

        def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
            return ort.run(session, dict(zip(takes, arrays, strict=True)))

        return run

    def _give_floats(self, graph, placement: Placement) -> None:
        """What a node that stays float gives to another segment is not rounded, in place, though an
        integer node of its own segment reads it, too: so do nodes that stay float within a file.
        """
        producer = {name: node for node in graph.node for name in node.output}
        kept = set(placement.by_recipe)
        floats = {n for each in self.operators if each.name in kept for n in each.writes}
        for output in graph.output:
            if output.name not in floats.difference(self.outputs):
                continue
            before = producer[output.name]
            if before.op_type == "DequantizeLinear" and before.input[0] in producer:
                output.name = producer[before.input[0]].input[0]

    def _placed(self, kept: frozenset[str]) -> Placement:
        return self._placing(kept)

    def _within(self, segment: int, placement: Placement) -> Placement:
        own = self.within(segment, self.all_float)
        return Placement(
            tuple(name for name in placement.integer if name in own),
            placement.float_output & own,
            tuple(name for name in placement.regression_heads if name in own),
            tuple(name for name in placement.by_recipe if name in own),
        )

    def _chosen(self, segment: int) -> dict[str, tuple[float, float]]:
        """The ranges of a segment's tensors: a tensor that only moves another's values has its."""
        own = self.operators[self.segments[segment].start : self.segments[segment].stop]
        names = dict.fromkeys(name for each in own for name in (*each.reads, *each.writes))
        of = {name: name if name in self._ranges else self._calibrated.get(name) for name in names}
        return {name: self._ranges[one] for name, one in of.items() if one in self._ranges}

    def _part(self, segment: int):
        """The model of a segment's nodes alone."""
        import onnx

        found = self.segments[segment]
        part = onnx.ModelProto(ir_version=self._model.ir_version)
        part.opset_import.extend(self._model.opset_import)
        part.functions.extend(self._model.functions)
        part.graph.name = self._model.graph.name or "part"
        nodes = self._model.graph.node[found.start : found.stop]
        part.graph.node.extend(nodes)
        read = dict.fromkeys(name for node in nodes for name in node.input)
        if self._has_subgraphs:
            read = dict.fromkeys(self._constants)
        for name in read:
            if name in self._constants:
                part.graph.initializer.append(self._constants[name])
        part.graph.input.extend(self._infos[name] for name in found.takes)
        part.graph.output.extend(self._infos[name] for name in found.gives)
        written = {name for node in nodes for name in node.output}.difference(found.gives)
        part.graph.value_info.extend(self._infos[n] for n in sorted(written) if n in self._infos)
        return part

    def _operator(self, node) -> Operator:
        reads = [name for name in node.input if name and name not in self._constants]
        return Operator(node.name, tuple(dict.fromkeys(reads)), tuple(filter(None, node.output)))

    def _sizes(self) -> dict[str, int]:
        """Elements of each tensor whose dtype is known."""
        found = {}
        for name, info in self._infos.items():
            kind = info.type.tensor_type
            if kind.elem_type:
                found[name] = int(np.prod([side.dim_value for side in kind.shape.dim] or [1]))
        return found


def _spec(info) -> TensorSpec:
    from onnx import helper

    kind = info.type.tensor_type
    shape = tuple(side.dim_value for side in kind.shape.dim)
    return TensorSpec(info.name, shape, helper.tensor_dtype_to_np_dtype(kind.elem_type).name)


def _has_subgraphs(graph) -> bool:
    return any(True for node in graph.node for _ in onnx_file.graphs_within(node))


def _read_by_activations(graph) -> set[str]:
    """What stays within a segment: a quantizer takes a Relu into the node before it."""
    return {node.input[0] for node in graph.node if node.op_type in ACTIVATIONS}
