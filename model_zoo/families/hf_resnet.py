"""ResNet of Hugging Face transformers (He et al., "Deep Residual Learning", 2015), in the form that
PyTorch's users have: a bottleneck's stride stands in its 3x3 convolution ("v1.5").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification

STRIDE = 32
# ImageNet's mean and standard deviation of red, green and blue, of values 0..1.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PixelResNet(nn.Module):
    """Float32 pixels 0..255 (n, 3, h, w) to logits (n, classes), for one fixed input size.

    Its tensors have the names that they have in the library's checkpoints.
    """

    def __init__(self, network: ResNetForImageClassification, size: tuple[int, int]):
        super().__init__()
        self.resnet, self.classifier = network.resnet, network.classifier
        # The mean over the axes is an operator that integer runtimes leave to float or to the CPU.
        resnet: Any = self.resnet  # annotated with the pooling that is replaced
        resnet.pooler = nn.AvgPool2d(tuple(-(-side // STRIDE) for side in size))
        # One scale and one zero point cannot express a mean of each channel: a depthwise
        # convolution can, with a scale of each channel and an exact bias.
        mean, std = torch.tensor(MEAN), torch.tensor(STD)
        slope = (1 / (255 * std)).reshape(3, 1, 1, 1)
        self.register_buffer("slope", slope, persistent=False)
        self.register_buffer("offset", -mean / std, persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        normalized = nn.functional.conv2d(pixels, self.slope, self.offset, groups=3)
        return self.classifier(self.resnet(normalized).pooler_output)


def resnet(
    input_shape: tuple[int, int, int],
    classes: int,
    weights: str | None = None,
    depths: Sequence[int] = (3, 4, 6, 3),
    embedding: int = 64,
    widths: Sequence[int] = (256, 512, 1024, 2048),
) -> PixelResNet:
    """A ResNet of bottlenecks for RGB pictures; the defaults are ResNet-50.

    `embedding` is the width of the stem, `widths` those of the four stages. `weights` names a
    Hugging Face checkpoint, whose own configuration then counts. Raises OSError when it cannot be
    fetched.
    """
    *size, channels = input_shape
    if weights is not None:
        network = ResNetForImageClassification.from_pretrained(weights, num_labels=classes)
        return PixelResNet(network, size)
    config = ResNetConfig(
        num_channels=channels,
        num_labels=classes,
        depths=list(depths),
        embedding_size=embedding,
        hidden_sizes=list(widths),
    )
    return PixelResNet(ResNetForImageClassification(config), size)
