"""CenterNet for detection, `ctdet` (Zhou et al., "Objects as Points", 2019), on a ResNet-18.

The backbone's map at stride 32 comes up to stride 4 in three steps: a 3x3 convolution, twice the
size by repetition, and the backbone's own map of that size added, as in the paper's DLA variant
(its transposed convolutions stay float in integer runtimes). Three outputs stay apart, since their
ranges differ: class logits of centres, sizes, offsets.
"""

from __future__ import annotations

import math

import torch
from torch import nn

STRIDE = 4  # of the outputs
STAGES = (64, 128, 256, 512)  # channels of ResNet-18
NECK = (256, 128, 64)  # channels at strides 16, 8 and 4
HEAD = 64
PRIOR = 0.1  # probability of a centre that training begins with
MULTIPLE = 8  # of channels: what integer kernels like


def centernet(input_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> CenterNet:
    """The network for images (h, w, channels), h and w multiples of 32; `width` scales channels."""
    height, columns, channels = input_shape
    if height % 32 or columns % 32:
        raise ValueError(f"centernet: input {height}x{columns}: sides must be multiples of 32")
    return CenterNet(channels, classes, width)


class CenterNet(nn.Module):
    """Takes float32 (n, channels, h, w) in -1..1; gives maps at stride 4, channels last.

    Heat logits (n, h/4, w/4, classes); sizes (..., 2), height and width in cells of the map;
    offsets (..., 2), y and x of the centre from its cell's corner, in cells.
    """

    def __init__(self, channels: int, classes: int, width: float = 1.0):
        super().__init__()

        def scaled(count: int) -> int:
            return max(MULTIPLE, MULTIPLE * round(count * width / MULTIPLE))

        stages, neck, hidden = [*map(scaled, STAGES)], [*map(scaled, NECK)], scaled(HEAD)
        # Behind a ReLU, zeros pad as minus infinity would, and need no range of their own.
        self.stem = nn.Sequential(
            *_normalized(channels, stages[0], 7, 2), nn.ReLU(), nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)
        )
        self.stages = nn.ModuleList()
        for number, count in enumerate(stages):
            before, stride = (stages[number - 1], 2) if number else (stages[0], 1)
            self.stages.append(nn.Sequential(Block(before, count, stride), Block(count, count)))
        deeper = [stages[-1], *neck]
        self.reductions = nn.ModuleList(
            nn.Sequential(*_normalized(before, count, 3), nn.ReLU())
            for before, count in zip(deeper, neck, strict=False)
        )
        self.laterals = nn.ModuleList(
            nn.Sequential(*_normalized(count, into, 1))
            for count, into in zip(reversed(stages[:-1]), neck, strict=True)
        )
        self.heat, self.size, self.offset = (
            nn.Sequential(
                nn.Conv2d(neck[-1], hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, values, 1)
            )
            for values in (classes, 2, 2)
        )
        nn.init.constant_(self.heat[-1].bias, -math.log(1 / PRIOR - 1))

    def forward(self, image):
        x, maps = self.stem(image), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        for reduce, lateral, own in zip(
            self.reductions, self.laterals, reversed(maps[:-1]), strict=True
        ):
            x = nn.functional.interpolate(reduce(x), scale_factor=2.0, mode="nearest")
            x = torch.relu(x + lateral(own))
        return tuple(head(x).permute(0, 2, 3, 1) for head in (self.heat, self.size, self.offset))


class Block(nn.Module):
    """ResNet's basic block: two 3x3 convolutions and a shortcut."""

    def __init__(self, before: int, count: int, stride: int = 1):
        super().__init__()
        self.residual = nn.Sequential(
            *_normalized(before, count, 3, stride), nn.ReLU(), *_normalized(count, count, 3)
        )
        is_same = stride == 1 and before == count
        self.shortcut = (
            nn.Identity() if is_same else nn.Sequential(*_normalized(before, count, 1, stride))
        )

    def forward(self, x):
        return torch.relu(self.residual(x) + self.shortcut(x))


def _normalized(before: int, count: int, size: int, stride: int = 1) -> tuple:
    """A convolution and its batch normalization."""
    convolution = nn.Conv2d(before, count, size, stride, size // 2, bias=False)
    return convolution, nn.BatchNorm2d(count)
