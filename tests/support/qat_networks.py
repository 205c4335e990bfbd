"""A small PyTorch network with every join that matters, trained quantization-aware in seconds.

`prepared()` is what a user's function is: `prepare_qat` of it. Pictures are 16x16 of five classes.
"""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.ao.quantization as quantization
from torch import nn
from torch.ao.nn.quantized import FloatFunctional

CLASSES, SIDE = 5, 16
SHAPE = (1, 3, SIDE, SIDE)
FUSED = [
    ["first.0", "first.1", "first.2"],
    ["depth.0", "depth.1", "depth.2"],
    ["point.0", "point.1"],
]
LAYERS = 5


class Small(nn.Module):
    """conv-bn-relu, a depthwise and a pointwise convolution, a residual sum, a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.first = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        depth = nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False)
        self.depth = nn.Sequential(depth, nn.BatchNorm2d(8), nn.ReLU())
        self.point = nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.add, self.concat = FloatFunctional(), FloatFunctional()
        self.last, self.linear = nn.Conv2d(16, 12, 1), nn.Linear(12, CLASSES)

    def forward(self, picture):
        first = self.first(self.quant(picture))
        both = self.add.add(first, self.point(self.depth(first)))
        last = self.last(self.concat.cat([first, both], 1))
        return self.dequant(self.linear(last.mean((2, 3))))


def prepared(engine: str = "qnnpack", **settings) -> nn.Module:
    """Ready to be trained, in training mode; `settings` are those of `get_default_qat_qconfig`."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = Small().train()
        network.qconfig = quantization.get_default_qat_qconfig(engine, **settings)
        quantization.fuse_modules_qat(network, FUSED, inplace=True)
        return quantization.prepare_qat(network)


def plainly_observed() -> nn.Module:
    """With FakeQuantize in place of the fused observer."""
    return prepared("qnnpack", version=0)


def per_channel() -> nn.Module:
    """The default of x86: a scale for each channel, activations of 7 bits."""
    return prepared("x86")


def unprepared() -> nn.Module:
    return Small()


def failing() -> nn.Module:
    raise RuntimeError("no weights here")


def nothing() -> str:
    return "network"


def pictures(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """float32 (n, h, w, 3) of 0..1, and their classes: where and in which colour it is bright."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    coarse = rng.normal(0.42, 0.09, (count, SIDE // 4, SIDE // 4, 3))
    values = coarse.repeat(4, axis=1).repeat(4, axis=2)  # blocks: noise alone is no picture
    values += rng.normal(0, 0.02, values.shape)
    for picture, label in zip(values, labels, strict=True):
        if label < 3:
            picture[..., label] += 0.12
        else:
            half = SIDE // 2 * (label - 3)
            picture[half : half + SIDE // 2] += 0.2
    return values.clip(0, 1).astype(np.float32), labels


def train(network: nn.Module, steps: int = 160, seed: int = 0) -> nn.Module:
    """Trained, its batch statistics frozen towards the end, in evaluation mode."""
    values, labels = pictures(800, seed)
    given, wanted = torch.from_numpy(values.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels)
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for step in range(steps):
        rows = rng.integers(0, len(labels), 32)
        loss = nn.functional.cross_entropy(network(given[rows]), wanted[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == steps * 3 // 4:
            network.apply(torch.ao.nn.intrinsic.qat.freeze_bn_stats)
            for group in optimizer.param_groups:
                group["lr"] = 5e-4
    network.eval()
    network.apply(quantization.disable_observer)
    return network


@functools.cache
def trained(engine: str = "qnnpack") -> nn.Module:
    """One training of each kind for all tests."""
    torch.set_num_threads(1)
    return train(prepared(engine))


def store_pictures(folder: Path, count: int, seed: int = 11) -> Path:
    """PNG files, a folder for each class."""
    from PIL import Image

    values, labels = pictures(count, seed)
    for number, (picture, label) in enumerate(zip(values, labels, strict=True)):
        place = folder / f"class_{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture * 255).round().astype(np.uint8)).save(place / f"{number}.png")
    return folder


def store(network: nn.Module, path: Path) -> Path:
    torch.save(network.state_dict(), path)
    return path


def scales_of(network: nn.Module) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scales and zero points that training left, by fake-quantization module."""
    return {
        name: (module.scale.numpy().copy(), module.zero_point.numpy().copy())
        for name, module in network.named_modules()
        if isinstance(module, quantization.FakeQuantizeBase)
    }


def outputs(network: nn.Module, values: np.ndarray) -> np.ndarray:
    """Of pictures (n, h, w, 3), in evaluation mode."""
    with torch.no_grad():
        return network(torch.from_numpy(values.transpose(0, 3, 1, 2).copy())).numpy()


def trained_pt2e(network: nn.Module) -> nn.Module:
    torch.set_num_threads(1)
    values, labels = pictures(600)
    given, wanted = torch.from_numpy(values.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    rng = np.random.default_rng(0)
    for _ in range(300):
        rows = rng.integers(0, len(labels), 32)
        loss = nn.functional.cross_entropy(network(given[rows]), wanted[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


class Plain(nn.Module):
    """As a program of `torch.export` has it: nothing in it says where it is quantized."""

    def __init__(self, is_normalized: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1, bias=not is_normalized)
        self.normalized = nn.BatchNorm2d(8) if is_normalized else nn.Identity()
        self.depth = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.linear = nn.Linear(8 * SIDE // 2, CLASSES)

    def forward(self, picture):
        first = torch.relu(self.normalized(self.first(picture)))
        both = first + torch.relu(self.depth(first))
        return self.linear(both.mean(3).flatten(1))


def prepared_pt2e(is_normalized: bool = False) -> nn.Module:
    """PT2E: a program with a free batch, prepared by torchao's quantizer for x86."""
    from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    torch.manual_seed(0)
    free = {0: torch.export.Dim("batch", min=1, max=1024)}
    example = (torch.rand(4, *SHAPE[1:]),)
    program = torch.export.export(
        Plain(is_normalized).train(), example, dynamic_shapes=(free,), strict=True
    )
    quantizer = x86.X86InductorQuantizer()
    config = x86.get_default_x86_inductor_quantization_config(is_qat=True)
    return prepare_qat_pt2e(program.module(), quantizer.set_global(config))


def normalized_pt2e() -> nn.Module:
    """torchao traces a hundred patterns to fold one normalization: half a minute."""
    return prepared_pt2e(is_normalized=True)
