"""Operators written as convolutions, which ONNX Runtime has for integers, and one the other way.

`Affines`: a normalization of channels that stands alone (a batch normalization before its
convolution, ImageNet's mean and deviation at the input) is a convolution of one weight a channel.
Its int8 weights are exact, its int32 bias nearly so. Several in a row become one.

`as_convolution`: a transposed convolution is a convolution and DepthToSpace. Of a stride s, output
pixel Y = s * q + r (before cropping) sums the weights k = r + s * m over the inputs q - m: each of
the s * s phases r is a convolution of the input with every s-th weight, and DepthToSpace sets the
phases beside each other (Shi et al., 2016, arXiv:1609.07009). Bias, groups, padding and output
padding keep their meaning; the values stay the same.

`of_patches`: a convolution whose kernel steps by its own size is a matrix product of patches. Where
its result becomes the tokens of a transformer, which are float, that saves a rounding: ONNX Runtime
has products of integers with a float result, and no such convolution. All residual sums behind it
would carry that rounding.
"""

from __future__ import annotations

import math

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


def of_patches(node, view: GraphView, readers: dict[str, list]) -> list:
    """The nodes in the place of a Conv that makes tokens of patches; itself where it does not.

    Known by what alone reads its result: a Reshape or Flatten to a row of tokens, rank 3. `readers`
    are the nodes that read each tensor.
    """
    from onnx import helper

    settings, result = view.settings(node), node.output[0]
    weights, bias = view.array(node, 1), view.array(node, 2)
    shape, given = view.shapes.get(result, ()), view.shapes.get(node.input[0], ())
    has_bias = len(node.input) > 2 and bool(node.input[2])
    if weights is None or weights.ndim != 4 or len(shape) != 4 or len(given) != 4:
        return [node]
    kernel = weights.shape[2:]
    is_plain = (
        settings.get("auto_pad", b"NOTSET") == b"NOTSET"
        and settings.get("group", 1) == 1
        and not any(settings.get("pads", [0]))
        and set(settings.get("dilations", [1])) == {1}
        and tuple(settings.get("strides", (1, 1))) == kernel != (1, 1)
        and (bias is not None or not has_bias)
        and given[0] == 1
        and all(given[i] == shape[i] * kernel[i - 2] for i in (2, 3))
    )
    following = readers.get(result, [])
    makes_tokens = view.uses[result] == len(following) == 1 and (
        following[0].op_type in ("Reshape", "Flatten")
        and len(view.shapes.get(following[0].output[0], ())) == 3
    )
    if not (is_plain and makes_tokens):
        return [node]
    _, channels, rows, columns = shape
    name = node.name or result
    parts = ("split", "patches", "rows", "tokens", "turned")
    split, patches, flat, tokens, turned = (view.names.new(f"{name}_{part}") for part in parts)
    sides = [given[1], rows, kernel[0], columns, kernel[1]]
    shapes = {
        "sides": sides,
        "patch": [rows * columns, weights[0].size],
        "map": [1, channels, rows, columns],
    }
    constants = {part: view.integers(f"{name}_{part}", sizes) for part, sizes in shapes.items()}
    inputs = [flat, view.constant(f"{name}_weights", weights.reshape(channels, -1).T)]
    if has_bias:
        inputs.append(node.input[2])
    kind = "Gemm" if has_bias else "MatMul"  # a Gemm without a bias has no such kernel
    moves = [view.names.new(f"{name}_move") for _ in range(5)]
    return [
        helper.make_node("Reshape", [node.input[0], constants["sides"]], [split], moves[0]),
        helper.make_node("Transpose", [split], [patches], moves[1], perm=[1, 3, 0, 2, 4]),
        helper.make_node("Reshape", [patches, constants["patch"]], [flat], moves[2]),
        helper.make_node(kind, inputs, [tokens], node.name),
        helper.make_node("Transpose", [tokens], [turned], moves[3], perm=[1, 0]),
        helper.make_node("Reshape", [turned, constants["map"]], [result], moves[4]),
    ]


