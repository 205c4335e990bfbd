"""A face detector: SSD with MobileNet v1 in PyTorch, and the ONNX file that its users have.

The network of `ssd_mobilenet_v1` (Huang et al. 2017), with its anchors, for one class. Strided
convolutions pad both sides alike, as PyTorch's do; the maps have the same sizes.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from int8gate.model_zoo.families.ssd_mobilenet_v1 import anchors as ssd_anchors
from int8gate.model_zoo.families.ssd_mobilenet_v1.network import (
    EXTRA_FILTERS,
    PREDICTED_FROM,
    SEPARABLE,
)
from int8gate.model_zoo.spec import Network

LEAST_FILTERS = 16
INPUT, OUTPUTS = "image", ("boxes", "logits")
OPSET = 9  # of 2019, when such files were made
UNKNOWN_SIZE = ("unk__1", None, "unk__2", "unk__3")  # None: the dimension stays


def face_ssd(input_shape: tuple, classes: int, alpha: float = 1.0) -> FaceSsd:
    """The network for inputs of `input_shape` (h, w, channels); `alpha` scales its filters."""
    return FaceSsd(input_shape[-1], classes, alpha)


class FaceSsd(nn.Module):
    """Pictures (n, channels, h, w) float32 -1..1 to boxes (n, A, 4), logits (n, A, classes + 1).

    Boxes are encoded relative to `ssd_anchors.anchors((h, w))`; column 0 of the logits is the
    background.
    """

    def __init__(self, channels: int, classes: int, alpha: float):
        super().__init__()
        filters = _filters(32, alpha)
        blocks, found = [_convolution(channels, filters, 3, 2)], []
        for number, (count, stride) in enumerate(SEPARABLE, start=1):
            depthwise = _convolution(filters, filters, 3, stride, groups=filters)
            pointwise = _convolution(filters, filters := _filters(count, alpha), 1)
            blocks.append(nn.Sequential(depthwise, pointwise))
            if number in PREDICTED_FROM:
                found.append(filters)
        self.trunk = nn.ModuleList(blocks)
        self.extra = nn.ModuleList()
        for count in EXTRA_FILTERS:
            reduce = _convolution(filters, reduced := _filters(count // 2, alpha), 1)
            halve = _convolution(reduced, filters := _filters(count, alpha), 3, 2)
            self.extra.append(nn.Sequential(reduce, halve))
            found.append(filters)
        places = [len(ssd_anchors.shapes(level)) for level in range(len(found))]
        per_level = list(zip(found, places, strict=True))
        self.boxes = nn.ModuleList(nn.Conv2d(f, count * 4, 1) for f, count in per_level)
        self.logits = nn.ModuleList(
            nn.Conv2d(f, count * (classes + 1), 1) for f, count in per_level
        )
        self.columns = classes + 1

    def forward(self, pictures):
        x, maps = pictures, []
        for number, block in enumerate(self.trunk):
            x = block(x)
            if number in PREDICTED_FROM:
                maps.append(x)
        for block in self.extra:
            x = block(x)
            maps.append(x)
        return _rows(self.boxes, maps, 4), _rows(self.logits, maps, self.columns)


def onnx_source(network: nn.Module, declared: Network, directory: Path) -> Path:
    """Writes the network as its users have it, `face_ssd.onnx`, and returns the path.

    An old file, as converters left them: of opset 9, its initializers also inputs of the graph, and
    an input that says nothing of its height and width, though the graph holds for one size only.
    """
    import onnx

    from int8gate.model_zoo.torch_networks import example

    path = Path(directory) / "face_ssd.onnx"
    torch.onnx.export(
        network.eval(),
        example(declared),
        str(path),
        dynamo=False,
        opset_version=OPSET,
        keep_initializers_as_inputs=True,
        input_names=[INPUT],
        output_names=list(OUTPUTS),
    )
    model = onnx.load(path)
    placeholder = next(value for value in model.graph.input if value.name == INPUT)
    dimensions = placeholder.type.tensor_type.shape.dim
    for dimension, name in zip(dimensions, UNKNOWN_SIZE, strict=True):
        if name:
            dimension.dim_param = name
    onnx.save(model, path)
    return path


def _filters(count: int, alpha: float) -> int:
    return max(LEAST_FILTERS, round(count * alpha))


def _convolution(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1):
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after, eps=1e-3),
        nn.ReLU6(),
    )


def _rows(predictors: nn.ModuleList, maps: list, values: int):
    """Predictions from each map, one after another: (n, A, values)."""
    rows = []
    for predict, features in zip(predictors, maps, strict=True):
        found = predict(features).permute(0, 2, 3, 1)
        count, height, width, channels = found.shape
        rows.append(found.reshape(count, height * width * (channels // values), values))
    return torch.cat(rows, dim=1)
