"""DeepLabV3+ over MobileNet v2 (Chen et al., "Encoder-Decoder with Atrous Separable Convolution for
Semantic Image Segmentation", 2018; Sandler et al., "MobileNetV2", 2018).

The backbone is that of Hugging Face transformers. Its own head of this name has neither the atrous
convolutions nor the decoder (as in the checkpoints of MobileNet v2, trained without them), so the
pyramid and the decoder stand here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import MobileNetV2Config, MobileNetV2Model

STRIDE, LOW_LEVEL_STRIDE = 16, 4
LOW_LEVEL_BLOCK = 1  # of the backbone's hidden states, the last one at stride 4
RATES = (6, 12, 18)  # of the paper, at stride 16
RATED_SIDE = 513  # the input that those are for
LOW_LEVEL_WIDTH = 48
NORMALIZATION_MOMENTUM = 0.1  # the library's 0.997 keeps the last batch and nothing else


def atrous_rates(side: int) -> tuple[int, ...]:
    """The paper's rates for an input of `side` pixels: in proportion, at least 1 apart."""
    scale = min(1.0, side / RATED_SIDE)
    rates: list[int] = []
    for rate in RATES:
        rates.append(max(round(rate * scale), rates[-1] + 1 if rates else 1))
    return tuple(rates)


def _unit(
    channels: int, width: int, kernel: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution that keeps height and width, batch normalization, ReLU."""
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(
        channels, width, kernel, padding=padding, dilation=dilation, groups=groups, bias=False
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


def _separable(channels: int, width: int, dilation: int = 1) -> nn.Sequential:
    """A depthwise 3x3 convolution, then a pointwise one."""
    return nn.Sequential(_unit(channels, channels, 3, dilation, channels), _unit(channels, width))


def upsample(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear, doubling by doubling: of larger steps Ethos-U55 and U65 do none (corners apart)."""
    while tuple(maps.shape[-2:]) != tuple(size):
        sides = zip(maps.shape[-2:], size, strict=True)
        is_doubled = all(1 < side <= wanted // 2 for side, wanted in sides)
        step = [2 * side for side in maps.shape[-2:]] if is_doubled else size
        maps = nn.functional.interpolate(maps, size=step, mode="bilinear", align_corners=False)
    return maps


class AtrousPyramid(nn.Module):
    """Maps (n, channels, h, w) to (n, width, h, w), seen at several rates and as a whole.

    `size` (h, w) is fixed: the picture's mean is an average pool of that size, because a reduction
    over the axes is an operator that integer accelerators leave to the CPU.
    """

    def __init__(self, channels: int, width: int, size: tuple[int, int], rates: tuple[int, ...]):
        super().__init__()
        self.size = size
        branches = [_separable(channels, width, rate) for rate in rates]
        self.branches = nn.ModuleList([_unit(channels, width), *branches])
        self.pool = nn.AvgPool2d(size)
        self.pooled = _unit(channels, width)
        self.projection = _unit((len(self.branches) + 1) * width, width)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        whole = upsample(self.pooled(self.pool(maps)), self.size)
        return self.projection(torch.cat([*(seen(maps) for seen in self.branches), whole], dim=1))


class DeepLabV3Plus(nn.Module):
    """Float32 (n, channels, h, w) to logits (n, h, w, classes), for one fixed input size."""

    def __init__(
        self,
        backbone: MobileNetV2Model,
        size: tuple[int, int],
        classes: int,
        width: int,
        rates: tuple[int, ...],
    ):
        super().__init__()
        self.size = size
        self.low_level_size, coarse_size = (
            tuple(-(-side // stride) for side in size) for stride in (LOW_LEVEL_STRIDE, STRIDE)
        )
        self.backbone = backbone
        parts: Any = backbone  # annotated as tensors
        channels, low_level_channels = (
            parts.layer[block].reduce_1x1.convolution.out_channels
            for block in (-1, LOW_LEVEL_BLOCK)
        )
        parts.conv_1x1 = nn.Identity()  # widens for classification, which nothing here reads
        low_level_width = min(LOW_LEVEL_WIDTH, width)
        self.pyramid = AtrousPyramid(channels, width, coarse_size, rates)
        self.low_level = _unit(low_level_channels, low_level_width)
        self.decoder = nn.Sequential(
            _separable(width + low_level_width, width), _separable(width, width)
        )
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        states = self.backbone(pixels, output_hidden_states=True).hidden_states
        coarse = upsample(self.pyramid(states[-1]), self.low_level_size)
        fine = self.low_level(states[LOW_LEVEL_BLOCK])
        logits = self.classifier(self.decoder(torch.cat([coarse, fine], dim=1)))
        return upsample(logits, self.size).permute(0, 2, 3, 1)


def deeplabv3plus(
    input_shape: tuple[int, int, int],
    classes: int,
    backbone_width: float = 1.0,
    width: int = 256,
) -> DeepLabV3Plus:
    """DeepLabV3+ at output stride 16; the defaults are the paper's widths with MobileNet v2.

    `backbone_width` multiplies the backbone's channels, `width` is that of pyramid and decoder.
    """
    height, breadth, channels = input_shape
    config = MobileNetV2Config(
        num_channels=channels,
        depth_multiplier=backbone_width,
        output_stride=STRIDE,
        tf_padding=False,
    )
    backbone = MobileNetV2Model(config, add_pooling_layer=False)
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = NORMALIZATION_MOMENTUM
    rates = atrous_rates(min(height, breadth))
    return DeepLabV3Plus(backbone, (height, breadth), classes, width, rates)
