"""Einsum and ScatterND as operators that ONNX Runtime has for integers.

It has no integer kernel for either, and onnx2tf converts ScatterND and some Einsums wrongly.

`as_product`: Einstein's sum of two tensors is a matrix product: Transpose, Reshape, MatMul, and
back. Letters fall into four groups: those of both inputs and the output are a batch, those of both
inputs alone are summed over, those of one input and the output are rows or columns.

`as_moves`: a ScatterND to constant places (an assignment to a slice, which PyTorch exports for
``y[:, :, 4:8, 4:8] = x``) is Slice and Concat, or a Gather. Each element of the result is one of
the data or one of the updates: which one is known.
"""

from __future__ import annotations

import math
import re

import numpy as np

from int8gate.quantizers.toolchains.onnx.graph_view import GraphView

_TWO = re.compile(r"([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]*)")


def as_product(node, view: GraphView) -> list:
    """The nodes in the place of an Einsum; itself where it is no plain product of two tensors."""
    equation = view.settings(node)["equation"].decode().replace(" ", "")
    found = _TWO.fullmatch(equation)
    shapes = [shape for name in node.input if (shape := _shape(name, view)) is not None]
    if not found or not len(node.input) == len(shapes) == 2:
        return [node]
    left, right, result = found.groups()
    sizes = dict(zip(left + right, (*shapes[0], *shapes[1]), strict=False))
    both, out = set(left) & set(right), set(result)
    repeated = any(len(set(letters)) != len(letters) for letters in (left, right, result))
    lone = (set(left) ^ set(right)) - out  # summed over in one input alone
    if repeated or lone or (len(left), len(right)) != tuple(map(len, shapes)):
        return [node]
    batch = [letter for letter in left if letter in both & out]
    summed = [letter for letter in left if letter in both - out]
    rows = [letter for letter in left if letter not in both]
    columns = [letter for letter in right if letter not in both]
    if not summed:
        return [node]
    if _is_constant(node.input[0], view) and not _is_constant(node.input[1], view) and not batch:
        # Constant weights stand on the right, where they get a scale for each column.
        node.input[0], node.input[1] = node.input[1], node.input[0]
        left, right, rows, columns = right, left, columns, rows
    if convolution := _of_one_pixel(node, view, left, right, result):
        return [convolution]
    maker = _Maker(node, view)
    flat = [[batch, rows, summed], [batch, summed, columns]]
    matrices = [
        maker.arranged(
            name, letters, [x for group in groups for x in group], _merged(groups, sizes)
        )
        for name, letters, groups in zip(node.input, (left, right), flat, strict=True)
    ]
    product = [*batch, *rows, *columns]
    shape = [sizes[letter] for letter in product]
    return maker.finished(matrices, product, shape, result)


def _shape(name: str, view: GraphView) -> tuple[int, ...] | None:
    if name in view.constants:
        return tuple(view.constants[name].dims)
    return view.shapes.get(name)


def _of_one_pixel(node, view: GraphView, left: str, right: str, result: str):
    """Constant weights over the channels of a map (n, c, h, w) are a convolution of one pixel."""
    from onnx import helper

    weights = view.array(node, 1)
    if weights is None or len(left) != 4 or len(right) != 2 or len(result) != 4:
        return None
    summed, made = left[1], result[1]
    if {summed, made} != set(right) or result != left[0] + made + left[2:]:
        return None
    matrix = weights if right == made + summed else weights.T
    name = view.constant(f"{node.name or node.output[0]}_weights", matrix[:, :, None, None])
    inputs = [node.input[0], name]
    return helper.make_node("Conv", inputs, node.output[:1], node.name, kernel_shape=[1, 1])


def _is_constant(name: str, view: GraphView) -> bool:
    return name in view.constants


def _merged(groups: list, sizes: dict) -> list[int]:
    """The shape of a stack of matrices, a plain matrix where nothing is stacked."""
    batch, *two = ([sizes[letter] for letter in group] for group in groups)
    return [*([math.prod(batch)] if batch else []), *(math.prod(group) for group in two)]


class _Maker:
    """Nodes one behind the other, named after the Einsum that they stand for."""

    def __init__(self, node, view: GraphView) -> None:
        self._node, self._view, self._nodes = node, view, []
        self._name = node.name or node.output[0]

    def arranged(self, name: str, letters: str, order: list[str], shape: list[int]) -> str:
        """The tensor with its letters in this order, as matrices of this shape."""
        axes = [letters.index(letter) for letter in order]
        array = self._view.constants.get(name)
        if array is not None and array.data_location != array.EXTERNAL:
            from onnx import numpy_helper

            values = numpy_helper.to_array(array).transpose(axes).reshape(shape)
            return self._view.constant(f"{name}_matrix", values)
        if axes != sorted(axes):
            name = self._add("Transpose", [name], perm=axes)
        return self._reshaped(name, shape)

    def finished(self, matrices: list[str], product: list, shape: list[int], result: str) -> list:
        """The product in the order of the result's letters, under the Einsum's name."""
        name = self._add("MatMul", matrices)
        name = self._reshaped(name, shape)
        if axes := [product.index(letter) for letter in result]:
            name = self._add("Transpose", [name], perm=axes)
        self._nodes[-1].output[0] = self._node.output[0]
        return self._nodes

    def _reshaped(self, name: str, shape: list[int]) -> str:
        sides = self._view.integers(f"{self._name}_shape", shape)
        return self._add("Reshape", [name, sides])

    def _add(self, kind: str, inputs: list[str], **attributes) -> str:
        from onnx import helper

        result = self._view.names.new(f"{self._name}_{kind.lower()}")
        name = self._view.names.new(f"{self._name}_{kind}")
        self._nodes.append(helper.make_node(kind, inputs, [result], name, **attributes))
        return result


def as_moves(node, view: GraphView) -> list:
    """The nodes in the place of a ScatterND; itself where its places are computed or it adds."""
    data, _, updates = node.input
    places = view.array(node, 1)
    shape, given = _static_shape(data, view), _static_shape(updates, view)
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


def _static_shape(name: str, view: GraphView) -> tuple[int, ...]:
    constant = view.constants.get(name)
    return tuple(constant.dims) if constant is not None else view.shapes.get(name, ())
