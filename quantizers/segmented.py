"""A float network opened once and cut into segments, of which any operators can be quantized.

    network = toolchain.opened(float_model, ranges, recipe, pixel_range)
    network.layers                          what can be quantized by itself
    network.program(segment, kept)          runs a segment, all but the `kept` operators quantized

Nothing is written to disk, no other process is started, and of a variant only the segments are made
and run that differ. Segments hand over real values. What a segment gives and the next one takes as
integers has the same scale in both, so that rounding it again changes nothing: a chain of segments
computes what the whole file does.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from int8gate.quantizers.layer import Layer

PIECES = 72  # segments of a large network, at most: borders cost less than larger variants
Program = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
State = dict[str, np.ndarray]  # the tensors that stand between two segments, by name, of a sample


@dataclass(frozen=True)
class Operator:
    """Name, and the activations that it reads and writes: no constants."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


@dataclass(frozen=True)
class Segment:
    """The operators `start` to `stop` of the network's order.

    `takes` are tensors of before that it reads, `gives` those of its own that are read behind it or
    are outputs of the network; `live` is all that stands behind it, with what passes it by.
    """

    start: int
    stop: int
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    live: frozenset[str]

    def after(self, state: State, given: Sequence[np.ndarray]) -> State:
        """The state behind the segment, of that before it and what it gave."""
        known = state | dict(zip(self.gives, given, strict=True))
        return {name: known[name] for name in known.keys() & self.live}


class Segmented(ABC):
    """An opened network.

    Attributes
    ----------
    layers : those that the recipe quantizes.
    operators : all of the network, in their order.
    segments : what it is cut into, in their order.
    outputs : names of its outputs, in the order of a session's.
    """

    layers: tuple[Layer, ...]
    operators: tuple[Operator, ...]
    segments: tuple[Segment, ...]
    outputs: tuple[str, ...]

    @abstractmethod
    def feed(self, inputs: Sequence[np.ndarray]) -> State:
        """The state before the first segment, of real inputs (1, ...) in a session's order."""

    @abstractmethod
    def rounded(self, state: State) -> State:
        """The same as the inputs of the quantized artifact hold it, real values."""

    @abstractmethod
    def rounded_outputs(self, outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Real outputs as those of the quantized artifact hold them."""

    @abstractmethod
    def program(self, segment: int, kept: frozenset[str]) -> Program:
        """Runs a segment with its operators quantized but for those `kept`, by name.

        Takes and gives real values, by the segment's `takes` and `gives`. What the toolchain leaves
        float in any case stays float. Raises ValueError where it cannot be made.
        """

    @property
    def all_float(self) -> frozenset[str]:
        return frozenset(operator.name for operator in self.operators)

    @property
    @abstractmethod
    def by_recipe(self) -> frozenset[str]:
        """Names of the operators that the recipe itself leaves float."""

    def alone(self, layer: Layer) -> frozenset[str]:
        """What is kept float where the layer alone is quantized."""
        return self.all_float.difference(layer.operators)

    def wide(self, layer: Layer) -> frozenset[str]:
        """What is kept float where the layer stays float in the recipe."""
        return self.by_recipe.union(layer.operators)

    def within(self, segment: int, names: Collection[str]) -> frozenset[str]:
        """Those of the names that are operators of the segment."""
        found = self.segments[segment]
        own = (operator.name for operator in self.operators[found.start : found.stop])
        return frozenset(own).intersection(names)

    def segment_of(self, layer: Layer) -> int:
        """The first segment that has an operator of the layer."""
        return next(n for n in range(len(self.segments)) if self.within(n, layer.operators))


def cut(
    operators: Sequence[Operator],
    inputs: Collection[str],
    outputs: Collection[str],
    layers: Collection[str],
    elements: dict[str, int],
    tied: Collection[str] = (),
    pieces: int = PIECES,
) -> tuple[Segment, ...]:
    """Cuts a network, where few tensors stand, into segments of some layers each.

    `layers` are the names of operators that are layers, `elements` sizes of tensors; what has no
    size never stands between segments, nor does a `tied` one before it was read. At least one
    segment, at most about `pieces`.
    """
    read = _last_reads(operators)
    last = read | dict.fromkeys(outputs, len(operators) + 1)
    least = max(1, math.ceil(len(layers) / pieces))
    before = np.cumsum([0, *(operator.name in layers for operator in operators)])
    places, standing = [], set(inputs)
    for place, operator in enumerate(operators, 1):
        standing |= set(operator.writes)
        standing = {name for name in standing if last.get(name, 0) > place}
        free = all(
            name in elements and not (name in tied and read.get(name, 0) > place)
            for name in standing
        )
        if free and place < len(operators):
            size = sum(elements[name] for name in standing)
            places.append((len(standing), size, place))
    chosen = [0, len(operators)]
    for count, _, place in sorted(places):
        low = max(each for each in chosen if each <= place)
        high = min(each for each in chosen if each >= place)
        parts = before[place] - before[low], before[high] - before[place]
        # One that more tensors cross costs more: only where much lies between its neighbours.
        if low < place < high and min(parts) >= least * (1 if count == 1 else 2):
            chosen.append(place)
    return _between(operators, set(inputs), sorted(chosen), last)


def _last_reads(operators: Sequence[Operator]) -> dict[str, int]:
    """By tensor the place of the operator (from 1) that reads it last."""
    return {name: place for place, operator in enumerate(operators, 1) for name in operator.reads}


def _between(
    operators: Sequence[Operator], standing: set[str], places: list[int], last: dict[str, int]
) -> tuple[Segment, ...]:
    segments = []
    for start, stop in itertools.pairwise(places):
        own = operators[start:stop]
        written = list(dict.fromkeys(name for operator in own for name in operator.writes))
        read = dict.fromkeys(name for operator in own for name in operator.reads)
        takes = tuple(name for name in read if name not in written)
        gives = tuple(name for name in written if last.get(name, 0) > stop)
        passing = {name for name in standing if last.get(name, 0) > stop}
        standing = passing | set(gives)
        segments.append(Segment(start, stop, takes, gives, frozenset(standing)))
    return tuple(segments)
