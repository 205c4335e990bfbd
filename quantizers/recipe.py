"""The recipes by name. A new one is an entry here, or a plugin's `register`.

By convention a name says toolchain, precision, variant; nothing reads it. A name such as
``tflite_int8+cle`` is that of a recipe and of its remedies.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import replace

from int8gate.quantizers.recipe_type import (
    AFFINE,
    ALL_GATES,
    ALL_OPERATORS,
    INT4,
    POWER_OF_TWO,
    REMEDIES,
    SYMMETRIC,
    Recipe,
    Rule,
)

_FLOAT_GATES = tuple(gate for gate in ALL_GATES if gate != "integer_only")
_REFERENCE_GATES = ("accuracy", "io_dtype", "npu_speedup")
_INT8 = (Rule(ALL_OPERATORS, "int8", "int8"),)
_INT4_WEIGHTS = (Rule(ALL_OPERATORS, INT4, "int8"),)
_WEIGHTS_ONLY = (Rule(ALL_OPERATORS, "int8", "float32"),)


def _tflite(name: str, summary: str, **settings) -> Recipe:
    """Full INT8 with int8 input and output, unless `settings` say otherwise."""
    settings = {"rules": _INT8, "io": "int8"} | settings
    return Recipe(name=name, summary=summary, toolchain="tflite", **settings)


def _onnx(name: str, summary: str, **settings) -> Recipe:
    """uint8 activations with int8 weights, the types that x86 has fast kernels for, unless
    `settings` say otherwise.
    """
    settings = {"rules": (Rule(ALL_OPERATORS, "int8", "uint8"),)} | settings
    return Recipe(name=name, summary=summary, toolchain="onnx", **settings)


def _reference(toolchain: str) -> Recipe:
    return Recipe(
        name=f"{toolchain}_fp32",
        summary="float32 weights and activations: the reference",
        toolchain=toolchain,
        gates=_REFERENCE_GATES,
    )


RECIPES: dict[str, Recipe] = {}
REFERENCES: dict[str, Recipe] = {}  # by toolchain: its first float recipe


def register(recipe: Recipe) -> Recipe:
    """Makes a recipe known by its name; raises ValueError where that is taken."""
    if RECIPES.setdefault(recipe.name, recipe) != recipe:
        raise ValueError(f"there is a recipe {recipe.name!r} already: choose another name")
    if recipe.is_reference:
        REFERENCES.setdefault(recipe.toolchain, recipe)
    return recipe


for _each in (
    _tflite(
        "prequantized",
        "the model's own quantized file as it is, int8 or uint8 input and output",
        io="uint8",
        is_prequantized=True,
    ),
    _reference("tflite"),
    _tflite(
        "tflite_fp16",
        "float16 weights, float32 activations",
        rules=(Rule(ALL_OPERATORS, "float16", "float32"),),
        io="float32",
        gates=_FLOAT_GATES,
    ),
    _tflite(
        "tflite_dynamic_int8",
        "int8 weights, activations quantized as they come",
        rules=_WEIGHTS_ONLY,
        io="float32",
        gates=_FLOAT_GATES,
    ),
    _tflite("tflite_int8", "full INT8, int8 input and output"),
    _tflite("tflite_uint8", "full INT8, uint8 input and output", io="uint8"),
    _tflite(
        "tflite_int8_pixels",
        "full INT8, pictures inside the network keep the range of pixels",
        pixel_ranges=True,
    ),
    _tflite(
        "tflite_int8_per_tensor",
        "full INT8 with one scale for all channels of a weight tensor: what it costs",
        per_channel=False,
    ),
    _tflite(
        "tflite_int16x8",
        "int8 weights, int16 activations, input and output",
        rules=(Rule(ALL_OPERATORS, "int8", "int16"),),
        io="int16",
        slow_on_host=True,
    ),
    _tflite(
        "tflite_int8_entropy", "full INT8, ranges of least KL divergence", calibration="entropy"
    ),
    _tflite(
        "tflite_int8_percentile",
        "full INT8, ranges of 99.999% of the values",
        calibration="percentile",
    ),
    _tflite(
        "tflite_int8_symmetric",
        "full INT8, zero points are 0",
        scales=SYMMETRIC,
    ),
    _tflite(
        "tflite_int8_power_of_two",
        "full INT8, scales are powers of two, of weights too, zero points 0",
        scales=POWER_OF_TWO,
    ),
    _reference("onnx"),
    _onnx(
        "onnx_dynamic_int8",
        "int8 weights of matrix products, activations quantized as they come",
        rules=_WEIGHTS_ONLY,
        gates=_FLOAT_GATES,
    ),
    _onnx(
        "onnx_weight_int8",
        "int8 weights of matrix products in blocks of 32, activations float32",
        rules=_WEIGHTS_ONLY,
        gates=_FLOAT_GATES,
        block=32,
    ),
    _onnx(
        "onnx_weight_int4",
        "int4 weights of matrix products in blocks of 32, activations float32",
        rules=(Rule(ALL_OPERATORS, "int4", "float32"),),
        gates=_FLOAT_GATES,
        block=32,
    ),
    _onnx(
        "onnx_weight_int4_hqq",
        "int4 weights of matrix products in blocks of 32, half-quadratic, activations float32",
        rules=(Rule(ALL_OPERATORS, "int4", "float32"),),
        gates=_FLOAT_GATES,
        block=32,
        rounding="hqq",
    ),
    _onnx(
        "onnx_weight_int4_gptq",
        "int4 weights of matrix products in blocks of 32, GPTQ, activations float32",
        rules=(Rule(ALL_OPERATORS, "int4", "float32"),),
        gates=_FLOAT_GATES,
        block=32,
        rounding="gptq",
    ),
    _onnx("onnx_int8", "static INT8 (QDQ), per channel, ranges of all values"),
    _onnx(
        "onnx_int8_entropy",
        "static INT8 (QDQ), ranges of least KL divergence",
        calibration="entropy",
    ),
    _onnx(
        "onnx_int8_percentile",
        "static INT8 (QDQ), ranges of 99.999% of the values",
        calibration="percentile",
    ),
    _onnx(
        "onnx_int8_symmetric",
        "static INT8 (QDQ), zero points are 128, or 0 where none is below",
        scales=SYMMETRIC,
    ),
    _onnx(
        "onnx_int8_power_of_two",
        "static INT8 (QDQ), scales are powers of two, of weights too, zero points 128 or 0",
        scales=POWER_OF_TWO,
    ),
    _onnx(
        "onnx_smoothquant_int8",
        "static INT8 (QDQ), least squared error; outliers of tokens into the weights (SmoothQuant)",
        calibration="mse",
        remedies=("smooth",),
    ),
    _onnx("onnx_int8_mse", "static INT8 (QDQ), ranges of least squared error", calibration="mse"),
    _tflite(
        "tflite_int8x4",
        "int8 activations, input and output; int4 weights of convolutions and matrix products",
        rules=_INT4_WEIGHTS,
    ),
    _onnx(
        "onnx_int8x4",
        "uint8 activations (QDQ), int4 weights, per channel; multiplied as floats",
        rules=(Rule(ALL_OPERATORS, INT4, "uint8"),),
        gates=_FLOAT_GATES,
    ),
    _tflite(
        "tflite_qat_int8",
        "full INT8, int8 input and output; weights and scales trained towards float",
        is_trained=True,
    ),
    _tflite(
        "tflite_qat_int8_per_tensor",
        "full INT8 with one scale a weight tensor; weights and scales trained towards float",
        per_channel=False,
        is_trained=True,
    ),
    _tflite(
        "tflite_qat_int8x4",
        "int8 activations, int4 weights; weights and scales trained towards float",
        rules=_INT4_WEIGHTS,
        is_trained=True,
    ),
    _onnx(
        "onnx_qat_int8",
        "static INT8 (QDQ), per channel; weights and scales trained towards float",
        is_trained=True,
    ),
    _onnx(
        "onnx_qat_int8x4",
        "uint8 activations (QDQ), int4 weights; weights and scales trained towards float",
        rules=(Rule(ALL_OPERATORS, INT4, "uint8"),),
        gates=_FLOAT_GATES,
        is_trained=True,
    ),
):
    register(_each)


def recipe(name: str) -> Recipe:
    """The recipe of that name, with the remedies that stand behind it.

    Raises ValueError naming the nearest, and where the recipe takes no remedies.
    """
    if name in RECIPES:
        return RECIPES[name]
    base, *remedies = name.split("+")
    for found, known, kind in (
        (base, RECIPES, "recipe"),
        *((remedy, REMEDIES, "remedy") for remedy in remedies),
    ):
        if found not in known:
            near = difflib.get_close_matches(found, known, n=2) or sorted(known)
            raise ValueError(f"no {kind} {found!r}: did you mean {' or '.join(near)}?")
    return with_remedies(RECIPES[base], *remedies)


def untrained(trained: Recipe) -> Recipe:
    """What a trained recipe starts from, a registered one; raises ValueError of another."""
    for other in RECIPES.values():
        alike = replace(other, name=trained.name, summary=trained.summary, is_trained=True)
        if not other.is_trained and alike == replace(trained, remedies=()):
            return with_remedies(other, *trained.remedies) if trained.remedies else other
    raise ValueError(f"{trained.name} is not trained, or from no registered recipe")


def trained_recipes(declared: Iterable[str]) -> list[str]:
    """The trained recipes that start from one of the declared."""
    known = set(declared)
    return [r.name for r in RECIPES.values() if r.is_trained and untrained(r).name in known]


def may_be_named(name: str, declared: Iterable[str]) -> bool:
    """Whether a model that declares these recipes takes one that a command names: one that trains,
    has int4 weights or scales for some silicon, where a declared one goes through its toolchain.
    """
    chosen = find(name)
    bases = (find(each) for each in declared)
    if chosen is None or not chosen.is_calibrated:
        return False
    if not chosen.is_trained and chosen.weights != INT4 and chosen.scales == AFFINE:
        return False
    return any(base.is_calibrated and base.toolchain == chosen.toolchain for base in bases if base)


def find(name: str | None) -> Recipe | None:
    """As `recipe`; None for a name that none has any more, of a record."""
    try:
        return recipe(name or "")
    except ValueError:
        return None


def with_remedies(base: Recipe, *remedies: str) -> Recipe:
    """The recipe with these names of `REMEDIES` behind those that it has.

    Raises ValueError for a remedy that it has already, and for a recipe that is not calibrated.
    """
    name = "+".join((base.name, *remedies))
    if not base.is_calibrated:
        raise ValueError(
            f"no recipe {name}: {base.name} takes no calibrated ranges, and remedies are for those "
            "that do"
        )
    together = (*base.remedies, *remedies)
    if len(set(together)) < len(together):
        raise ValueError(f"no recipe {name}: name every remedy once")
    told = "; ".join(REMEDIES[remedy].partition(":")[0] for remedy in remedies)
    return replace(base, name=name, summary=f"{base.summary}; {told}", remedies=together)
