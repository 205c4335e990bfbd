"""What `calibration.py` calibrates: a ResNet-50 of random weights and crops of real pictures.

    python benchmarks/calibration_material.py DIRECTORY SAMPLES

writes DIRECTORY/resnet50.onnx (224x224, batch normalization settled on pictures, exported by
torch's dynamo exporter and prepared as the pipeline prepares it) and DIRECTORY/samples.npy, float32
(SAMPLES, 224, 224, 3) of -1..1.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

SIDE = 224
PICTURES = ("astronaut", "chelsea", "coffee", "rocket")  # those that scikit-image brings along


def write_samples(path: Path, count: int, seed: int = 0) -> None:
    """Random crops, mirrored or not, each of its own brightness."""
    random = np.random.default_rng(seed)
    pictures = _pictures()
    stored = np.lib.format.open_memmap(path, "w+", np.float32, (count, SIDE, SIDE, 3))
    for number in range(count):
        picture = pictures[number % len(pictures)]
        top, left = (random.integers(0, side - SIDE) for side in picture.shape[:2])
        crop = picture[top : top + SIDE, left : left + SIDE]
        crop = crop[:, :: random.choice([-1, 1])]
        stored[number] = np.clip(crop * random.uniform(0.5, 1.3), 0, 255) / 127.5 - 1


def _pictures() -> list[np.ndarray]:
    from skimage import data

    return [getattr(data, name)()[..., :3] for name in PICTURES]


def write_model(path: Path, pictures: np.ndarray, seed: int = 0) -> None:
    """`pictures` are float32 (n, 3, h, w), those that settle batch normalization."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    from int8gate.quantizers.toolchains.onnx.prepare import prepare

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    network = ResNetForImageClassification(ResNetConfig())  # its defaults are ResNet-50
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for layer in layers:
        layer.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.from_numpy(pictures))
    exported = path.with_name("exported.onnx")
    example = (torch.zeros(1, 3, SIDE, SIDE),)
    torch.onnx.export(
        _logits_of(network.eval()), example, str(exported), dynamo=True, external_data=False
    )
    prepare(exported, path)
    exported.unlink()


def _logits_of(network):
    import torch

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pictures):
            return self.network(pictures).logits

    return Logits().eval()


def main(directory: str, count: str) -> None:
    samples, model = Path(directory, "samples.npy"), Path(directory, "resnet50.onnx")
    write_samples(samples, int(count))
    few = np.load(samples, mmap_mode="r")[:8].transpose(0, 3, 1, 2)
    write_model(model, np.ascontiguousarray(few))


if __name__ == "__main__":
    main(*sys.argv[1:])
