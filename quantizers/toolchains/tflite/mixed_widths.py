"""A float `.tflite` with ranges to an integer one, in which single operators have other widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from int8gate.quantizers.recipe_type import FLOAT32, INT16, Recipe
from int8gate.quantizers.toolchains.tflite.float_operators import not_given, with_one_name
from int8gate.quantizers.toolchains.tflite.other_widths import with_integers, with_moves
from int8gate.quantizers.toolchains.tflite.ranges import known_ranges
from int8gate.quantizers.toolchains.tflite.width_forms import BITS, check_forms
from int8gate.runtimes.tflite_graph import Graph, Operator


def quantized_mix(
    ranged: bytes,
    graph: Graph,
    recipe: Recipe,
    chosen: Mapping[str, Sequence[Operator]],
    io: str,
) -> tuple[bytes, list[str]]:
    """The integer file of a float one, and sentences on operators that did not get their width.

    `ranged` is the float model with each tensor's range (`with_ranges`), `graph` its graph,
    `chosen` has its operators by those widths that are not the recipe's own, `io` is the dtype of
    inputs and outputs. Raises ValueError for an operator that has no form of its width, and
    what TensorFlow's quantizer raises.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    floats = list(chosen.get(FLOAT32, ()))
    asked = {width: list(chosen[width]) for width in BITS if chosen.get(width)}
    for width, operators in asked.items():
        check_forms(recipe, width, operators)
    named = [*floats, *(operator for of in asked.values() for operator in of)]
    integers = dict(asked)
    if INT16 in asked:
        integers[INT16] = with_moves(graph, asked[INT16], named)
    left = [*floats, *(operator for of in integers.values() for operator in of)]
    quantized = mlir_quantize(
        with_one_name(ranged, graph, left) if left else ranged,
        input_data_type=tf.dtypes.as_dtype(io),
        output_data_type=tf.dtypes.as_dtype(io),
        disable_per_channel=not recipe.per_channel,
        denylisted_nodes=[operator.outputs[0].name for operator in left] or None,
    )
    assert isinstance(quantized, bytes)
    if not asked:
        return quantized, []
    ranges = known_ranges(ranged)
    quantized, found = with_integers(quantized, graph, floats, integers, ranges, recipe.per_channel)
    told = (not_given(of, found, f"give {width} to") for width, of in asked.items())
    return quantized, [sentence for sentences in told for sentence in sentences]
