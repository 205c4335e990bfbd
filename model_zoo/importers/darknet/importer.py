"""Darknet networks: `.cfg` and `.weights` to a PyTorch module, and back.

    darknet_cfg.py      reads sections and options
    darknet_sections.py from sections to modules and their shapes
    darknet_layers.py   the modules
    darknet_weights.py  the file of weights

`import_darknet` reads a user's pair of files, `write_darknet` writes one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from int8gate.engine import memory
from int8gate.model_zoo.importers.darknet import weights_file as darknet_weights
from int8gate.model_zoo.importers.darknet.cfg import (
    Section,
    YoloHead,
    input_shape,
    parse,
    read,
    yolo_head,
)
from int8gate.model_zoo.importers.darknet.layers import FLOAT_BYTES
from int8gate.model_zoo.importers.darknet.sections import make

LEFT_TO_HOST = ("yolo", "softmax", "cost")
ENDS = ("softmax", "cost", "dropout")  # what computes nothing here


class DarknetNetwork(torch.nn.Module):
    """A network as its cfg describes it, with random weights.

    Takes float32 (n, channels, height, width), pixels 0..1 as Darknet does. Gives the raw maps of
    its [yolo] layers, before any of their activations, in the order of the file, channels last:
    (n, h, w, anchors x (5 + classes)); of a network without [yolo], the last layer's map or, where
    that is a vector, (n, k), before softmax. One output stands alone, several are a tuple.
    """

    def __init__(self, text: str, file: str = "cfg"):
        super().__init__()
        self.text = text
        net, *self.sections = parse(text, file)
        self.input_shape = input_shape(net)
        self.layers: Any = torch.nn.ModuleList()
        self.shapes: list[tuple[int, int, int]] = []
        for section in self.sections:
            layer, shape = make(section, self.shapes, self.input_shape)
            memory.check_tensor(str(section), "(its output)", shape, FLOAT_BYTES)
            self.layers.append(layer)
            self.shapes.append(shape)
        self.heads: list[YoloHead] = [yolo_head(s) for s in self.sections if s.kind == "yolo"]
        _check_readers(self.sections, self.layers)

    def forward(self, image):
        outputs = [image]  # of layer n at n + 1
        for layer in self.layers:
            outputs.append(layer(*(outputs[source + 1] for source in layer.sources)))
        if not self.heads:
            last = outputs[-1]
            return last.flatten(1) if self.shapes[-1][1:] == (1, 1) else last.permute(0, 2, 3, 1)
        maps = [outputs[head.number + 1].permute(0, 2, 3, 1) for head in self.heads]
        return tuple(maps) if len(maps) > 1 else maps[0]

    def weighted(self) -> list[tuple[Section, torch.nn.Module]]:
        """Sections and modules that have weights, in the order of the file."""
        pairs = zip(self.sections, self.layers, strict=True)
        return [(section, layer) for section, layer in pairs if hasattr(layer, "in_file_order")]


def import_darknet(cfg: Path, weights: Path | None = None) -> DarknetNetwork:
    """The network of a cfg in eval mode, its weights random where no file is given.

    Raises ValueError in one sentence on what cannot be read: section, line, numbers expected and
    found; OSError if a file cannot be opened. The network is compared with its file of weights
    before memory is taken for it.
    """
    text, _ = read(Path(cfg))
    with torch.device("meta"):
        planned = DarknetNetwork(text, Path(cfg).name)
    if weights is not None:
        darknet_weights.check(Path(weights), planned.weighted())
    network = DarknetNetwork(text, Path(cfg).name)
    if weights is not None:
        darknet_weights.load(Path(weights), network.weighted())
    return network.eval()


def write_darknet(network: DarknetNetwork, directory: Path, name: str) -> tuple[Path, Path]:
    """Writes ``name.cfg`` and ``name.weights`` to a directory; returns both paths."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    cfg, weights = (directory / f"{name}{suffix}" for suffix in (".cfg", ".weights"))
    cfg.write_text(network.text, encoding="utf-8")
    darknet_weights.save(weights, network.weighted())
    return cfg, weights


def _check_readers(sections: list[Section], layers) -> None:
    """What [yolo] and [softmax] compute is left to the host, so that no layer may read it."""
    for section, layer in zip(sections, layers, strict=True):
        for source in layer.sources:
            before = sections[source] if source >= 0 else None
            if before and before.kind in LEFT_TO_HOST and section.kind not in ENDS:
                raise ValueError(
                    f"{section}: it reads layer {source}, [{before.kind}]: supported at an end of "
                    "the network alone"
                )
