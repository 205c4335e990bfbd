"""Darknet networks: `.cfg` and `.weights` to a PyTorch module, and back.

`import_darknet` reads a user's pair of files, `write_darknet` writes one. `cfg.py` reads sections
and options, `layers.py` makes modules of them.

A `.weights` file is a header, then the layers' float32 values one after another, little-endian. The
header is major, minor and revision (int32) and the number of pictures seen in training: int64 from
version 0.2 on, int32 before. Files of versions above 1000 hold the matrices of connected layers
transposed. (`load_weights_upto` of Darknet's `parser.c`.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from int8gate.engine import memory
from int8gate.model_zoo.importers.darknet.cfg import (
    Section,
    YoloHead,
    input_shape,
    parse,
    read,
    yolo_head,
)
from int8gate.model_zoo.importers.darknet.layers import FLOAT_BYTES, make

VERSION = (0, 2, 5)  # written
TRANSPOSED_ABOVE = 1000

LEFT_TO_HOST = ("yolo", "softmax", "cost")
ENDS = ("softmax", "cost", "dropout")  # what computes nothing here


def load_weights(path: Path, layers: list[tuple[object, torch.nn.Module]]) -> None:
    """Sets the parameters and statistics of `layers`, pairs of section and module, in file order.

    Raises ValueError naming the first layer for which the file is too short, the surplus behind
    the last one, or a layer whose values cannot be those of a network.
    """
    values, transposed = _read(Path(path))
    wanted = sum(tensor.numel() for _, layer in layers for _, tensor in layer.in_file_order())
    _check_count(Path(path), values, wanted, layers)
    start = 0
    for section, layer in layers:
        for name, tensor in layer.in_file_order():
            found = values[start : start + tensor.numel()]
            start += tensor.numel()
            _check_values(Path(path), section, name, found)
            shape = tuple(tensor.shape)
            if transposed and len(shape) == 2:  # of connected layers
                found = found.reshape(shape[::-1]).T
            with torch.no_grad():
                tensor.copy_(torch.from_numpy(found.reshape(shape).astype(np.float32)))


def check_weights(path: Path, layers: list[tuple[object, torch.nn.Module]]) -> None:
    """Raises ValueError as `load` does where the file is too short or too long for `layers`, whose
    parameters may be on PyTorch's device "meta".
    """
    values, _ = _read(path)
    wanted = sum(tensor.numel() for _, layer in layers for _, tensor in layer.in_file_order())
    _check_count(path, values, wanted, layers)


def save_weights(path: Path, layers: list[tuple[object, torch.nn.Module]]) -> None:
    """Writes a file that `load` reads back exactly, and Darknet too."""
    header = np.array(VERSION, "<i4").tobytes() + np.array([0], "<i8").tobytes()
    tensors = [tensor for _, layer in layers for _, tensor in layer.in_file_order()]
    body = [tensor.detach().cpu().numpy().astype("<f4").tobytes() for tensor in tensors]
    Path(path).write_bytes(header + b"".join(body))


def _read(path: Path) -> tuple[np.ndarray, bool]:
    """The floats, and whether matrices are transposed."""
    content = path.read_bytes()
    if len(content) < 16:
        raise ValueError(f"{path} holds {len(content)} bytes, not even a header: copy it again")
    major, minor, _ = (int(number) for number in np.frombuffer(content, "<i4", 3))
    is_old = major > TRANSPOSED_ABOVE or minor > TRANSPOSED_ABOVE
    if min(major, minor) < 0 or max(major, minor) > 10 * TRANSPOSED_ABOVE:
        raise ValueError(
            f"{path} is not a Darknet weights file: its header says version {major}.{minor}"
        )
    header = 20 if major * 10 + minor >= 2 and not is_old else 16
    if (len(content) - header) % 4:
        raise ValueError(
            f"{path}: {len(content) - header} bytes behind the header are no whole number of "
            "floats: the file is truncated, copy it again"
        )
    return np.frombuffer(content, "<f4", offset=header), is_old


def _check_count(path: Path, values: np.ndarray, wanted: int, layers: list) -> None:
    if len(values) > wanted:
        raise ValueError(
            f"{path} holds {len(values)} floats, its cfg takes {wanted}: {len(values) - wanted} "
            f"are left behind the last layer ({layers[-1][0] if layers else 'none has weights'}): "
            "is it of another network?"
        )
    left = len(values)
    for section, layer in layers if len(values) < wanted else ():
        needed = sum(tensor.numel() for _, tensor in layer.in_file_order())
        if needed > left:
            raise ValueError(
                f"{path} holds {len(values)} floats, its cfg takes {wanted}: it ends in {section}, "
                f"which needs {needed} where {left} are left: truncated, or of another network?"
            )
        left -= needed


def _check_values(path: Path, section, name: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        what = "hold NaN or infinity"
    elif name == "rolling variance" and (values < 0).any():
        what = "are below zero"
    else:
        return
    raise ValueError(
        f"{path}: the {name} of {section} {what}: the file is damaged or of another network"
    )


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
        check_weights(Path(weights), planned.weighted())
    network = DarknetNetwork(text, Path(cfg).name)
    if weights is not None:
        load_weights(Path(weights), network.weighted())
    return network.eval()


def write_darknet(network: DarknetNetwork, directory: Path, name: str) -> tuple[Path, Path]:
    """Writes ``name.cfg`` and ``name.weights`` to a directory; returns both paths."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    cfg, weights = (directory / f"{name}{suffix}" for suffix in (".cfg", ".weights"))
    cfg.write_text(network.text, encoding="utf-8")
    save_weights(weights, network.weighted())
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
