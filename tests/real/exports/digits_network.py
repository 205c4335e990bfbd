"""scikit-learn's 1,797 handwritten digits, and a small network for them, for every tool alike.

The scripts beside this one (`write_TOOL.py`) import it in environments of their own, without our
code: NumPy, scikit-learn and PyTorch are all that it needs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

SIDE = 16
SHAPE = (1, 1, SIDE, SIDE)
TRAINED = 1000  # of the digits, in a random order: these train and calibrate, the rest is scored


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """float32 (1797, 1, 16, 16) in 0..1, and labels (1797,) int64, in a random order."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels / 16).reshape(-1, 1, SIDE // 2, SIDE // 2).astype(np.float32)
    pixels = pixels.repeat(2, axis=2).repeat(2, axis=3)
    order = np.random.default_rng(0).permutation(len(labels))
    return pixels[order], labels[order].astype(np.int64)


def for_training() -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = digits()
    return pixels[:TRAINED], labels[:TRAINED]


def for_evaluation() -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = digits()
    return pixels[TRAINED:], labels[TRAINED:]


def train(network, epochs: int = 5, rate: float = 5e-3):
    """A PyTorch network, trained in seconds; it is left in evaluation mode."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(1)
    pixels, labels = map(torch.from_numpy, for_training())
    optimizer = torch.optim.Adam(network.parameters(), rate)
    steps = epochs * (len(labels) // 50)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=order).split(50):
            loss = cross_entropy(network(pixels[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval() if hasattr(network, "eval") else network


def digits_network(wrapped: bool = False):
    """A convolution with normalization and ReLU, a depthwise one with ReLU6, a residual sum, a
    concatenation, an average pooling and a linear layer. `wrapped`: with the stubs and functional
    modules that PyTorch's eager quantization wants.
    """
    import torch
    from torch import nn
    from torch.ao.nn.quantized import FloatFunctional

    def normalized(given: int, made: int, size: int, stride: int, groups: int = 1) -> list:
        shape = {"stride": stride, "padding": size // 2, "groups": groups, "bias": False}
        return [nn.Conv2d(given, made, size, **shape), nn.BatchNorm2d(made)]

    class Digits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(*normalized(1, 16, 3, 1), nn.ReLU())
            relu6 = nn.ReLU() if wrapped else nn.ReLU6()  # eager mode fuses no ReLU6
            self.depth = nn.Sequential(*normalized(16, 16, 3, 2, 16), relu6)
            self.point = nn.Sequential(*normalized(16, 16, 1, 1))
            self.side = nn.Sequential(*normalized(16, 16, 3, 2))
            self.relu = nn.ReLU()
            self.last = nn.Sequential(nn.Conv2d(32, 24, 3, 1, 1), nn.ReLU())
            self.pool = nn.AvgPool2d(2)
            self.linear = nn.Linear(24 * 16, 10)
            if wrapped:
                self.quant = torch.ao.quantization.QuantStub()
                self.dequant = torch.ao.quantization.DeQuantStub()
                self.add, self.concat = FloatFunctional(), FloatFunctional()

        def forward(self, digit):
            digit = self.quant(digit) if wrapped else digit
            first = self.first(digit)
            deep = self.depth(first)
            one, other = self.point(deep), self.side(first)
            total = self.relu(self.add.add(one, other) if wrapped else one + other)
            both = [total, deep]
            both = self.concat.cat(both, 1) if wrapped else torch.cat(both, 1)
            scores = self.linear(torch.flatten(self.pool(self.last(both)), 1))
            return self.dequant(scores) if wrapped else scores

    torch.manual_seed(0)
    return Digits()


def float_file(folder: Path, dynamo: bool = False, opset: int = 17) -> Path:
    """The trained float network as an ONNX file."""
    target = folder / "float.onnx"
    export(train(digits_network()), target, dynamo=dynamo, opset_version=opset)
    return target


def export(network, target: Path, **settings) -> None:
    """`torch.onnx.export`, of one picture."""
    import torch

    settings = {"dynamo": False, "verbose": False} | settings
    if settings["dynamo"]:
        settings["external_data"] = False
    with torch.no_grad():
        torch.onnx.export(
            network,
            (torch.zeros(SHAPE),),
            str(target),
            input_names=["digit"],
            output_names=["scores"],
            **settings,
        )


def feeds(count: int = 200) -> list[dict[str, np.ndarray]]:
    """Samples for a calibration by ONNX Runtime."""
    return [{"digit": pixels[None]} for pixels in for_training()[0][:count]]


def main(settings: dict[str, Callable[[Path], None]]) -> None:
    """`python write_TOOL.py SETTING FILE` writes the file of a setting."""
    name, target = sys.argv[1:]
    settings[name](Path(target))
