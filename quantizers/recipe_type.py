"""What a recipe is: a way to quantize, with rules for its operators. Those by name: `recipe.py`.

`rules` say what the operators compute with, `io` is the dtype of the artifact's inputs and outputs,
`calibration` is how the ranges of int8 activations are found: a method of
`calibration/thresholds.py`.

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
AFFINE, SYMMETRIC, POWER_OF_TWO = SCALES = ("affine", "symmetric", "power_of_two")  # of silicon
ROUNDINGS = {  # of weights in blocks
    "nearest": "scale and zero point by the extremes of a block, rounded to the nearest",
    "hqq": "half-quadratic: zero points that bring the error's large values down, without samples",
    "gptq": "errors go into the weights that follow, by what the layer reads of samples (GPTQ)",
}
ROUNDED_BY_SAMPLES = ("gptq",)
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
    which calibrated ranges and the scales of constants are widened. `pixel_ranges`: pictures get
    the range of their pixels instead of the calibrated one. `is_prequantized`: the model comes as a
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
    scales: str = AFFINE
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
