"""A file's graph as a list of differentiable calls, whatever its format, with its scales.

`toolchains/NAME/differentiable.py` makes one of a float or of a quantized file. Of a quantized one
every value is real: what stands between a quantizer and a dequantizer is what the integers mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

WEIGHTS, BIAS = "weights", "bias"  # roles of constants that are trained
EVEN, UP, AWAY = "even", "up", "away"  # where halves of a step go
MOST = {"int8": 127, "int4": 7}  # of weights, which are symmetric
SAME_FACTOR = 1e-4  # relative: what float32 makes of one number
SQUASHING = ("SOFTMAX", "LOGISTIC", "Softmax", "Sigmoid")
PASSED = (*SQUASHING, "QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear", "Identity")

JOINING = frozenset({"CONCATENATION", "PACK", "Concat"})  # of several tensors
MOVES = JOINING | {  # what they give are values that they read, or 0
    *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "PAD", "SLICE", "STRIDED_SLICE", "UNPACK"),
    *("GATHER", "MAX_POOL_2D", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "BROADCAST_TO", "TILE", "RELU"),
    *("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Split", "Gather"),
    *("MaxPool", "DepthToSpace", "SpaceToDepth", "Expand", "Tile", "Relu", "Identity"),
    *("DequantizeLinear", "QuantizeLinear"),
}


@dataclass(frozen=True)
class Grid:
    """The values that a quantized activation can have: (q - zero_point) * scale, low <= q <= high.

    `name` is what calibration calls the tensor, "" where none of its tensors has that scale: one
    that an operator fixes (a softmax's) is not learned. `halves`: EVEN inside of a file, UP as the
    host quantizes its integer input (`TensorSpec.quantize`).

    `rounded_before`: what a layer reads and its weights, where the kernel rounds a sum to a power
    of two of the steps first and then, halves AWAY from zero, to a step, as TFLite's
    `MultiplyByQuantizedMultiplier` does.
    """

    scale: float
    zero_point: int
    low: int
    high: int
    name: str = ""
    halves: str = EVEN
    rounded_before: tuple[str, str] | None = None

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the largest real value: a range that gives this scale and zero point."""
        return (
            (self.low - self.zero_point) * self.scale,
            (self.high - self.zero_point) * self.scale,
        )


@dataclass(frozen=True)
class Constant:
    """A constant of the file, real values (or whole numbers, such as indices).

    `source` names what it is made of in the float file, and `role` what it is to its layer; both
    are "" of one that stays as it is. Of quantized weights, `high` is the largest integer and
    `axis` that of the `scales` (channels,) or (1,), which are symmetric; `high` is 0 where they are
    float. `least` is what the largest value of a scale counts as at least: of zeros. The int32
    steps of a quantized bias are those of what its layer reads times those of its weights:
    `scaled_by` are the names of both.
    """

    values: np.ndarray
    source: str = ""
    role: str = ""
    axis: int | None = None
    high: int = 0
    least: float = 0.0
    scales: np.ndarray | None = None
    scaled_by: tuple[str, str] | None = None


@dataclass(frozen=True)
class Call:
    """`run` takes the tensors of `inputs` and gives that of `outputs`, or a sequence of them.

    `kind` is the operator's, as the format has it.
    """

    kind: str
    run: Callable
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass
class Graph:
    """Calls in order, for one sample (a batch of 1); inputs and outputs as a session has them.

    `shapes` are those of the inputs.
    `grids` holds the quantized activations by tensor, `tied` sets of them that have to keep one
    scale: what an operator that only moves values reads and writes.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    calls: list[Call] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)
    grids: dict[str, Grid] = field(default_factory=dict)
    tied: list[set[str]] = field(default_factory=list)

    def ends(self) -> tuple[str, ...]:
        """For each output the tensor before the softmax or sigmoid that gives it, else itself.

        Where a network is sure, there is nothing to be learned of what is behind one.
        """
        producer = {name: call for call in self.calls for name in call.outputs}
        return tuple(_unsquashed(name, producer) for name in self.outputs)

    def settle(self, ranged: Iterable[str]) -> None:
        """Leaves alone the scales of tensors that have no range among those of calibration."""
        known = set(ranged)
        for tensor, grid in self.grids.items():
            if grid.name not in known:
                self.grids[tensor] = replace(grid, name="")

    def keep_fixed(self, widened: Graph, factor: float) -> None:
        """Leaves alone the scales that the quantizer fixes, whatever the range: a sigmoid's.

        `widened` is the graph that it makes of ranges that are `factor` times as wide.
        """
        for tensor, grid in self.grids.items():
            other = widened.grids.get(tensor)
            if other is None or abs(other.scale / (grid.scale * factor) - 1) > SAME_FACTOR:
                self.grids[tensor] = replace(grid, name="")

    def groups(self) -> list[list[str]]:
        """The quantized activations, those of one scale together, in the order of the graph.

        Tensors are together that are tied, or of the same name, and whose scales are equal.
        """
        root = {tensor: tensor for tensor in self.grids}

        def find(tensor: str) -> str:
            while root[tensor] != tensor:
                tensor = root[tensor]
            return tensor

        named: dict[str, set[str]] = {}
        for tensor, grid in self.grids.items():
            if grid.name:
                named.setdefault(grid.name, set()).add(tensor)
        for together in (*self.tied, *named.values()):
            found = [tensor for tensor in together if tensor in root]
            for one in found:
                for other in found:
                    if self._is_equal(one, other):
                        root[find(other)] = find(one)
        groups: dict[str, list[str]] = {}
        for tensor in self.grids:
            groups.setdefault(find(tensor), []).append(tensor)
        return list(groups.values())

    def _is_equal(self, one: str, other: str) -> bool:
        first, second = self.grids[one], self.grids[other]
        return (first.scale, first.zero_point) == (second.scale, second.zero_point)


def _unsquashed(tensor: str, producer: dict[str, Call]) -> str:
    seen = tensor
    while (call := producer.get(seen)) is not None and call.kind in PASSED:
        seen = call.inputs[0]
        if call.kind in SQUASHING:
            return seen
    return tensor


class NotDifferentiable(ValueError):
    """A file that cannot be trained, in a sentence."""
