"""The additive table that a search for mixed widths works on.

    table = MixTable(
        {"conv1": [Option("int8", loss=3e-4, cost=120), Option("float32", 0, 400)], ...},
        [Boundary("conv1", "conv2", 25.0), ...],
    )

A layer offers widths, from the narrowest to the widest, each with a loss (added noise power, or a
drop of the metric) and a cost (ns, cycles or bytes). Losses and costs of layers add up. A boundary
is an edge of the graph: where the widths at its ends differ, tensors are converted, which costs.
That losses add up is an assumption (noise of independent sources does); what a search finds is
therefore verified, see `search.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from int8gate.engine.errors import instead

SLACK = 1e-9  # of the largest sum of losses: what adding them in another order may differ by


@dataclass(frozen=True)
class Option:
    """A width that a layer may take, with what it loses and what it costs there."""

    width: str
    loss: float
    cost: float


@dataclass(frozen=True)
class Boundary:
    """An edge from the layer `producer` to `consumer`, and what widths that differ cost on it.

    `cost` is one number for any two widths that differ, or a number for pairs (width of the
    producer, width of the consumer); pairs that are not named cost nothing.
    """

    producer: str
    consumer: str
    cost: float | Mapping[tuple[str, str], float]


class MixTable:
    """Losses and costs as arrays; an assignment is a vector of the options' numbers.

    Attributes
    ----------
    layers : names, in the order of the graph as far as it has one.
    widths : for each layer its widths, narrowest first.
    loss, cost : (layers, most options), infinite where a layer has fewer.
    ends : (boundaries, 2) numbers of the layers at both ends, the lower first; each pair once.
    boundary_cost : (boundaries, most options, most options).

    Raises ValueError for no layers, a layer without options, a width twice, what is not finite, and
    boundaries of unknown layers or widths.
    """

    def __init__(
        self, options: Mapping[str, Sequence[Option]], boundaries: Iterable[Boundary] = ()
    ):
        if not options:
            raise ValueError("the table has no layers: give one or more, each with its options")
        self.layers = tuple(options)
        self.widths = tuple(tuple(each.width for each in of) for of in options.values())
        for layer, widths in zip(self.layers, self.widths, strict=True):
            if not widths:
                raise ValueError(f"layer {layer} offers no width: give it one or more")
            if len(set(widths)) < len(widths):
                raise ValueError(f"layer {layer} offers a width twice: {', '.join(widths)}")
        self.counts = np.array([len(widths) for widths in self.widths])
        shape = (len(self.layers), int(self.counts.max()))
        self.loss, self.cost = np.full(shape, np.inf), np.full(shape, np.inf)
        for row, (layer, of) in enumerate(options.items()):
            for column, option in enumerate(of):
                self.loss[row, column] = _finite(option.loss, f"loss of {layer} in {option.width}")
                self.cost[row, column] = _finite(option.cost, f"cost of {layer} in {option.width}")
        self._number = {layer: row for row, layer in enumerate(self.layers)}
        self.ends, self.boundary_cost = self._boundaries(boundaries)
        self.tolerance = SLACK * float(np.where(np.isfinite(self.loss), abs(self.loss), 0).sum())

    @property
    def widest(self) -> np.ndarray:
        """(layers,): the last option of each."""
        return self.counts - 1

    @property
    def least_lossy(self) -> np.ndarray:
        """(layers,): the option of least loss of each."""
        return self.loss.argmin(axis=1)

    def losses_of(self, assignments: np.ndarray) -> np.ndarray:
        """(...,) sums of losses of assignments (..., layers)."""
        return self.loss[np.arange(len(self.layers)), assignments].sum(axis=-1)

    def costs_of(self, assignments: np.ndarray) -> np.ndarray:
        """(...,) costs of assignments (..., layers), boundaries included."""
        own = self.cost[np.arange(len(self.layers)), assignments].sum(axis=-1)
        first, second = assignments[..., self.ends[:, 0]], assignments[..., self.ends[:, 1]]
        between = self.boundary_cost[np.arange(len(self.ends)), first, second]
        return own + between.sum(axis=-1)

    def named(self, assignment: np.ndarray) -> dict[str, str]:
        """Width by layer."""
        return {
            layer: widths[option]
            for layer, widths, option in zip(self.layers, self.widths, assignment, strict=True)
        }

    def numbered(self, assignment: Mapping[str, str]) -> np.ndarray:
        """(layers,) of widths by layer. Raises ValueError for unknown layers and widths, and for
        layers that are missing.
        """
        for layer in assignment:
            self._layer(layer, "the assignment")
        if missing := [layer for layer in self.layers if layer not in assignment]:
            raise ValueError(f"the assignment has no width for layer {missing[0]}: name one")
        return np.array([self._option(layer, assignment[layer]) for layer in self.layers])

    def all_in(self, width: str) -> np.ndarray:
        """(layers,): each in that width, and in its widest where it does not offer it."""
        return np.array(
            [of.index(width) if width in of else len(of) - 1 for of in self.widths], dtype=int
        )

    def _boundaries(self, boundaries: Iterable[Boundary]) -> tuple[np.ndarray, np.ndarray]:
        """Boundaries between the same layers as one, those that cost nothing left out."""
        matrices: dict[tuple[int, int], np.ndarray] = {}
        shape = (self.loss.shape[1],) * 2
        for each in boundaries:
            where = f"the boundary from {each.producer} to {each.consumer}"
            first, second = self._layer(each.producer, where), self._layer(each.consumer, where)
            if first == second:
                raise ValueError(f"{where} begins and ends in the same layer: leave it out")
            ends = (min(first, second), max(first, second))
            matrix = self._matrix(each, where)
            matrices.setdefault(ends, np.zeros(shape))
            matrices[ends] += matrix if first < second else matrix.T
        costly = {ends: matrix for ends, matrix in sorted(matrices.items()) if matrix.any()}
        return (
            np.array(list(costly), dtype=int).reshape(-1, 2),
            np.array(list(costly.values())).reshape(-1, *shape),
        )

    def _matrix(self, boundary: Boundary, where: str) -> np.ndarray:
        ends = boundary.producer, boundary.consumer
        matrix = np.zeros((self.loss.shape[1],) * 2)
        if isinstance(boundary.cost, Mapping):
            for pair, cost in boundary.cost.items():
                place = tuple(self._option(*of) for of in zip(ends, pair, strict=True))
                matrix[place] = _finite(cost, f"cost of {' to '.join(pair)} on {where}")
            return matrix
        cost = _finite(boundary.cost, f"cost of {where}")
        before, after = (self.widths[self._number[layer]] for layer in ends)
        for row, width in enumerate(before):
            for column, other in enumerate(after):
                matrix[row, column] = cost * (width != other)
        return matrix

    def _layer(self, layer: str, where: str) -> int:
        if layer not in self._number:
            raise ValueError(f"{where} names the layer {layer!r}: {instead(layer, self.layers)}")
        return self._number[layer]

    def _option(self, layer: str, width: str) -> int:
        offered = self.widths[self._number[layer]]
        if width not in offered:
            raise ValueError(
                f"layer {layer} is not offered in {width!r}: expected one of {', '.join(offered)}"
            )
        return offered.index(width)


def _finite(value: float, what: str) -> float:
    if not np.isfinite(value):
        raise ValueError(f"the {what} is {value}: expected a finite number; measure it again")
    return float(value)
