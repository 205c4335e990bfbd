"""A normalization of channels that stands alone, as a convolution of one weight a channel.

A batch normalization before its convolution, ImageNet's mean and deviation at the input: its int8
weights are exact, its int32 bias nearly so. Several in a row become one.
"""

from __future__ import annotations

import numpy as np

from int8gate.quantizers.toolchains.onnx.graph_view import GraphView


class Affines:
    """Makes convolutions of the nodes of a graph, in their order."""

    def __init__(self, view: GraphView) -> None:
        self._view = view
        self._made: dict[str, tuple] = {}  # by result: the convolution, and what it computes

    def convolution(self, node, before: list):
        """The convolution in the place of `node`, None where it is something else.

        One that it continues is taken out of the nodes `before`.
        """
        affine = self._affine(node)
        if affine is None:
            return None
        picture = affine[0]
        if picture in self._made and self._view.uses[picture] == 1:
            made, *inner = self._made.pop(picture)
            before.remove(made)
            affine = _after(inner, affine)
        made = self._as_convolution(node, *affine)
        self._made[node.output[0]] = (made, *affine)
        return made

    def _affine(self, node):
        """(map, factor, offset), a value for each channel, where the node does nothing else."""
        view = self._view
        arrays = [view.array(node, place) for place in range(len(node.input))]
        place = next((i for i, array in enumerate(arrays) if array is None), None)
        if place is None or not node.input[place] or not view.is_float(node.input[place]):
            return None
        shape = view.shapes.get(node.input[place], ())
        if len(shape) != 4:
            return None
        arrays = [None if array is None else array.astype(np.float64) for array in arrays]
        if node.op_type == "BatchNormalization":
            if place != 0 or any(array is None for array in arrays[1:]) or len(node.output) > 1:
                return None
            factor, offset, mean, variance = arrays[1:]
            factor = factor / np.sqrt(variance + view.settings(node).get("epsilon", 1e-5))
            return node.input[0], factor, offset - mean * factor
        if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(node.input) != 2:
            return None
        value, channels = arrays[1 - place], shape[1]
        if value is None or not _is_one_each(value.shape, channels):
            return None
        value = value.reshape(-1)
        one, none = np.ones(channels), np.zeros(channels)
        found = {
            ("Add", 0): (one, value),
            ("Add", 1): (one, value),
            ("Sub", 0): (one, -value),
            ("Sub", 1): (-one, value),
            ("Mul", 0): (value, none),
            ("Mul", 1): (value, none),
            ("Div", 0): (1 / value, none) if value.all() else None,
        }.get((node.op_type, place))
        return found and (node.input[place], *found)

    def _as_convolution(self, node, picture: str, factor: np.ndarray, offset: np.ndarray):
        from onnx import helper

        name = node.name or node.output[0]
        weights = self._view.constant(f"{name}_factor", factor.reshape(-1, 1, 1, 1))
        bias = self._view.constant(f"{name}_offset", offset)
        return helper.make_node(
            "Conv",
            [picture, weights, bias],
            [node.output[0]],
            node.name,
            group=len(factor),
            kernel_shape=[1, 1],
        )


def _after(inner, outer):
    """One factor and offset for two such nodes in a row."""
    picture, factor, offset = inner
    _, outer_factor, outer_offset = outer
    return picture, factor * outer_factor, offset * outer_factor + outer_offset


def _is_one_each(shape: tuple[int, ...], channels: int) -> bool:
    """A constant (c, 1, 1) or (1, c, 1, 1); a single value belongs to attention's scores."""
    return channels > 1 and shape in ((channels, 1, 1), (1, channels, 1, 1))
