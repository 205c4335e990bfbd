"""Recipes: the named ways to quantize. A new one is an entry here, or a plugin's `register`.

By convention a name says toolchain, precision, variant; nothing reads it. `rules` say what the
operators compute with, `io` is the dtype of the artifact's inputs and outputs, `calibration` is how
the ranges of int8 activations are found: a method of `calibration/thresholds.py`.

Inside a recipe of 8 bits, rules for single operators may give these another of `WIDTHS`, as far as
the toolchain has it:

    rules=(Rule("*", "int8", "uint8"), Rule("head/*", "float32", "float32"))
    rules=(Rule("*", "int8", "int8"), Rule("head/*", "int8", "int16"))

An operator has the name by which the record calls it. In ONNX that is the node's name in the float
artifact, in TFLite the name of the tensor that it writes; where a converter fused several operators
it joined their names by ``;``, and each of them is matched too.

A calibrated recipe may have remedies, which change the float artifact before it is quantized: a
name such as ``tflite_int8+cle`` is that of a recipe and of its remedies, in the order in which they
are done.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

REMEDIES = {
    "cle": "cross-layer equalization: channels of neighbouring layers get like ranges",
    "bias": "bias correction: the mean error of each channel is taken from its bias",
    "smooth": "SmoothQuant: outliers of a token stream go into the weights behind it",
    "adaround": "AdaRound: weights are rounded so that each layer's output errs least",
}
SCALES = ("affine", "symmetric", "power_of_two")  # of activations: what silicon may ask for
ROUNDINGS = {  # of weights in blocks
    "nearest": "scale and zero point by the extremes of a block, rounded to the nearest",
    "hqq": "half-quadratic: zero points that bring the error's large values down, without samples",
}
ALL_GATES = ("accuracy", "io_dtype", "integer_only", "size", "cpu_speedup", "npu_speedup")
ALL_OPERATORS = "*"
INT4, INT8, INT16, FLOAT16, FLOAT32 = "int4", "int8", "int16", "float16", "float32"
EIGHT_BITS = ("int8", "uint8")  # of activations
WIDTHS = {  # of single operators of an 8-bit network, the narrowest first
    INT4: "int4 weights, activations of 8 bits",
    INT16: "int8 weights, int16 activations",
    FLOAT16: "float16 weights and activations",
    FLOAT32: "float32 weights and activations",
}


@dataclass(frozen=True)
class Rule:
    """The dtypes of weights and activations of the operators whose names `match` (a glob)."""

    match: str
    weights: str
    activations: str

    @property
    def is_float(self) -> bool:
        return self.weights == self.activations == "float32"

    @property
    def width(self) -> str | None:
        """One of `WIDTHS`, or int8; None of what single operators cannot have."""
        if self.weights in (INT4, INT8) and self.activations in EIGHT_BITS:
            return self.weights
        pairs = {(INT8, INT16): INT16, (FLOAT16, FLOAT16): FLOAT16, (FLOAT32, FLOAT32): FLOAT32}
        return pairs.get((self.weights, self.activations))

    def matches(self, operator: str) -> bool:
        """Whether the glob, of `fnmatch.fnmatchcase`, is one for the operator of that name."""
        names = (operator, *operator.split(";"))
        return any(fnmatch.fnmatchcase(name, self.match) for name in names)


FLOAT = Rule(ALL_OPERATORS, "float32", "float32")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to quantize, with a `toolchain`, whose name is also the format of the artifact.

    Of `rules` the last that matches an operator holds for it; where none does, it stays float32.
    `slow_on_host`: runs on reference kernels on this host, so that it is scored on a smaller
    sample. `remedies` are names in `REMEDIES`, in the order in which they are done. `per_channel`:
    a convolution's weights have a scale for each output channel. `scales`: one of `SCALES`, to
    which calibrated ranges are widened. `pixel_ranges`: pictures get the
    range of their pixels instead of the calibrated one. `is_prequantized`: the model comes as a
    quantized file, which is taken as it is. `is_trained`: weights and ranges are trained
    (`training/`), which starts from the calibrated ones. `block`: how many weights of a matrix
    product, along its input, share a scale; they alone are quantized then, rounded as `rounding`
    says, one of `ROUNDINGS`. `gates` are the
    assertions that make sense for it; the others do not apply.
    """

    name: str
    summary: str
    toolchain: str
    rules: tuple[Rule, ...] = ()
    io: str = "float32"
    gates: tuple[str, ...] = ALL_GATES
    slow_on_host: bool = False
    per_channel: bool = True
    pixel_ranges: bool = False
    is_prequantized: bool = False
    is_trained: bool = False
    calibration: str = "min_max"
    scales: str = "affine"
    block: int | None = None
    rounding: str = "nearest"
    remedies: tuple[str, ...] = ()

    def rule_of(self, operator: str) -> Rule:
        """What an operator of that name computes with."""
        return next((rule for rule in reversed(self.rules) if rule.matches(operator)), FLOAT)

    @property
    def narrow_rules(self) -> tuple[Rule, ...]:
        """Those for single operators."""
        return tuple(rule for rule in self.rules if rule.match != ALL_OPERATORS)

    @property
    def is_mixed(self) -> bool:
        """Whether operators differ in precision."""
        return bool(self.narrow_rules)

    @property
    def mixed_widths(self) -> tuple[str, ...]:
        """Those of `WIDTHS` that its rules for single operators have."""
        own = {rule.width for rule in self.narrow_rules}
        return tuple(width for width in WIDTHS if width in own)

    def check_mix(self) -> None:
        """Raises ValueError where rules mix what no toolchain can mix so far."""
        alike = (self.weights, self.activations)
        for rule in self.narrow_rules:
            own = rule.activations if rule.width in (INT4, INT8) else self.activations
            if not self.is_calibrated or rule.width is None or own != self.activations:
                raise ValueError(
                    f"{self.name} has a rule for the operators {rule.match!r} ({rule.weights} "
                    f"weights, {rule.activations} activations) and for all others {alike[0]} "
                    f"weights and {alike[1]} activations: what can be mixed is a rule for "
                    f"{ALL_OPERATORS!r} with int8 or uint8 activations, and rules for single "
                    f"operators with {'; or '.join(WIDTHS.values())}"
                )

    def by_width(self, operators: Iterable[str]) -> dict[str, list[str]]:
        """Those of a network's operators that narrow rules give one of `WIDTHS`, in their order.

        Raises ValueError for a rule that matches none, with names that are like its glob.
        """
        operators = list(dict.fromkeys(operators))
        for rule in self.narrow_rules:
            if not any(map(rule.matches, operators)):
                parts = dict.fromkeys(part for name in operators for part in name.split(";"))
                near = difflib.get_close_matches(rule.match, parts, n=3, cutoff=0)
                raise ValueError(
                    f"{self.name} has a rule for the operators {rule.match!r}, and none of the "
                    f"network's {len(operators)} has such a name: did you mean {' or '.join(near)}?"
                )
        found: dict[str, list[str]] = {width: [] for width in WIDTHS}
        for name in operators if self.is_mixed else ():
            rule = self.rule_of(name)
            if rule.match != ALL_OPERATORS and rule.width in found:
                found[rule.width].append(name)
        return found

    def left_float(self, operators: Iterable[str]) -> list[str]:
        """Those of a network's operators that rules leave float32; raises as `by_width` does."""
        return self.by_width(operators)[FLOAT32]

    def all_in(self, width: str) -> Recipe:
        """The recipe, all of whose operators have that of `WIDTHS` or, as they are, int8."""
        return self if width == INT8 else replace(self, rules=(self._rule(ALL_OPERATORS, width),))

    def _rule(self, match: str, width: str) -> Rule:
        weights = INT8 if width == INT16 else width
        return Rule(match, weights, self.activations if width == INT4 else width)

    def with_widths(self, name: str, operators: Mapping[str, Iterable[str]]) -> Recipe:
        """A recipe of another name with more rules for single operators: by width, one of
        `WIDTHS`, globs of their names. Where several match, the widest holds.

        Raises ValueError for a recipe that is not calibrated, and for a glob of all operators.
        """
        globs = {width: tuple(operators.get(width, ())) for width in WIDTHS}
        if any(ALL_OPERATORS in of for of in globs.values()):
            raise ValueError(
                f"{name} gives all operators another width ({ALL_OPERATORS!r}): name single ones, "
                "or choose a recipe of that width"
            )
        rules = tuple(self._rule(each, width) for width, of in globs.items() for each in of)
        told = [
            f"{of[0]!r} in {width}" if len(of) == 1 else f"{len(of)} rules for {width}"
            for width, of in globs.items()
            if of
        ]
        summary = "; ".join((self.summary, *told))
        found = replace(self, name=name, summary=summary, rules=(*self.rules, *rules))
        found.check_mix()
        return found

    @property
    def untrained(self) -> Recipe:
        """What a trained recipe starts from, a registered one; raises ValueError of another."""
        for other in RECIPES.values():
            trained = replace(other, name=self.name, summary=self.summary, is_trained=True)
            if not other.is_trained and trained == replace(self, remedies=()):
                return with_remedies(other, *self.remedies) if self.remedies else other
        raise ValueError(f"{self.name} is not trained, or from no registered recipe")

    @property
    def rule(self) -> Rule:
        """What all operators compute with that no narrower rule names."""
        return next((rule for rule in reversed(self.rules) if rule.match == ALL_OPERATORS), FLOAT)

    @property
    def weights(self) -> str:
        return self.rule.weights

    @property
    def activations(self) -> str:
        return self.rule.activations

    @property
    def is_calibrated(self) -> bool:
        """Its ranges come from the statistics that calibration keeps."""
        return self.activations in EIGHT_BITS and not self.is_prequantized

    @property
    def io_dtypes(self) -> tuple[str, ...]:
        """The dtypes that inputs and outputs may have."""
        return ("int8", "uint8") if self.is_prequantized else (self.io,)

    @property
    def is_reference(self) -> bool:
        return all(rule.is_float for rule in (*self.rules, self.rule))

    @property
    def is_full_integer(self) -> bool:
        return self.activations in ("int8", "uint8", "int16")

    @property
    def gates_cpu_speed(self) -> bool:
        """Full INT8 has fast kernels everywhere; what is slower here by nature is only recorded."""
        is_int8 = self.activations in EIGHT_BITS and self.weights != INT4
        return is_int8 and INT16 not in self.mixed_widths


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
        "full INT8, zero points of activations are 0",
        scales="symmetric",
    ),
    _tflite(
        "tflite_int8_power_of_two",
        "full INT8, scales of activations are powers of two, zero points 0",
        scales="power_of_two",
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
        "static INT8 (QDQ), zero points of activations are 128, or 0 where none is below",
        scales="symmetric",
    ),
    _onnx(
        "onnx_int8_power_of_two",
        "static INT8 (QDQ), scales of activations are powers of two, zero points 128 or 0",
        scales="power_of_two",
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


def trained_recipes(declared: Iterable[str]) -> list[str]:
    """The trained recipes that start from one of the declared."""
    known = set(declared)
    return [r.name for r in RECIPES.values() if r.is_trained and r.untrained.name in known]


def may_be_named(name: str, declared: Iterable[str]) -> bool:
    """Whether a model that declares these recipes takes one that a command names: one that trains
    or has int4 weights, where a declared one goes through its toolchain.
    """
    chosen = find(name)
    bases = (find(each) for each in declared)
    if chosen is None or not chosen.is_calibrated:
        return False
    if not chosen.is_trained and chosen.weights != INT4:
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
