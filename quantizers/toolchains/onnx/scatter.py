"""A ScatterND to constant places (an assignment to a slice) as Slice and Concat, or as a Gather.

PyTorch exports ``y[:, :, 4:8, 4:8] = x`` so. ONNX Runtime has no integer kernel for it, and onnx2tf
converts it wrongly. Each element of the result is one of the data or one of the updates: which one
is known.
"""

from __future__ import annotations

import math

import numpy as np

from int8gate.quantizers.toolchains.onnx.graph_view import GraphView


def as_moves(node, view: GraphView) -> list:
    """The nodes in the place of a ScatterND; itself where its places are computed or it adds."""
    data, _, updates = node.input
    places = view.array(node, 1)
    shape, given = _shape(data, view), _shape(updates, view)
    is_set = view.settings(node).get("reduction", b"none") == b"none"
    if places is None or not is_set or not shape or not given or 0 in (*shape, *given):
        return [node]
    size = math.prod(shape)
    index = np.arange(size).reshape(shape)
    # Later ones overwrite earlier ones, as they do where they are run one by one.
    places = tuple(np.moveaxis(places, -1, 0))
    index[places] = size + np.arange(math.prod(given)).reshape(given)
    if box := _box(index, size, given):
        return _Slices(node, view, shape).around(updates, box)
    return _chosen(node, view, index)


def _chosen(node, view: GraphView, index: np.ndarray) -> list:
    """Any places: of data and updates, end to end, the one that stands at each."""
    from onnx import helper

    data, _, updates = node.input
    name = node.name or node.output[0]
    flat = view.integers(f"{name}_flat", [-1])
    whole = view.integers(f"{name}_shape", index.shape)
    chosen = view.integers(f"{name}_places", index.reshape(-1))
    made = {part: view.names.new(f"{name}_{part}") for part in ("data", "updates", "both", "set")}
    nodes = [
        helper.make_node("Reshape", [data, flat], [made["data"]]),
        helper.make_node("Reshape", [updates, flat], [made["updates"]]),
        helper.make_node("Concat", [made["data"], made["updates"]], [made["both"]], axis=0),
        helper.make_node("Gather", [made["both"], chosen], [made["set"]], axis=0),
        helper.make_node("Reshape", [made["set"], whole], [node.output[0]]),
    ]
    for number, each in enumerate(nodes):
        each.name = view.names.new(f"{name}_{each.op_type}_{number}")
    return nodes


def _box(index: np.ndarray, size: int, given: tuple[int, ...]) -> list[tuple[int, int]]:
    """The range of each axis where the updates are a box of their own shape; else nothing."""
    changed = np.argwhere(index >= size)
    lows, highs = changed.min(axis=0), changed.max(axis=0) + 1
    inside = index[tuple(map(slice, lows, highs))]
    in_order = np.arange(inside.size).reshape(inside.shape) + size
    if inside.shape != tuple(given) or not np.array_equal(inside, in_order):
        return []
    return list(zip(lows.tolist(), highs.tolist(), strict=True))


class _Slices:
    """Parts of the data around a box, joined to it along one axis after the other."""

    def __init__(self, node, view: GraphView, shape: tuple[int, ...]) -> None:
        self._node, self._view, self._shape, self._nodes = node, view, shape, []
        self._name = node.name or node.output[0]

    def around(self, updates: str, box: list[tuple[int, int]]) -> list:
        """The nodes that give the data with `updates` in the box."""
        partial = [axis for axis, ends in enumerate(box) if ends != (0, self._shape[axis])]
        piece = updates
        for place in reversed(range(len(partial))):
            axis, within = partial[place], {a: box[a] for a in partial[:place]}
            low, high = box[axis]
            parts = [self._part(within | {axis: (0, low)}) if low else None, piece]
            rest = (high, self._shape[axis])
            parts.append(self._part(within | {axis: rest}) if high < rest[1] else None)
            piece = self._add("Concat", [part for part in parts if part], axis=axis)
        if not partial:
            piece = self._add("Identity", [piece])
        self._nodes[-1].output[0] = self._node.output[0]
        return self._nodes

    def _part(self, ranges: dict[int, tuple[int, int]]) -> str:
        lows, highs = zip(*ranges.values(), strict=True)
        bounds = {"starts": lows, "ends": highs, "axes": tuple(ranges)}
        names = [self._view.integers(f"{self._name}_{k}", v) for k, v in bounds.items()]
        return self._add("Slice", [self._node.input[0], *names])

    def _add(self, kind: str, inputs: list[str], **attributes) -> str:
        from onnx import helper

        result = self._view.names.new(f"{self._name}_{kind.lower()}")
        name = self._view.names.new(f"{self._name}_{kind}")
        self._nodes.append(helper.make_node(kind, inputs, [result], name, **attributes))
        return result


def _shape(name: str, view: GraphView) -> tuple[int, ...]:
    constant = view.constants.get(name)
    return tuple(constant.dims) if constant is not None else view.shapes.get(name, ())
