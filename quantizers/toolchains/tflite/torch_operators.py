"""Operators of TFLite as differentiable PyTorch functions, for `differentiable.py`.

Each entry of `OPERATORS` makes, of an `Asked`, the function of its inputs. Maps stand channels last
(n, h, w, c). A quantized file's operators are the float ones between its scales.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from int8gate.quantizers.training.differentiable_graph import NotDifferentiable


@dataclass(frozen=True)
class Asked:
    """An operator: its options, static shapes of inputs and outputs, values of constant inputs."""

    kind: str
    options: object
    shapes: Sequence[tuple[int, ...]]
    results: Sequence[tuple[int, ...]]
    values: Sequence[np.ndarray | None]

    def option(self, name: str, default=0):
        return getattr(self.options, name, default)

    def numbers(self, place: int) -> list[int]:
        """The whole numbers of a constant input."""
        found = self.values[place] if place < len(self.values) else None
        if found is None:
            raise NotDifferentiable(f"its input {place} is computed, expected a constant")
        return [int(value) for value in np.asarray(found).ravel()]


def operator(asked: Asked) -> Callable:
    """The function of its inputs (None for one left out); raises NotDifferentiable without one."""
    made = OPERATORS.get(asked.kind)
    if made is None:
        raise NotDifferentiable("there is no PyTorch form of it")
    return _activated(made(asked), asked.option("fusedActivationFunction"))


ACTIVATIONS = {  # by the schema's ActivationFunctionType
    0: None,
    1: F.relu,
    2: lambda x: torch.clamp(x, -1, 1),
    3: F.relu6,
    4: torch.tanh,
}


def _activated(run: Callable, activation: int) -> Callable:
    then = ACTIVATIONS[activation]
    return run if then is None else lambda *inputs: then(run(*inputs))


def _first(maps):
    """(n, h, w, c) to (n, c, h, w)."""
    return maps.permute(0, 3, 1, 2)


def _last(maps):
    return maps.permute(0, 2, 3, 1)


def _around(asked: Asked, kernel: tuple[int, int], place: int = 0) -> list[int]:
    """Padding (left, right, top, bottom) of `SAME`, or none."""
    if asked.option("padding") == 1:  # VALID
        return [0, 0, 0, 0]
    _, *sides, _ = asked.shapes[place]
    strides = asked.option("strideH", 1), asked.option("strideW", 1)
    dilations = asked.option("dilationHFactor", 1) or 1, asked.option("dilationWFactor", 1) or 1
    found = []
    for side, size, stride, dilation in zip(sides, kernel, strides, dilations, strict=True):
        reach = (size - 1) * dilation + 1
        whole = max((-(-side // stride) - 1) * stride + reach - side, 0)
        found = [whole // 2, whole - whole // 2, *found]
    return found


def _convolution(asked: Asked) -> Callable:
    is_depthwise = asked.kind == "DEPTHWISE_CONV_2D"
    _, height, width, _ = asked.shapes[1]
    around = _around(asked, (height, width))
    strides = asked.option("strideH", 1), asked.option("strideW", 1)
    dilations = asked.option("dilationHFactor", 1) or 1, asked.option("dilationWFactor", 1) or 1
    channels = asked.shapes[0][-1]
    groups = channels if is_depthwise else channels // asked.shapes[1][-1]
    padding = (around[2], around[0])
    is_even = around[0] == around[1] and around[2] == around[3]

    def run(maps, weights, bias=None):
        weights = weights.permute((3, 0, 1, 2) if is_depthwise else (0, 3, 1, 2))
        maps = _first(maps)
        if not is_even:
            maps = F.pad(maps, around)
        used = padding if is_even else 0
        return _last(F.conv2d(maps, weights, bias, strides, used, dilations, groups))

    return run


def _transposed(asked: Asked) -> Callable:
    (_, height, width, _), weights = asked.results[0], asked.shapes[1]
    strides = asked.option("strideH", 1), asked.option("strideW", 1)
    cut = [0, 0]
    if asked.option("padding") == 0:
        _, *sides, _ = asked.results[0]
        for axis, (side, size, stride) in enumerate(zip(sides, weights[1:3], strides, strict=True)):
            cut[axis] = max((-(-side // stride) - 1) * stride + size - side, 0) // 2

    def run(_, weights, maps, bias=None):
        found = F.conv_transpose2d(_first(maps), weights.permute(3, 0, 1, 2), bias, strides)
        below, right = cut[0] + height - found.shape[2], cut[1] + width - found.shape[3]
        found = F.pad(found, (-cut[1], right, -cut[0], below))
        return _last(found)

    return run


def _dense(asked: Asked) -> Callable:
    inputs, shape = asked.shapes[1][-1], asked.results[0]

    def run(values, weights, bias=None):
        return F.linear(values.reshape(-1, inputs), weights, bias).reshape(shape)

    return run


def _product(asked: Asked) -> Callable:
    turn_left, turn_right = asked.option("adjX", False), asked.option("adjY", False)

    def run(left, right):
        left = left.transpose(-1, -2) if turn_left else left
        return torch.matmul(left, right.transpose(-1, -2) if turn_right else right)

    return run


def _pool(asked: Asked) -> Callable:
    kernel = asked.option("filterHeight"), asked.option("filterWidth")
    around = _around(asked, kernel)
    strides = asked.option("strideH", 1), asked.option("strideW", 1)
    if asked.kind == "MAX_POOL_2D":
        return lambda maps: _last(
            F.max_pool2d(F.pad(_first(maps), around, value=-torch.inf), kernel, strides)
        )
    if not any(around):
        return lambda maps: _last(F.avg_pool2d(_first(maps), kernel, strides))
    _, height, width, _ = asked.shapes[0]
    ones = F.avg_pool2d(F.pad(torch.ones(1, 1, height, width), around), kernel, strides)
    return lambda maps: _last(
        F.avg_pool2d(F.pad(_first(maps), around), kernel, strides) / ones  # pads do not count
    )


def _reduced(asked: Asked) -> Callable:
    axes, keep = asked.numbers(1), bool(asked.option("keepDims", False))
    reduce = {
        "MEAN": torch.mean,
        "SUM": torch.sum,
        "REDUCE_MAX": torch.amax,
        "REDUCE_MIN": torch.amin,
    }[asked.kind]
    return lambda values, _: reduce(values, dim=axes, keepdim=keep)


def _reshaped(asked: Asked) -> Callable:
    shape = asked.results[0]
    return lambda values, *_: values.reshape(shape)


def _transpose(asked: Asked) -> Callable:
    axes = asked.numbers(1)
    return lambda values, _: values.permute(axes)


def _concatenated(asked: Asked) -> Callable:
    axis = asked.option("axis")
    return lambda *values: torch.cat(values, axis)


def _padded(asked: Asked) -> Callable:
    pads = np.reshape(asked.numbers(1), (-1, 2))[::-1].ravel().tolist()
    filled = asked.values[2] if len(asked.values) > 2 else None
    value = 0.0 if filled is None else float(np.asarray(filled).ravel()[0])
    return lambda values, *_: F.pad(values, pads, value=value)


def _slices(begins, sizes) -> tuple:
    return tuple(slice(b, b + s) for b, s in zip(begins, sizes, strict=True))


def _slice(asked: Asked) -> Callable:
    chosen = _slices(asked.numbers(1), asked.results[0])
    return lambda values, *_: values[chosen]


def _strided_slice(asked: Asked) -> Callable:
    begins, ends, steps = (asked.numbers(place) for place in (1, 2, 3))
    masks = [asked.option(f"{part}Mask") for part in ("begin", "end", "shrinkAxis")]
    if any(asked.option(f"{part}Mask") for part in ("ellipsis", "newAxis")) or min(steps) < 1:
        raise NotDifferentiable("it has an ellipsis, a new axis or steps back")
    chosen = []
    for axis, (begin, end, step) in enumerate(zip(begins, ends, steps, strict=True)):
        first, last, shrunk = (bool(mask >> axis & 1) for mask in masks)
        if shrunk:
            chosen.append(slice(begin, None if begin == -1 else begin + 1))
        else:
            chosen.append(slice(None if first else begin, None if last else end, step))
    shape = asked.results[0]
    return lambda values, *_: values[tuple(chosen)].reshape(shape)


def _split(asked: Asked) -> Callable:
    place = 0 if asked.kind == "SPLIT" else 2
    axis = asked.numbers(place)[0]
    sizes = [shape[axis] for shape in asked.results]
    data = 1 - place if place == 0 else 0
    return lambda *inputs: torch.split(inputs[data], sizes, axis)


def _packed(asked: Asked) -> Callable:
    axis = asked.option("axis")
    return lambda *values: torch.stack(values, axis)


def _unpacked(asked: Asked) -> Callable:
    axis = asked.option("axis")
    return lambda values: torch.unbind(values, axis)


def _gather(asked: Asked) -> Callable:
    axis, shape = asked.option("axis"), asked.results[0]
    rows = torch.tensor(asked.numbers(1))
    return lambda values, _: torch.index_select(values, axis, rows).reshape(shape)


def _resized(asked: Asked) -> Callable:
    size = asked.numbers(1)
    aligned, half = (bool(asked.option(n, False)) for n in ("alignCorners", "halfPixelCenters"))
    _, *sides, _ = asked.shapes[0]
    if asked.kind == "RESIZE_NEAREST_NEIGHBOR":
        if aligned or any(new % old for new, old in zip(size, sides, strict=True)):
            raise NotDifferentiable("it resizes to the nearest by no whole number")
        return lambda maps, _: _last(F.interpolate(_first(maps), tuple(size)))
    if not aligned and not half:
        rows, columns = (
            torch.from_numpy(_linear_matrix(old, new)) for old, new in zip(sides, size, strict=True)
        )
        return lambda maps, _: torch.einsum("yh,nhwc,xw->nyxc", rows, maps, columns)
    return lambda maps, _: _last(
        F.interpolate(_first(maps), tuple(size), mode="bilinear", align_corners=aligned)
    )


def _linear_matrix(old: int, new: int) -> np.ndarray:
    """(new, old): bilinear without half pixels, place y of the new side at y * old / new."""
    places = np.arange(new) * (old / new)
    below = np.minimum(places.astype(int), old - 1)
    above, part = np.minimum(below + 1, old - 1), places - below
    found = np.zeros((new, old), np.float32)
    found[np.arange(new), below] += 1 - part
    found[np.arange(new), above] += part
    return found


def _depth_to_space(asked: Asked) -> Callable:
    block, (_, height, width, _) = asked.option("blockSize"), asked.shapes[0]
    shape = asked.results[0]
    apart = (1, height, width, block, block, shape[-1])
    return lambda maps: maps.reshape(apart).permute(0, 1, 3, 2, 4, 5).reshape(shape)


def _space_to_depth(asked: Asked) -> Callable:
    block, shape = asked.option("blockSize"), asked.results[0]
    apart = (1, shape[1], block, shape[2], block, asked.shapes[0][-1])
    return lambda maps: maps.reshape(apart).permute(0, 1, 3, 2, 4, 5).reshape(shape)


def _softmax(asked: Asked) -> Callable:
    beta = asked.option("beta", 1.0)
    return lambda values: torch.softmax(values * beta, -1)


def _leaky(asked: Asked) -> Callable:
    slope = asked.option("alpha", 0.0)
    return lambda values: F.leaky_relu(values, slope)


def _gelu(asked: Asked) -> Callable:
    how = "tanh" if asked.option("approximate", False) else "none"
    return lambda values: F.gelu(values, approximate=how)


def _broadcast(asked: Asked) -> Callable:
    shape = asked.results[0]
    return lambda values, _: values.expand(shape)


def _tiled(asked: Asked) -> Callable:
    times = asked.numbers(1)
    return lambda values, _: values.tile(times)


def _same(run: Callable) -> Callable[[Asked], Callable]:
    return lambda asked: run


OPERATORS: dict[str, Callable[[Asked], Callable]] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), _convolution),
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _product,
    **dict.fromkeys(("MAX_POOL_2D", "AVERAGE_POOL_2D"), _pool),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), _reduced),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _reshaped),
    "TRANSPOSE": _transpose,
    "CONCATENATION": _concatenated,
    **dict.fromkeys(("PAD", "PADV2"), _padded),
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    **dict.fromkeys(("SPLIT", "SPLIT_V"), _split),
    "PACK": _packed,
    "UNPACK": _unpacked,
    "GATHER": _gather,
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _resized),
    "DEPTH_TO_SPACE": _depth_to_space,
    "SPACE_TO_DEPTH": _space_to_depth,
    "SOFTMAX": _softmax,
    "LOG_SOFTMAX": _same(lambda values: torch.log_softmax(values, -1)),
    "LEAKY_RELU": _leaky,
    "GELU": _gelu,
    "BROADCAST_TO": _broadcast,
    "TILE": _tiled,
    "ADD": _same(torch.add),
    "SUB": _same(torch.sub),
    "MUL": _same(torch.mul),
    "DIV": _same(torch.div),
    "POW": _same(torch.pow),
    "MAXIMUM": _same(torch.maximum),
    "MINIMUM": _same(torch.minimum),
    "SQUARED_DIFFERENCE": _same(lambda one, other: (one - other) ** 2),
    "RELU": _same(F.relu),
    "RELU6": _same(F.relu6),
    "PRELU": _same(lambda values, slopes: F.relu(values) - slopes * F.relu(-values)),
    "ELU": _same(F.elu),
    "LOGISTIC": _same(torch.sigmoid),
    "TANH": _same(torch.tanh),
    "HARD_SWISH": _same(F.hardswish),
    "EXP": _same(torch.exp),
    "LOG": _same(torch.log),
    "SQRT": _same(torch.sqrt),
    "RSQRT": _same(torch.rsqrt),
    "ABS": _same(torch.abs),
    "NEG": _same(torch.neg),
    "SQUARE": _same(torch.square),
    "QUANTIZE": _same(lambda values: values),
    "DEQUANTIZE": _same(lambda values: values),
}
