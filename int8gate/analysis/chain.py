"""Runs variants of a network in segments over samples: only what lies behind the changed layer.

Two bases are run once, the float network and the one that the recipe makes, and the tensors that
stand between their segments are kept as far as memory goes. A variant begins with those of the
first segment in which it differs, and ends with the segments of its base.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from int8gate.quantizers.segmented import Program, Segmented, State

FLOAT, INTEGER = "float", "integer"  # the bases
KEPT_BYTES = 800_000_000  # of tensors between segments
MOST_VARIANTS = 256  # of segments, kept for other samples
SHARE_OF_A_CUT = 4  # that many sets of tensors fit into it


class Chain:
    """A network and its real inputs (n, ...), in the order of a session's inputs."""

    def __init__(
        self, network: Segmented, inputs: Sequence[np.ndarray], kept_bytes: int = KEPT_BYTES
    ) -> None:
        self.network, self._inputs, self._kept_bytes = network, list(inputs), kept_bytes
        self._bases = {FLOAT: network.all_float, INTEGER: network.by_recipe}
        self._programs: dict[tuple[str, int], Program] = {}
        self._variants: OrderedDict[tuple[int, frozenset[str]], Program] = OrderedDict()
        self._states: OrderedDict[tuple[str, int, int], list[State]] = OrderedDict()
        self._outputs: dict[str, list[np.ndarray]] = {}
        self._rows = 0

    @property
    def samples(self) -> int:
        return len(self._inputs[0])

    def part(self, start: int, stop: int) -> Chain:
        """A chain of these samples alone, which shares this one's programs."""
        few = Chain(self.network, [array[start:stop] for array in self._inputs], self._kept_bytes)
        few._programs, few._variants = self._programs, self._variants
        few._rows = self._rows_at_once()
        return few

    def outputs(self, base: str, kept: frozenset[str] | None = None) -> list[np.ndarray]:
        """Real outputs (n, ...) of the variant of a base in which the `kept` operators are float,
        or of the base itself.

        Raises ValueError where the variant cannot be made.
        """
        changed = [] if kept is None else self._changed(base, kept)
        if not changed:
            if base not in self._outputs:
                self._outputs[base] = self._run(base, {}, 0)
            return self._outputs[base]
        own = {segment: self._variant(segment, kept or frozenset()) for segment in changed}
        return self._run(base, own, min(changed))

    def _changed(self, base: str, kept: frozenset[str]) -> list[int]:
        """The segments in which a variant differs from its base."""
        of_base, within = self._bases[base], self.network.within
        different = kept ^ of_base
        return [n for n in range(len(self.network.segments)) if within(n, different)]

    def _run(self, base: str, own: dict[int, Program], first: int) -> list[np.ndarray]:
        found, rows = [], self._rows_at_once()
        for start in range(0, len(self._inputs[0]), rows):
            for state in self._before(base, first, start, start + rows):
                found.append(self._ended(base, own, first, state))
        columns = [np.concatenate(column) for column in zip(*found, strict=True)]
        return self.network.rounded_outputs(columns) if base == INTEGER else columns

    def _ended(
        self, base: str, own: dict[int, Program], first: int, state: State
    ) -> list[np.ndarray]:
        for segment in range(first, len(self.network.segments)):
            program = own.get(segment) or self._program(base, segment)
            state = self._after(segment, program, state)
        return [state[name] for name in self.network.outputs]

    def _before(self, base: str, segment: int, start: int, stop: int) -> list[State]:
        """The states of a base before a segment, of the samples `start` to `stop`."""
        known = [n for kind, n, at in self._states if (kind, at) == (base, start) and n <= segment]
        if known:
            place = max(known)
            self._states.move_to_end((base, place, start))
            states = self._states[base, place, start]
        else:
            place, states = 0, self._fed(base, start, stop)
        for each in range(place, segment):
            program = self._program(base, each)
            states = [self._after(each, program, state) for state in states]
            self._remember((base, each + 1, start), states)
        return states

    def _fed(self, base: str, start: int, stop: int) -> list[State]:
        stop = min(stop, len(self._inputs[0]))
        states = [
            self.network.feed([array[row : row + 1] for array in self._inputs])
            for row in range(start, stop)
        ]
        return [self.network.rounded(each) for each in states] if base == INTEGER else states

    def _after(self, segment: int, program: Program, state: State) -> State:
        found = self.network.segments[segment]
        return found.after(state, program([state[name] for name in found.takes]))

    def _program(self, base: str, segment: int) -> Program:
        if (base, segment) not in self._programs:
            self._programs[base, segment] = self.network.program(segment, self._bases[base])
        return self._programs[base, segment]

    def _variant(self, segment: int, kept: frozenset[str]) -> Program:
        key = segment, self.network.within(segment, kept)
        if key not in self._variants:
            self._variants[key] = self.network.program(segment, kept)
            if len(self._variants) > MOST_VARIANTS:
                self._variants.popitem(last=False)
        return self._variants[key]

    def _remember(self, key: tuple[str, int, int], states: list[State]) -> None:
        self._states[key] = states
        while len(self._states) > 1 and sum(map(_bytes, self._states.values())) > self._kept_bytes:
            self._states.popitem(last=False)

    def _rows_at_once(self) -> int:
        """So many samples that the tensors of some cuts fit into memory; all where they do."""
        if not self._rows:
            state, most = self._fed(FLOAT, 0, 1)[0], 1
            for segment in range(len(self.network.segments)):
                state = self._after(segment, self._program(FLOAT, segment), state)
                most = max(most, _bytes([state]))
            self._rows = max(1, self._kept_bytes // (SHARE_OF_A_CUT * most))
        return self._rows


def _bytes(states: Sequence[State]) -> int:
    return sum(array.nbytes for state in states for array in state.values())
