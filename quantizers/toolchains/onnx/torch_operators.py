"""Operators of ONNX as differentiable PyTorch functions, for `differentiable.py`.

Each entry of `OPERATORS` makes, of an `Asked`, the function of its inputs. A graph is one that
`prepare` left: of static shapes, in standard operators, its constants folded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from int8gate.quantizers.training.differentiable_graph import NotDifferentiable


@dataclass(frozen=True)
class Asked:
    """A node: its attributes, static shapes of inputs and outputs, values of constant inputs."""

    kind: str
    settings: Mapping
    shapes: Sequence[tuple[int, ...]]
    results: Sequence[tuple[int, ...]]
    values: Sequence[np.ndarray | None]

    def numbers(self, place: int, attribute: str = "") -> list[int] | None:
        """The whole numbers of an attribute or of a constant input; None where it is left out."""
        if attribute in self.settings:
            return [int(value) for value in np.ravel(self.settings[attribute])]
        if place >= len(self.shapes) or place >= len(self.values):
            return None
        found = self.values[place]
        return None if found is None else [int(value) for value in np.ravel(found)]

    def needed(self, place: int, attribute: str = "") -> list[int]:
        """As `numbers`; raises NotDifferentiable where they are computed or left out."""
        found = self.numbers(place, attribute)
        if found is None:
            raise NotDifferentiable(f"its input {place} is computed, expected a constant")
        return found

    @property
    def rank(self) -> int:
        return len(self.shapes[0])


def operator(asked: Asked) -> Callable:
    """The function of its inputs (None for one left out); raises NotDifferentiable without one."""
    made = OPERATORS.get(asked.kind)
    if made is None:
        raise NotDifferentiable("there is no PyTorch form of it")
    return made(asked)


def _around(asked: Asked, kernel: Sequence[int]) -> list[int]:
    """Padding in the order of `torch.nn.functional.pad`: the last side first."""
    spatial = len(kernel)
    how = asked.settings.get("auto_pad", b"NOTSET").decode()
    if how in ("SAME_UPPER", "SAME_LOWER"):
        raise NotDifferentiable(f"it has auto_pad {how}")
    pads = list(asked.settings.get("pads", [0] * 2 * spatial))
    return [pads[axis + end] for axis in reversed(range(spatial)) for end in (0, spatial)]


def _sides(asked: Asked, name: str, spatial: int) -> list[int]:
    return list(asked.settings.get(name, [1] * spatial))


def _convolution(asked: Asked) -> Callable:
    kernel = asked.shapes[1][2:]
    around, spatial = _around(asked, kernel), len(kernel)
    strides, dilations = (_sides(asked, name, spatial) for name in ("strides", "dilations"))
    groups = asked.settings.get("group", 1)
    run = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[spatial]
    is_even = around[0::2] == around[1::2]
    padding = around[0::2][::-1] if is_even else 0

    def convolve(maps, weights, bias=None):
        maps = maps if is_even else F.pad(maps, around)
        return run(maps, weights, bias, strides, padding, dilations, groups)

    return convolve


def _transposed(asked: Asked) -> Callable:
    kernel = asked.shapes[1][2:]
    around, spatial = _around(asked, kernel), len(kernel)
    if spatial != 2 or around[0::2] != around[1::2]:
        raise NotDifferentiable("its padding is uneven or it has no two sides")
    strides, dilations = (_sides(asked, name, spatial) for name in ("strides", "dilations"))
    more = list(asked.settings.get("output_padding", [0] * spatial))
    groups, padding = asked.settings.get("group", 1), around[0::2][::-1]
    return lambda maps, weights, bias=None: F.conv_transpose2d(
        maps, weights, bias, strides, padding, more, groups, dilations
    )


def _gemm(asked: Asked) -> Callable:
    alpha, beta = asked.settings.get("alpha", 1.0), asked.settings.get("beta", 1.0)
    turn_left, turn_right = (asked.settings.get(name, 0) for name in ("transA", "transB"))

    def run(left, right, bias=None):
        left = left.transpose(-1, -2) if turn_left else left
        found = alpha * torch.matmul(left, right.transpose(-1, -2) if turn_right else right)
        return found if bias is None else found + beta * bias

    return run


def _pool(asked: Asked) -> Callable:
    kernel = asked.settings["kernel_shape"]
    around, strides = _around(asked, kernel), _sides(asked, "strides", len(kernel))
    dilations = _sides(asked, "dilations", len(kernel))
    if len(kernel) != 2 or len(asked.results) > 1:
        raise NotDifferentiable("it has no two sides, or gives indices")
    up = bool(asked.settings.get("ceil_mode", 0))
    if asked.kind == "MaxPool":
        return lambda maps: F.max_pool2d(
            F.pad(maps, around, value=-torch.inf), kernel, strides, 0, dilations, up
        )
    if max(dilations) > 1:
        raise NotDifferentiable("it is dilated")
    counts = bool(asked.settings.get("count_include_pad", 0))
    if around[0::2] != around[1::2]:
        raise NotDifferentiable("its padding is uneven")
    padding = around[0::2][::-1]
    return lambda maps: F.avg_pool2d(maps, kernel, strides, padding, up, counts)


def _of_whole_map(reduce: Callable) -> Callable[[Asked], Callable]:
    def made(asked: Asked) -> Callable:
        axes = list(range(2, asked.rank))
        return lambda maps: reduce(maps, dim=axes, keepdim=True)

    return made


def _reduced(asked: Asked) -> Callable:
    axes = asked.numbers(1, "axes") or list(range(asked.rank))
    keep = bool(asked.settings.get("keepdims", 1))
    reduce = {
        "ReduceMean": torch.mean,
        "ReduceSum": torch.sum,
        "ReduceMax": torch.amax,
        "ReduceMin": torch.amin,
    }[asked.kind]
    return lambda values, *_: reduce(values, dim=axes, keepdim=keep)


def _reshaped(asked: Asked) -> Callable:
    shape = asked.results[0]
    return lambda values, *_: values.reshape(shape)


def _transpose(asked: Asked) -> Callable:
    axes = asked.settings.get("perm", list(reversed(range(asked.rank))))
    return lambda values: values.permute(*axes)


def _concatenated(asked: Asked) -> Callable:
    axis = asked.settings["axis"]
    return lambda *values: torch.cat(values, axis)


def _split(asked: Asked) -> Callable:
    axis = asked.settings.get("axis", 0)
    sizes = [shape[axis] for shape in asked.results]
    return lambda values, *_: torch.split(values, sizes, axis)


def _slice(asked: Asked) -> Callable:
    starts, ends = asked.needed(1, "starts"), asked.needed(2, "ends")
    axes = asked.numbers(3, "axes") or list(range(len(starts)))
    steps = asked.numbers(4, "steps") or [1] * len(starts)
    if min(steps) < 1:
        raise NotDifferentiable("it steps back")
    chosen = [slice(None)] * asked.rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        chosen[axis] = slice(start, end, step)
    return lambda values, *_: values[tuple(chosen)]


def _gather(asked: Asked) -> Callable:
    axis, shape = asked.settings.get("axis", 0), asked.results[0]
    if asked.values[1] is None:
        raise NotDifferentiable("its indices are computed")
    rows = torch.from_numpy(np.ravel(asked.values[1]).astype(np.int64)) % asked.shapes[0][axis]
    return lambda values, _: torch.index_select(values, axis, rows).reshape(shape)


def _padded(asked: Asked) -> Callable:
    if asked.settings.get("mode", b"constant") != b"constant":
        raise NotDifferentiable("it repeats what is at the edge")
    pads, half = asked.needed(1, "pads"), asked.rank
    axes = asked.numbers(3) or list(range(half))
    count = len(axes)
    around = [0] * (2 * half)
    for place, axis in enumerate(axes):
        back = half - 1 - axis % half
        around[2 * back], around[2 * back + 1] = pads[place], pads[place + count]
    filled = asked.values[2] if len(asked.values) > 2 else None
    # Where integers are moved, what is put around is the zero point: a real zero.
    value = 0.0 if filled is None or filled.dtype.kind in "iu" else float(np.ravel(filled)[0])
    return lambda values, *_: F.pad(values, around, value=value)


def _resized(asked: Asked) -> Callable:
    size = list(asked.results[0][2:])
    mode = asked.settings.get("mode", b"nearest").decode()
    places = asked.settings.get("coordinate_transformation_mode", b"half_pixel").decode()
    sides = asked.shapes[0][2:]
    if len(size) != 2 or asked.results[0][:2] != asked.shapes[0][:2]:
        raise NotDifferentiable("it resizes more than height and width")
    if mode == "nearest":
        if any(new % old for new, old in zip(size, sides, strict=True)):
            raise NotDifferentiable("it resizes to the nearest by no whole number")
        return lambda maps, *_: F.interpolate(maps, size)
    if mode != "linear" or places not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        raise NotDifferentiable(f"it resizes by {mode}, {places}")
    aligned = places == "align_corners"
    return lambda maps, *_: F.interpolate(maps, size, mode="bilinear", align_corners=aligned)


def _depth_to_space(asked: Asked) -> Callable:
    block, (_, channels, height, width) = asked.settings["blocksize"], asked.shapes[0]
    shape, deep = asked.results[0], channels // block**2
    if asked.settings.get("mode", b"DCR") == b"CRD":
        apart, order = (1, deep, block, block, height, width), (0, 1, 4, 2, 5, 3)
    else:
        apart, order = (1, block, block, deep, height, width), (0, 3, 4, 1, 5, 2)
    return lambda maps: maps.reshape(apart).permute(*order).reshape(shape)


def _space_to_depth(asked: Asked) -> Callable:
    block, (_, channels, _, _) = asked.settings["blocksize"], asked.shapes[0]
    shape = asked.results[0]
    apart = (1, channels, shape[2], block, shape[3], block)
    return lambda maps: maps.reshape(apart).permute(0, 3, 5, 1, 2, 4).reshape(shape)


def _layer_norm(asked: Asked) -> Callable:
    axis, epsilon = asked.settings.get("axis", -1), asked.settings.get("epsilon", 1e-5)
    shape = asked.shapes[0][axis:]
    return lambda values, weights, bias=None: F.layer_norm(values, shape, weights, bias, epsilon)


def _clip(asked: Asked) -> Callable:
    low, high = asked.settings.get("min"), asked.settings.get("max")

    def run(values, least=low, most=high):
        values = values if least is None else torch.maximum(values, torch.as_tensor(least))
        return values if most is None else torch.minimum(values, torch.as_tensor(most))

    return run


def _along(run: Callable) -> Callable[[Asked], Callable]:
    def made(asked: Asked) -> Callable:
        axis = asked.settings.get("axis", -1)
        return lambda values: run(values, axis)

    return made


def _leaky(asked: Asked) -> Callable:
    slope = asked.settings.get("alpha", 0.01)
    return lambda values: F.leaky_relu(values, slope)


def _hard_sigmoid(asked: Asked) -> Callable:
    alpha, beta = asked.settings.get("alpha", 0.2), asked.settings.get("beta", 0.5)
    return lambda values: torch.clamp(alpha * values + beta, 0, 1)


def _gelu(asked: Asked) -> Callable:
    how = asked.settings.get("approximate", b"none").decode()
    return lambda values: F.gelu(values, approximate=how)


def _expanded(asked: Asked) -> Callable:
    shape = asked.results[0]
    return lambda values, _: values.expand(shape)


def _tiled(asked: Asked) -> Callable:
    times = asked.needed(1)
    return lambda values, _: values.tile(times)


def _cast(asked: Asked) -> Callable:
    if asked.settings["to"] != 1:  # FLOAT
        raise NotDifferentiable("it makes another dtype than float32")
    return lambda values: values.float()


def _several(run: Callable) -> Callable[[Asked], Callable]:
    def together(*values):
        found = values[0]
        for value in values[1:]:
            found = run(found, value)
        return found

    return lambda asked: together


def _same(run: Callable) -> Callable[[Asked], Callable]:
    return lambda asked: run


def _prelu(values, slopes):
    return F.relu(values) - slopes * F.relu(-values)


OPERATORS: dict[str, Callable[[Asked], Callable]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
    "MatMul": _same(torch.matmul),
    **dict.fromkeys(("MaxPool", "AveragePool"), _pool),
    "GlobalAveragePool": _of_whole_map(torch.mean),
    "GlobalMaxPool": _of_whole_map(torch.amax),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"), _reduced),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshaped),
    "Transpose": _transpose,
    "Concat": _concatenated,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _padded,
    "Resize": _resized,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "LayerNormalization": _layer_norm,
    "Clip": _clip,
    "Softmax": _along(torch.softmax),
    "LogSoftmax": _along(torch.log_softmax),
    "LeakyRelu": _leaky,
    "HardSigmoid": _hard_sigmoid,
    "Gelu": _gelu,
    "Expand": _expanded,
    "Tile": _tiled,
    "Cast": _cast,
    "Max": _several(torch.maximum),
    "Min": _several(torch.minimum),
    "Sum": _several(torch.add),
    "Add": _same(torch.add),
    "Sub": _same(torch.sub),
    "Mul": _same(torch.mul),
    "Div": _same(torch.div),
    "Pow": _same(torch.pow),
    "Where": _same(torch.where),
    "Relu": _same(F.relu),
    "PRelu": _same(_prelu),
    "Elu": _same(F.elu),
    "Sigmoid": _same(torch.sigmoid),
    "Tanh": _same(torch.tanh),
    "HardSwish": _same(F.hardswish),
    "Softplus": _same(F.softplus),
    "Mish": _same(F.mish),
    "Erf": _same(torch.erf),
    "Exp": _same(torch.exp),
    "Log": _same(torch.log),
    "Sqrt": _same(torch.sqrt),
    "Reciprocal": _same(torch.reciprocal),
    "Abs": _same(torch.abs),
    "Neg": _same(torch.neg),
    "Identity": _same(lambda values: values),
    "QuantizeLinear": _same(lambda values, *_: values),
    "DequantizeLinear": _same(lambda values, *_: values),
}
