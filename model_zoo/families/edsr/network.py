"""EDSR: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", 2017.

arXiv:1707.02921, the baseline enlarging by two: residual blocks without normalization between a
convolution before and one after, around them all a skip; a convolution to four times the features,
pixel shuffle (Shi et al. 2016), and a convolution to RGB. Tensors are named, and pixels are
0..255, as in the authors' code.

`picture_skip` adds the picture itself, each pixel repeated: see `model_zoo/super_resolution.py`
for why.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

SCALE = 2
CHANNELS = 3
MEAN = (0.4488, 0.4371, 0.4040)  # of RGB in DIV2K, of 0..1


def edsr(
    input_shape: tuple,
    blocks: int = 16,
    features: int = 64,
    residual_scale: float = 1.0,
    unit: float = 1.0,
    picture_skip: bool = False,
    noise: float = 0.0,
) -> EDSR:
    """A network from RGB (n, 3, h, w) to RGB (n, 2h, 2w, 3), grey levels 0..255.

    `residual_scale` is what each block's result is multiplied by (0.1 in the paper's largest
    network, 1 in its baseline). `unit` is how many grey levels are 1 inside. `noise`: how many
    steps of 8 bits the activations are blurred by in training.
    """
    return EDSR(blocks, features, residual_scale, unit, picture_skip, noise)


class EDSR(nn.Module):
    """The network; its modules are named as the authors name them."""

    def __init__(
        self,
        blocks: int,
        features: int,
        residual_scale: float,
        unit: float,
        picture_skip: bool,
        noise: float,
    ):
        super().__init__()
        self.picture_skip = picture_skip
        mean = 255 * torch.tensor(MEAN)
        self.sub_mean = _fixed(1 / unit, -mean / unit)
        self.head = nn.Sequential(_convolution(CHANNELS, features))
        self.body = nn.Sequential(
            *(ResidualBlock(features, residual_scale, noise) for _ in range(blocks)),
            _convolution(features, features),
        )
        enlarged = nn.Sequential(_convolution(features, SCALE**2 * features), PixelShuffle())
        self.tail = nn.Sequential(enlarged, _convolution(features, CHANNELS))
        self.add_mean = _fixed(unit, 0 * mean if picture_skip else mean)
        self.blur = Steps(noise)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = self.blur(self.head(self.sub_mean(pixels)))
        restored = self.add_mean(self.tail(self.blur(x + self.blur(self.body(x)))))
        if self.picture_skip:
            restored = restored + functional.interpolate(pixels, scale_factor=SCALE, mode="nearest")
        return restored.permute(0, 2, 3, 1)


class ResidualBlock(nn.Module):
    """Convolution, ReLU, convolution, and the input added."""

    def __init__(self, features: int, scale: float, noise: float):
        super().__init__()
        self.scale = scale
        self.body = nn.Sequential(
            _convolution(features, features), nn.ReLU(), _convolution(features, features)
        )
        self.blur = Steps(noise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, activation, second = self.body
        added = self.blur(second(self.blur(activation(first(x)))))
        return self.blur(x + (added if self.scale == 1 else added * self.scale))


class PixelShuffle(nn.Module):
    """PyTorch's, by two, channels last.

    LiteRT's converter makes four transpositions of PyTorch's own: with a convolution of 16 features
    on either side of 32x32 pixels, 1.9 million cycles of an Ethos-U85 (Vela), of this 0.6 million.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, channels, height, width = x.shape
        features = channels // SCALE**2
        squares = x.permute(0, 2, 3, 1).reshape(n, height, width, features, SCALE, SCALE)
        rows = squares.permute(0, 1, 4, 2, 5, 3)  # n, height, 2, width, 2, features
        large = rows.reshape(n, SCALE * height, SCALE * width, features)
        return large.permute(0, 3, 1, 2)


class Steps(nn.Module):
    """In training, uniform noise as wide as `steps` of 8-bit quantization of the tensor's range.

    Pseudo-quantization noise (Defossez et al. 2021, arXiv:2104.09987), as in `fsrcnn.py`. The
    gradient goes through the range too, so that training also draws outliers in.
    """

    def __init__(self, steps: float):
        super().__init__()
        self.steps = steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.training and self.steps):
            return x
        step = (x.max() - x.min()) / 255
        return x + self.steps * step * (torch.rand_like(x) - 0.5)


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _fixed(factor: float, shift: torch.Tensor) -> nn.Conv2d:
    """`factor` times each channel plus `shift`, as the authors write it: not trained."""
    layer = nn.Conv2d(CHANNELS, CHANNELS, 1)
    layer.weight.data = factor * torch.eye(CHANNELS)[:, :, None, None]
    assert layer.bias is not None
    layer.bias.data = shift.clone()
    return layer.requires_grad_(False)
