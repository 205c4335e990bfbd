"""`Layer`: what can be quantized, or left float, by itself; by the names that rules have for it."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass, replace

from int8gate.quantizers.recipe_type import Rule


@dataclass(frozen=True)
class Layer:
    """An operator that does arithmetic on integers, with what a converter or runtime joins to it.

    A convolution or matrix product includes the activation behind it; a sum, a concatenation or a
    softmax is a layer without weights; what only moves values is none. A rule that leaves a layer
    without weights float may change nothing: between integers a runtime makes integers of it again.

    Attributes
    ----------
    name : of its own operator, as rules and the record call it.
    kind : that operator's type, as the format has it: `Conv`, `CONV_2D`.
    operators : names of all that a rule for the layer reaches, its own first.
    weights : numbers in its constant float operands.
    macs : its multiply-accumulates in an inference.
    share : of those of the network, 0 to 1.
    outputs : names of the tensors that it leaves.
    widths : those besides int8 that all its operators have a form of in the toolchain, narrowest
        first; the ranges of its tensors may still refuse one (float16).
    """

    name: str
    kind: str
    operators: tuple[str, ...]
    weights: int
    macs: int
    share: float
    outputs: tuple[str, ...]
    widths: tuple[str, ...] = ()

    @property
    def match(self) -> str:
        """The glob for the name: `name` itself, unless that holds ``*``, ``?`` or ``[``."""
        return glob.escape(self.name)

    @property
    def rule(self) -> Rule:
        """Leaves the layer float."""
        return Rule(self.match, "float32", "float32")


def completed(
    layers: Sequence[Layer], operators: Sequence[str], macs: int | None = None
) -> list[Layer]:
    """The layers of a network of these operators, with their `share` of its multiply-accumulates
    (`macs`; by default of those of the layers), and with all that their rules reach: a converter
    may have joined a layer's name to another operator's.
    """
    total = sum(layer.macs for layer in layers) if macs is None else macs
    by_part: dict[str, list[str]] = {}
    for name in operators:
        for part in {name, *name.split(";")}:
            by_part.setdefault(part, []).append(name)
    return [
        replace(
            layer,
            share=layer.macs / total if total else 0.0,
            operators=tuple(dict.fromkeys((*layer.operators, *by_part.get(layer.name, ())))),
        )
        for layer in layers
    ]
