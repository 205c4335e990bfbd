"""Static INT8 (QDQ) by ONNX Runtime's quantizer: where scales go, by `placement`.

Its class is used without its calibration, which keeps every activation in memory. The quantizer
makes names out of others (`w_quantized`, `b_scale`, `x_QuantizeLinear_Output`) and does not look
whether something bears them. So while it works numbers stand in the place of the model's names
(`Numbering`): of numbers it can make none that stands in the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from int8gate.model_zoo.importers.onnx.structure import sort_nodes, tensor_names
from int8gate.quantizers.file_scales import LayerScales
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.recipe_type import INT4, Recipe
from int8gate.quantizers.toolchains.onnx.float_nodes import feed_floats, part_constants, shapes_of
from int8gate.quantizers.toolchains.onnx.int4_weights import give_int4_weights
from int8gate.quantizers.toolchains.onnx.other_widths import (
    NONE,
    ByWidth,
    check_widths,
    give_widths,
    kept_by,
)
from int8gate.quantizers.toolchains.onnx.placement import (
    Placement,
    concatenated_scales,
    move_integers,
    place,
)
from int8gate.quantizers.toolchains.onnx.saturation import activation_bounds, give_bounds_back
from int8gate.quantizers.toolchains.onnx.stock_quantizer import NO_SCALES, stock_quantizer
from int8gate.runtimes import onnx_file
from int8gate.runtimes.onnx_graph import BY_RECIPE, KEPT_FLOAT

_MADE = re.compile(r"([tn])(\d+)(.*)", re.DOTALL)  # t: a tensor, n: a node; and what was put behind

STATIC = RECIPES["onnx_int8"]  # which tensors get a quantizer where no rule leaves a node float


class Numbering:
    """Renames every tensor and node of a model, in place; `restore` gives the names back."""

    def __init__(self, model) -> None:
        graphs = list(onnx_file.graphs_of(model.graph))
        self.tensors = tensor_names(model.graph)
        self.nodes = list(dict.fromkeys(node.name for graph in graphs for node in graph.node))
        self._numbers = {name: f"t{number}" for number, name in enumerate(self.tensors)}
        self._node_numbers = {name: f"n{number}" for number, name in enumerate(self.nodes)}
        _rename(graphs, self._numbers.__getitem__, self._node_numbers.__getitem__)

    def number(self, tensor: str) -> str | None:
        """What a tensor is called now; None for one that the model does not have."""
        return self._numbers.get(tensor)

    def number_of_node(self, name: str) -> str:
        """What a node of the model is called now."""
        return self._node_numbers[name]

    def name(self, number: str) -> str:
        """The name of a tensor or node of the model before; of another, as it is."""
        found = _MADE.fullmatch(number)
        if not found or found[3]:
            return number
        return (self.tensors if found[1] == "t" else self.nodes)[int(found[2])]

    def restore(self, model) -> None:
        """Gives all names back, in place; those made of numbers are made of names and unique."""
        taken, made = {*self.tensors, *self.nodes}, {}

        def name_of(number: str) -> str:
            found = _MADE.fullmatch(number)
            if found and not found[3]:
                return self.name(number)
            if number not in made:
                wanted = name = self.name(f"{found[1]}{found[2]}") + found[3] if found else number
                count = 1
                while name in taken:
                    count += 1
                    name = f"{wanted}_{count}"
                taken.add(name)
                made[number] = name
            return made[number]

        _rename(list(onnx_file.graphs_of(model.graph)), name_of, name_of)


def _rename(graphs: list, of_tensor: Callable, of_node: Callable) -> None:
    for graph in graphs:
        del graph.quantization_annotation[:]
        for entry in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            entry.name = of_tensor(entry.name)
        for sparse in graph.sparse_initializer:
            sparse.values.name = of_tensor(sparse.values.name)
        for node in graph.node:
            node.name = of_node(node.name)
            for ends in (node.input, node.output):
                for position, name in enumerate(ends):
                    if name:
                        ends[position] = of_tensor(name)


def quantize(
    float_model: Path, recipe: Recipe, ranges: dict, weights: Mapping[str, LayerScales] = NO_SCALES
):
    """The quantized `ModelProto`; `ranges` holds every tensor of `marked`, `weights` the scales of
    constants that have given ones.
    """
    import onnx

    model = onnx.load(str(float_model))
    kept, widths = kept_by(recipe, model)
    part_constants(model.graph, kept)
    quantized = quantize_placed(model, place(model, kept), recipe, ranges, widths, weights)
    if recipe.weights == INT4:
        give_int4_weights(quantized, onnx.load(str(float_model)), recipe)
    return quantized


def check_mix(float_model: Path, recipe: Recipe, ranges: dict) -> None:
    """Raises ValueError for the first node that cannot have the width that a rule gives it."""
    import onnx

    if recipe.is_mixed:
        model = onnx.load(str(float_model))
        check_widths(model, recipe, kept_by(recipe, model)[1], ranges)


def quantize_placed(
    model,
    placement: Placement,
    recipe: Recipe,
    ranges: dict,
    widths: ByWidth = NONE,
    weights: Mapping[str, LayerScales] = NO_SCALES,
):
    """The quantized `ModelProto` of a float one, or of a part of one, which it takes apart.

    `placement` says which of its nodes compute with integers, `widths` which of the others
    have another than float32, `weights` the scales of constants that have given ones. Raises
    ValueError where `ranges` lacks a tensor that gets a scale of its own.
    """
    import onnx

    constants = {tensor.name for tensor in model.graph.initializer}

    numbering = Numbering(model)
    placement = _numbered(placement, numbering)
    numbered = {numbering.number(name): limits for name, limits in ranges.items()}
    shapes, bounds = shapes_of(model.graph), activation_bounds(model.graph)
    given = {numbering.number(name): scales for name, scales in weights.items()}
    quantizer = stock_quantizer(model, placement, recipe, numbered, given)
    quantized = quantizer.quantize_model()
    for number, marked in quantizer.tensors_to_quantize.items():
        name = numbering.name(number)
        if not marked.is_shared and name not in ranges and name not in constants:
            raise ValueError(
                f"tensor {name} needs a range and calibration has none for it: calibrate the float "
                "model again"
            )
    feed_floats(quantized.graph, placement.by_recipe, shapes)
    move_integers(quantized.graph)
    give_bounds_back(quantized.graph, bounds)
    sort_nodes(quantized.graph)
    numbering.restore(quantized)
    del quantized.metadata_props[:]
    stay_float = {KEPT_FLOAT: placement.regression_heads, BY_RECIPE: placement.by_recipe}
    names = {key: [numbering.name(node) for node in nodes] for key, nodes in stay_float.items()}
    names[BY_RECIPE] += give_widths(quantized, widths)
    onnx.helper.set_model_props(
        quantized, {key: json.dumps(found) for key, found in names.items() if found}
    )
    return quantized


def _numbered(placement: Placement, numbering: Numbering) -> Placement:
    number = numbering.number_of_node
    return Placement(
        tuple(map(number, placement.integer)),
        frozenset(map(number, placement.float_output)),
        tuple(map(number, placement.regression_heads)),
        tuple(map(number, placement.by_recipe)),
    )


def marked(float_model: Path, recipe: Recipe = STATIC, own: Collection[str] = ()) -> dict[str, str]:
    """The activations that get a quantizer, each with the tensor whose scale it takes.

    That is the tensor itself, for one that only moves values (a reshape's output) where they come
    from, and for one that goes into a concatenation alone what is concatenated. Those of `own` have
    scales of their own.
    """
    import onnx

    model = onnx.load(str(float_model), load_external_data=False)
    kept, _ = kept_by(recipe, model)
    placement = place(model, kept)
    scales = concatenated_scales(model.graph, placement)
    found = marked_in(model, placement, recipe, own)
    return {name: of if of in own else scales.get(of, of) for name, of in found.items()}


def marked_in(
    model, placement: Placement, recipe: Recipe = STATIC, own: Collection[str] = ()
) -> dict[str, str]:
    """`marked` of a loaded model, or of a part of one, whose names are others afterwards."""
    from onnxruntime.quantization.registry import CreateQDQQuantizer

    numbering = Numbering(model)
    placement = _numbered(placement, numbering)
    quantizer = stock_quantizer(model, placement, recipe, {})
    given = set(map(numbering.number, own))
    for node in list(quantizer.model.nodes()):
        if quantizer.should_quantize_node(node):
            CreateQDQQuantizer(quantizer, node).quantize()
    constants = {tensor.name for tensor in quantizer.model.initializer()}
    found = {k: v for k, v in quantizer.tensors_to_quantize.items() if k not in constants}

    def source_of(name: str) -> str:
        shared = found[name].quant_para_provider
        if shared is None or name in given:
            return name
        return source_of(shared.input_name)

    return {numbering.name(name): numbering.name(source_of(name)) for name in found}
