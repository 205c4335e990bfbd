"""The tiny classifier of `tiny_zoo` in PyTorch, with the same weights, and as an ONNX file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import tiny_zoo

from int8gate.model_zoo.spec import TORCH_RECIPES

TORCH = replace(
    tiny_zoo.declare("tiny", "tiny_torch:build"), source_format="pytorch", recipes=TORCH_RECIPES
)
ONNX = replace(TORCH, source_format="onnx", source="tiny_torch:write_onnx")


def build(input_shape, classes):
    """Float32 (n, 3, h, w) to logits (n, classes)."""
    import torch
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            sizes = zip((3, *tiny_zoo.FILTERS), tiny_zoo.FILTERS, strict=False)
            self.convolutions = nn.ModuleList([nn.Conv2d(*size, 3, 2) for size in sizes])
            height, width, _ = input_shape
            self.dense = nn.Linear(height // 4 * (width // 4) * tiny_zoo.FILTERS[-1], classes)

        def forward(self, image):
            for convolution in self.convolutions:
                image = torch.relu(convolution(nn.functional.pad(image, (0, 1, 0, 1))))
            return self.dense(image.permute(0, 2, 3, 1).flatten(1))

    return Tiny()


def store_weights(directory: Path) -> Path:
    """`directory` as `--weights-dir` takes it."""
    from safetensors.numpy import save_file

    fitted = tiny_zoo.fit()
    weights = {"dense.weight": fitted["dense/kernel"].T, "dense.bias": fitted["dense/bias"]}
    for number in range(len(tiny_zoo.FILTERS)):
        kernel = fitted[f"conv{number}/kernel"].transpose(3, 2, 0, 1)
        weights[f"convolutions.{number}.weight"] = kernel
        weights[f"convolutions.{number}.bias"] = fitted[f"conv{number}/bias"]
    directory.mkdir(parents=True, exist_ok=True)
    contiguous = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    save_file(contiguous, directory / "tiny.safetensors")
    return directory


def write_onnx(network, declared, directory: Path) -> Path:
    """The ONNX file with a batch of any size and sides that nobody wrote down."""
    import onnx
    import torch

    path = directory / "source.onnx"
    sample = torch.zeros(1, 3, *declared.size)
    torch.onnx.export(network, (sample,), path, dynamo=True, external_data=False, verbose=False)
    model = onnx.load(path)
    for side, name in enumerate(("batch", None, "height", "width")):
        if name:
            model.graph.input[0].type.tensor_type.shape.dim[side].dim_param = name
    del model.graph.value_info[:]
    onnx.save(model, path)
    return path
