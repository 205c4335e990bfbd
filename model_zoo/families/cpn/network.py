"""CPN: Chen et al., "Cascaded Pyramid Network for Multi-Person Pose Estimation", 2018.

arXiv:1711.07319. A ResNet gives maps at 1/4, 1/8, 1/16 and 1/32 of the input. GlobalNet, a feature
pyramid (Lin et al. 2017) with a 1x1 convolution before each sum, predicts heatmaps at every level;
RefineNet takes all levels, the coarser ones through more bottlenecks, up to 1/4, and predicts them
once more. The heatmaps of GlobalNet exist for their loss alone: in eval mode they are not computed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

LEVELS = 4  # finest first
EXPANSION = 2  # of RefineNet's bottlenecks
RESNET50 = {"embedding_size": 64, "hidden_sizes": (256, 512, 1024, 2048), "depths": (3, 4, 6, 3)}


def cpn(
    input_shape: tuple,
    classes: int,
    features: int = 256,
    embedding_size: int = RESNET50["embedding_size"],
    hidden_sizes: tuple[int, ...] = RESNET50["hidden_sizes"],
    depths: tuple[int, ...] = RESNET50["depths"],
) -> CascadedPyramid:
    """A network from pictures (n, channels, h, w), multiples of 32, to heatmaps of `classes`.

    `features` is the width of both pyramids; the rest describes the ResNet (transformers).
    """
    from transformers import ResNetBackbone, ResNetConfig

    config = ResNetConfig(
        num_channels=input_shape[-1],
        embedding_size=embedding_size,
        hidden_sizes=list(hidden_sizes),
        depths=list(depths),
        out_features=[f"stage{level + 1}" for level in range(LEVELS)],
    )
    backbone = ResNetBackbone(config)
    # Behind a ReLU zeros pad as well as the library's minus infinity, which has no INT8 scale.
    embedder: Any = backbone.embedder  # annotated with the pooling that is replaced
    embedder.pooler = nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, stride=2))
    return CascadedPyramid(backbone, hidden_sizes, features, classes)


class CascadedPyramid(nn.Module):
    """Backbone, GlobalNet and RefineNet.

    In eval mode the refined heatmaps (n, h/4, w/4, keypoints); in training mode a tuple of these
    and of GlobalNet's, finest level first, all of that shape.
    """

    def __init__(self, backbone: nn.Module, widths: tuple[int, ...], features: int, keypoints: int):
        super().__init__()
        self.backbone = backbone
        self.global_net = GlobalNet(widths, features, keypoints)
        self.refine_net = RefineNet(features, keypoints)

    def forward(self, pixels: torch.Tensor):
        levels = self.global_net(self.backbone(pixels).feature_maps)
        refined = _channels_last(self.refine_net(levels))
        if not self.training:
            return refined
        size = levels[0].shape[-2:]
        coarse = (
            functional.interpolate(m, size, mode="bilinear")
            for m in self.global_net.heatmaps(levels)
        )
        return refined, *map(_channels_last, coarse)


class GlobalNet(nn.Module):
    """The feature pyramid, and what predicts heatmaps from each of its levels."""

    def __init__(self, widths: tuple[int, ...], features: int, keypoints: int):
        super().__init__()
        self.laterals = nn.ModuleList(_convolution(width, features, 1) for width in widths)
        self.descents = nn.ModuleList(
            _convolution(features, features, 1, activated=False) for _ in widths[1:]
        )
        self.heads = nn.ModuleList(
            nn.Sequential(
                _convolution(features, features, 1), nn.Conv2d(features, keypoints, 3, padding=1)
            )
            for _ in widths
        )

    def forward(self, maps: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """The backbone's maps, finest first, to levels of `features` channels each."""
        *finer, coarsest = (lateral(m) for lateral, m in zip(self.laterals, maps, strict=True))
        levels = [coarsest]
        for lateral, descent in zip(reversed(finer), reversed(self.descents), strict=True):
            levels.insert(0, lateral + descent(_enlarged(levels[0], 2)))
        return levels

    def heatmaps(self, levels: list[torch.Tensor]) -> list[torch.Tensor]:
        """(n, keypoints, h', w') of each level, at its own size."""
        return [head(level) for head, level in zip(self.heads, levels, strict=True)]


class RefineNet(nn.Module):
    """Every level through as many bottlenecks as it is steps coarse, enlarged and put together."""

    def __init__(self, features: int, keypoints: int):
        super().__init__()
        self.cascades = nn.ModuleList(
            nn.Sequential(*(Bottleneck(features, features) for _ in range(steps)))
            for steps in range(LEVELS)
        )
        self.head = nn.Sequential(
            Bottleneck(LEVELS * features, features), nn.Conv2d(features, keypoints, 3, padding=1)
        )

    def forward(self, levels: list[torch.Tensor]) -> torch.Tensor:
        refined = [cascade(level) for cascade, level in zip(self.cascades, levels, strict=True)]
        enlarged = [_enlarged(level, 2**steps) for steps, level in enumerate(refined)]
        return self.head(torch.cat(enlarged, dim=1))


class Bottleneck(nn.Module):
    """ResNet's (He et al. 2015): 1x1, 3x3, 1x1, and the input added, projected where it differs."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        inner = outputs // EXPANSION
        self.inner = nn.Sequential(
            _convolution(inputs, inner, 1),
            _convolution(inner, inner, 3),
            _convolution(inner, outputs, 1, activated=False),
        )
        same = inputs == outputs
        self.shortcut = nn.Identity() if same else _convolution(inputs, outputs, 1, activated=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.inner(x) + self.shortcut(x))


def _convolution(inputs: int, outputs: int, side: int, activated: bool = True) -> nn.Sequential:
    layers = [
        nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *[nn.ReLU()] * activated)


def _enlarged(maps: torch.Tensor, factor: int) -> torch.Tensor:
    """By repeating: bilinear enlargement is no integer operator on every NPU, this is."""
    return (
        maps if factor == 1 else functional.interpolate(maps, scale_factor=factor, mode="nearest")
    )


def _channels_last(maps: torch.Tensor) -> torch.Tensor:
    return maps.permute(0, 2, 3, 1)
