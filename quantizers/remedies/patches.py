"""What a layer multiplies its weights with: patches of its input, as rows of a matrix.

A layer's result before its activation is linear in its weights: of the patch around a place it is
``weights @ patch + bias``. So the mean of a convolution's output is that of the mean patch, and its
error for other weights a quadratic form of them, both without running the network again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from int8gate.quantizers.remedies.float_network import DENSE, TRANSPOSED, Network, WeightedLayer

_SIDES = {"strides": ("strideH", "strideW"), "dilations": ("dilationHFactor", "dilationWFactor")}
_TFLITE_SAME = 0


@dataclass(frozen=True, eq=False)
class Patches:
    """Where a layer's patches lie in its input.

    `places` has for each spatial side the index (output places, kernel) of the input that a tap of
    the kernel reads, -1 for padding; () for matrix products.
    """

    layer: WeightedLayer
    channel_axis: int
    places: tuple[np.ndarray, ...]

    @cached_property
    def form(self) -> tuple:
        """Equal for patches that are alike but for the weights they meet."""
        layer = self.layer
        return layer.groups, layer.inputs, tuple(place.tobytes() for place in self.places)

    @cached_property
    def _masks(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(np.maximum(place, 0), place >= 0) for place in self.places]

    def means(self, values: np.ndarray) -> np.ndarray:
        """The mean patch of an input tensor, float64 (groups, inputs of a group * kernel)."""
        layer = self.layer
        found = self._channels_first(values).astype(np.float64)
        if not self.places:
            return found.reshape(-1, layer.inputs).mean(axis=0)[None]
        for place in self.places:  # each turns the side in front into a kernel's side at the end
            outputs, kernel = place.shape
            side = found.shape[1]
            share = np.zeros((side, kernel))
            for tap in range(kernel):
                np.add.at(share[:, tap], place[place[:, tap] >= 0, tap], 1 / outputs)
            found = np.tensordot(found, share, (1, 0))
        return found.reshape(layer.groups, -1)

    def rows(self, values: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
        """At most so many patches, drawn at random: float32 (groups, n, inputs * kernel)."""
        layer = self.layer
        found = self._channels_first(values)
        if not self.places:
            flat = found.reshape(-1, layer.inputs)
            return flat[_drawn(len(flat), most, random)][None].astype(np.float32)
        sides = [len(place) for place in self.places]
        chosen = np.unravel_index(_drawn(math.prod(sides), most, random), sides)
        count, rank = len(chosen[0]), len(sides)
        picked: list = [slice(None)]
        is_inside = np.ones((1, count, *[1] * rank), bool)
        for axis, (at, (index, inside)) in enumerate(zip(chosen, self._masks, strict=True)):
            shape = [count, *[1] * rank]
            shape[1 + axis] = -1
            picked.append(index[at].reshape(shape))
            is_inside = is_inside & inside[at].reshape(1, *shape)
        taken = np.where(is_inside, found[tuple(picked)], 0)  # (channels, n, *kernel)
        taken = taken.reshape(layer.groups, -1, *taken.shape[1:])
        return np.ascontiguousarray(np.moveaxis(taken, 2, 1), np.float32).reshape(
            layer.groups, count, -1
        )

    def _channels_first(self, values: np.ndarray) -> np.ndarray:
        """Without the batch, (channels, *sides); a matrix product's input with its columns last."""
        if not self.places:
            return values
        if values.shape[0] != 1:
            raise ValueError(f"layer {self.layer.name} reads a batch of {values.shape[0]}, not 1")
        return np.moveaxis(values[0], self.channel_axis - 1, 0)


def patches_of(network: Network, layer: WeightedLayer) -> Patches | None:
    """Where a layer's patches lie; None where that is not known here.

    So it is without shapes, with a batch within the network, and of paddings that an ONNX file
    leaves to the runtime.
    """
    if layer.kind == DENSE:
        return Patches(layer, network.channel_axis, ())
    settings = layer.product.settings
    given, made = network.shape(layer.input), network.shape(layer.product.output)
    rank = layer.weights.ndim - 2
    if len(given) != rank + 2 or len(made) != rank + 2 or given[0] != 1 or 0 in (*given, *made):
        return None
    axis = network.channel_axis if rank == 2 else 1
    inputs, outputs = (
        [side for at, side in enumerate(shape) if at not in (0, axis)] for shape in (given, made)
    )
    kernel = layer.weights.shape[2:]
    strides, dilations = (
        list(settings[key]) if key in settings else [settings.get(name, 1) for name in names[:rank]]
        for key, names in _SIDES.items()
    )
    strides, dilations = (
        [side or 1 for side in sides] + [1] * (rank - len(sides)) for sides in (strides, dilations)
    )
    begins = _begins(layer, inputs, outputs, strides, dilations)
    if begins is None:
        return None
    is_turned = layer.kind == TRANSPOSED
    find = _transposed_places if is_turned else _places
    places = tuple(
        find(*sides)
        for sides in zip(inputs, outputs, kernel, strides, dilations, begins, strict=True)
    )
    return Patches(layer, axis, places)


def _begins(layer: WeightedLayer, inputs, outputs, strides, dilations) -> list[int] | None:
    """The padding in front of each side."""
    settings, kernel = layer.product.settings, layer.weights.shape[2:]
    if settings.get("auto_pad", b"NOTSET") not in (b"NOTSET", "NOTSET", b"VALID", "VALID"):
        return None
    if "padding" not in settings:
        pads = settings.get("pads")
        return [0] * len(kernel) if pads is None else list(pads[: len(kernel)])
    if settings["padding"] != _TFLITE_SAME:
        return [0] * len(kernel)
    if layer.kind == TRANSPOSED:  # that of the convolution which it is the reverse of
        inputs, outputs = outputs, inputs
    return [
        max((made - 1) * stride + dilation * (taps - 1) + 1 - given, 0) // 2
        for given, made, taps, stride, dilation in zip(
            inputs, outputs, kernel, strides, dilations, strict=True
        )
    ]


def _places(given: int, made: int, taps: int, stride: int, dilation: int, begin: int) -> np.ndarray:
    at = np.arange(made)[:, None] * stride + np.arange(taps) * dilation - begin
    return np.where((at >= 0) & (at < given), at, -1)


def _transposed_places(
    given: int, made: int, taps: int, stride: int, dilation: int, begin: int
) -> np.ndarray:
    """An input at q reaches the outputs q * stride + tap * dilation - begin."""
    at = np.arange(made)[:, None] + begin - np.arange(taps) * dilation
    return np.where((at >= 0) & (at % stride == 0) & (at < given * stride), at // stride, -1)


def _drawn(count: int, most: int, random: np.random.Generator) -> np.ndarray:
    if count <= most:
        return np.arange(count)
    return np.sort(random.choice(count, most, replace=False))
