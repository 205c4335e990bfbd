"""The nodes that tap a tensor inside an ONNX graph (operator set 10 or later).

Outputs, in this order: of each tensor the counted elements (n,); then, each of all tensors end to
end, the minima (tensors,), the maxima, and, if any tensor has channels, the channels' minima and
maxima (channels of all tensors,), those at `step_of_places`.
Inputs besides the model's own: for each step > 1 where to start, `start_name(step)`, int64 (1,).
"""

from __future__ import annotations

import numpy as np

from int8gate.quantizers.calibration.strides import step_of_places

BLOCK = 16  # channels: 16 with AVX-512, else 8, so that multiples of 16 are whole blocks of either
SLICE_WITH_STEPS = 10
_REDUCE_TAKES_AXES = 18
_PREFIX = "int8gate"
_END = 2**62


def start_name(step: int) -> str:
    return f"{_PREFIX}.start.{step}"


class TapNodes:
    """Adds taps to a model; `finish` puts them in, and the outputs of all tensors' figures."""

    def __init__(self, model) -> None:
        self._graph = model.graph
        versions = [entry.version for entry in model.opset_import if not entry.domain]
        self._axes_are_inputs = versions[0] >= _REDUCE_TAKES_AXES
        self._constants: set[tuple[int, ...]] = set()
        self._starts: set[int] = set()
        self._figures: dict[str, list[str]] = {}
        self._taps: dict[str, list] = {}  # nodes by the tensor that they read
        self._nodes: list = []

    def add(self, tap, blocked: str | None) -> None:
        """Taps `tap.tensor`, or `blocked`, which holds its elements in blocks of channels."""
        source, name = blocked or tap.tensor, f"{_PREFIX}.{tap.tensor}"
        self._nodes = self._taps.setdefault(source, [])
        flat = self._node("Reshape", [source, self._constant(-1)], f"{name}.flat")
        for extreme in ("Min", "Max"):
            self._keep(extreme, self._reduce(extreme, flat, 0, f"{name}.{extreme}"))
        self._output(self._every(flat, 0, tap.step, f"{name}.counted"))
        if tap.channels:
            inner = BLOCK if blocked else 1
            view = self._constant(tap.channels // inner, -1, inner)
            view = self._node("Reshape", [source, view], f"{name}.channels")
            step = step_of_places(tap.size // tap.channels, tap.step)
            places = self._every(view, 1, step, f"{name}.places")
            for extreme in ("Min", "Max"):
                found = self._reduce(extreme, places, 1, f"{name}.channels.{extreme}")
                found = self._node("Reshape", [found, self._constant(-1)], f"{found}.flat")
                self._keep(f"channels.{extreme}", found)

    def add_whole(self, tap) -> None:
        """Gives the tensor itself (an input cannot be an output)."""
        self._nodes = self._taps.setdefault(tap.tensor, [])
        self._output(self._node("Identity", [tap.tensor], f"{_PREFIX}.{tap.tensor}"))

    def finish(self) -> tuple[int, ...]:
        """Writes the figures of all tensors; returns the steps that want a start."""
        from onnx import TensorProto, helper

        self._nodes = []
        for figure in ("Min", "Max", "channels.Min", "channels.Max"):
            if figure in self._figures:
                name = f"{_PREFIX}.{figure}"
                self._output(self._node("Concat", self._figures[figure], name, axis=0))
        self._put_in_place(self._nodes)
        starts = tuple(sorted(self._starts))
        for step in starts:
            name = start_name(step)
            self._graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT64, [1]))
        return starts

    def _put_in_place(self, last: list) -> None:
        """Each tap behind the node whose result it reads, which then still is in the cache."""
        ordered = [node for given in self._graph.input for node in self._taps.pop(given.name, ())]
        for node in self._graph.node:
            ordered.append(node)
            ordered += [tap for name in node.output for tap in self._taps.pop(name, ())]
        ordered += [tap for taps in self._taps.values() for tap in taps]
        del self._graph.node[:]
        self._graph.node.extend([*ordered, *last])

    def _every(self, source: str, axis: int, step: int, name: str) -> str:
        if step == 1:
            return source
        self._starts.add(step)
        inputs = [source, start_name(step), *map(self._constant, (_END, axis, step))]
        return self._node("Slice", inputs, name)

    def _reduce(self, extreme: str, source: str, axis: int, name: str) -> str:
        if self._axes_are_inputs:
            return self._node(f"Reduce{extreme}", [source, self._constant(axis)], name)
        return self._node(f"Reduce{extreme}", [source], name, axes=[axis])

    def _node(self, kind: str, inputs: list[str], output: str, **attributes) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def _constant(self, *values: int) -> str:
        from onnx import numpy_helper

        name = f"{_PREFIX}.{','.join(map(str, values))}"
        if values not in self._constants:
            self._constants.add(values)
            array = np.array(values, np.int64)
            self._graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def _output(self, name: str) -> None:
        from onnx import ValueInfoProto

        self._graph.output.append(ValueInfoProto(name=name))

    def _keep(self, figure: str, name: str) -> None:
        self._figures.setdefault(figure, []).append(name)