def as_convolution(node, view: GraphView) -> list:
    """The nodes in the place of a ConvTranspose over maps; itself where it has another form."""
    from onnx import helper

    settings = view.settings(node)
    weights, bias = view.array(node, 1), view.array(node, 2)
    shape = view.shapes.get(node.input[0], ())
    if weights is None or weights.ndim != 4 or len(shape) != 4 or not all(shape):
        return [node]
    has_bias = len(node.input) > 2 and bool(node.input[2])
    strides = settings.get("strides", [1, 1])
    is_plain = (
        settings.get("auto_pad", b"NOTSET") == b"NOTSET"
        and "output_shape" not in settings
        and set(settings.get("dilations", [1])) == {1}
        and len(set(strides)) == 1
        and (bias is not None or not has_bias)
    )
    if not is_plain:
        return [node]
    stride, kernel = strides[0], weights.shape[2:]
    pads, extra = settings.get("pads", [0] * 4), settings.get("output_padding", [0, 0])
    taps = [math.ceil(side / stride) for side in kernel]
    sizes = [
        (side - 1) * stride + k - pads[i] - pads[i + 2] + extra[i]
        for i, (side, k) in enumerate(zip(shape[2:], kernel, strict=True))
    ]
    # From the first phase group that the output needs to the last: what is cut off is not computed.
    first = [min(pads[i] // stride, taps[i] - 1) for i in (0, 1)]
    last = [(pads[i] + sizes[i] - 1) // stride for i in (0, 1)]
    before = [taps[i] - 1 - first[i] for i in (0, 1)]
    after = [last[i] - (shape[i + 2] - 1) for i in (0, 1)]
    if min(after) < 0 or min(sizes) < 1:
        return [node]
    groups = settings.get("group", 1)
    phases = _phases(weights, groups, stride, taps)
    name = node.name or node.output[0]
    inputs = [node.input[0], view.constant(f"{name}_phases", phases)]
    if has_bias:
        inputs.append(view.constant(f"{name}_bias", np.repeat(bias, stride**2)))
    maps, whole = view.names.new(f"{name}_maps"), view.names.new(f"{name}_whole")
    made = helper.make_node(
        "Conv",
        inputs,
        [maps],
        node.name,
        group=groups,
        kernel_shape=taps,
        pads=[*before, *after],
    )
    if stride == 1:
        whole, nodes = maps, [made]
    else:
        turn = view.names.new(f"{name}_turn")
        turned = {"blocksize": stride, "mode": "CRD"}
        nodes = [made, helper.make_node("DepthToSpace", [maps], [whole], turn, **turned)]
    starts = [pads[i] - first[i] * stride for i in (0, 1)]
    computed = [(last[i] - first[i] + 1) * stride for i in (0, 1)]
    if starts == [0, 0] and computed == sizes:
        nodes[-1].output[0] = node.output[0]
        return nodes
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    parts = {"start": starts, "end": ends, "axes": [2, 3]}
    bounds = [view.integers(f"{name}_{part}", values) for part, values in parts.items()]
    cut = view.names.new(f"{name}_cut")
    return [*nodes, helper.make_node("Slice", [whole, *bounds], [node.output[0]], cut)]


def _phases(weights: np.ndarray, groups: int, stride: int, taps: list[int]) -> np.ndarray:
    """(inputs, outputs of a group, h, w) as a convolution's (outputs * s * s, inputs of one, h, w).

    Outputs are in the order of DepthToSpace's CRD mode: channel, row, column of the phase.
    """
    inputs, outputs, *kernel = weights.shape
    padded = np.zeros((inputs, outputs, taps[0] * stride, taps[1] * stride), weights.dtype)
    padded[:, :, : kernel[0], : kernel[1]] = weights
    parted = padded.reshape(groups, inputs // groups, outputs, taps[0], stride, taps[1], stride)
    flipped = parted[:, :, :, ::-1, :, ::-1]
    ordered = flipped.transpose(0, 2, 4, 6, 1, 3, 5)
    return ordered.reshape(groups * outputs * stride**2, inputs // groups, *taps)
