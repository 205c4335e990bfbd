"""Einstein's sum of two tensors as a matrix product: Transpose, Reshape, MatMul, and back.

ONNX Runtime has no integer kernel for Einsum, and onnx2tf converts some of them wrongly. Letters
fall into four groups: those of both inputs and the output are a batch, those of both inputs alone
are summed over, those of one input and the output are rows or columns.
"""

from __future__ import annotations

import math
import re

from int8gate.quantizers.toolchains.onnx.graph_view import GraphView

_TWO = re.compile(r"([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]*)")


def as_product(node, view: GraphView) -> list:
    """The nodes in the place of an Einsum; itself where it is no plain product of two tensors."""
    equation = view.settings(node)["equation"].decode().replace(" ", "")
    found = _TWO.fullmatch(equation)
    shapes = [_shape(name, view) for name in node.input]
    if not found or None in shapes or len(shapes) != 2:
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
