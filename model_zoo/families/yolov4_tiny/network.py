"""YOLOv4-tiny (Wang et al., "Scaled-YOLOv4", 2021), described by its Darknet cfg.

The cfg text is the architecture: a backbone of three cross-stage-partial blocks, each of which
sends the second half of its channels (route, groups=2, group_id=1) through two convolutions; a head
at stride 32, and one at stride 16 with the deeper features upsampled. Leaky ReLU throughout.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from int8gate.model_zoo.families.yolov4_tiny import decoding as yolo_decoding
from int8gate.model_zoo.importers.darknet.cfg import YoloHead, parse, yolo_head
from int8gate.model_zoo.spec import Network

if TYPE_CHECKING:
    from int8gate.model_zoo.importers.darknet.importer import DarknetNetwork  # loads PyTorch

ANCHORS = ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319))  # at 416x416, (w, h)
MASKS = ((3, 4, 5), (1, 2, 3))  # of the heads at stride 32 and 16; the official file has them so
SCALE_X_Y = 1.05
MULTIPLE = 8  # of channels: blocks of 8 suit integer kernels, and halves stay whole


def yolov4_tiny(
    input_shape: tuple[int, int, int],
    classes: int,
    anchors: tuple[tuple[float, float], ...] = ANCHORS,
    masks: tuple[tuple[int, ...], ...] = MASKS,
    scale_x_y: float = SCALE_X_Y,
    width: float = 1.0,
) -> DarknetNetwork:
    """The network for (h, w, channels), raw head maps out: (n, h/32, w/32, 3 (5 + C)), and /16.

    `anchors` are (width, height) in pixels of the input; `scale_x_y` stretches centres beyond their
    cell; `width` scales the channels of every convolution but the heads'.
    """
    from int8gate.model_zoo.importers.darknet.importer import DarknetNetwork

    return DarknetNetwork(cfg(input_shape, classes, anchors, masks, scale_x_y, width))


def cfg(
    input_shape,
    classes: int,
    anchors=ANCHORS,
    masks=MASKS,
    scale_x_y: float = SCALE_X_Y,
    width: float = 1.0,
) -> str:
    """The text of the cfg; at (416, 416, 3), 80 and defaults, the official network's."""
    height, columns, channels = input_shape

    def convolution(filters: int, size: int, stride: int = 1) -> str:
        scaled = max(MULTIPLE, MULTIPLE * round(filters * width / MULTIPLE))
        options = {"batch_normalize": 1, "filters": scaled, "size": size, "stride": stride}
        return _section("convolutional", **options, pad=1, activation="leaky")

    def block(filters: int) -> list[str]:
        return [
            convolution(filters, 3),
            _section("route", layers=-1, groups=2, group_id=1),
            convolution(filters // 2, 3),
            convolution(filters // 2, 3),
            _section("route", layers="-1,-2"),
            convolution(filters, 1),
            _section("route", layers="-6,-1"),
            _section("maxpool", size=2, stride=2),
        ]

    def head(mask: tuple[int, ...]) -> list[str]:
        filters = len(mask) * (5 + classes)
        listed = ",  ".join(f"{w:g},{h:g}" for w, h in anchors)
        return [
            _section(
                "convolutional", size=1, stride=1, pad=1, filters=filters, activation="linear"
            ),
            _section(
                "yolo",
                mask=",".join(map(str, mask)),
                anchors=listed,
                classes=classes,
                num=len(anchors),
                scale_x_y=scale_x_y,
            ),
        ]

    sections = [
        _section("net", batch=1, subdivisions=1, width=columns, height=height, channels=channels),
        *(convolution(32, 3, 2), convolution(64, 3, 2)),
        *(*block(64), *block(128), *block(256)),
        *(convolution(512, 3), convolution(256, 1), convolution(512, 3)),
        *head(masks[0]),
        _section("route", layers=-4),
        convolution(128, 1),
        _section("upsample", stride=2),
        _section("route", layers="-1,23"),  # 23: the 1x1 convolution of the last block
        convolution(256, 3),
        *head(masks[1]),
    ]
    return "\n".join(sections)


def heads(declared: Network) -> list[YoloHead]:
    """Anchors and classes of the outputs, in their order."""
    text = cfg(declared.input_shape, declared.classes, **declared.arguments)
    return [yolo_head(section) for section in parse(text) if section.kind == "yolo"]


def decode(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """Raw maps to detections (n, K, 6), rows [class, score, ymin, xmin, ymax, xmax]."""
    return yolo_decoding.detections(outputs, heads(declared), declared.size)


def darknet_source(network: DarknetNetwork, declared: Network, directory: Path) -> Path:
    """Writes the pair that Darknet's users have; returns the cfg, its weights lie beside it."""
    from int8gate.model_zoo.importers.darknet.importer import write_darknet

    return write_darknet(network, directory, "yolov4_tiny")[0]


def _section(kind: str, **options) -> str:
    return "\n".join([f"[{kind}]", *(f"{name}={value}" for name, value in options.items()), ""])
