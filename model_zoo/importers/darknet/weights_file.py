"""Darknet's `.weights`: a header, then the layers' float32 values one after another, little-endian.

The header is major, minor and revision (int32) and the number of pictures seen in training: int64
from version 0.2 on, int32 before. Files of versions above 1000 hold the matrices of connected
layers transposed. (`load_weights_upto` of Darknet's `parser.c`.)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

VERSION = (0, 2, 5)  # written
TRANSPOSED_ABOVE = 1000


def load(path: Path, layers: list[tuple[object, torch.nn.Module]]) -> None:
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


def check(path: Path, layers: list[tuple[object, torch.nn.Module]]) -> None:
    """Raises ValueError as `load` does where the file is too short or too long for `layers`, whose
    parameters may be on PyTorch's device "meta".
    """
    values, _ = _read(path)
    wanted = sum(tensor.numel() for _, layer in layers for _, tensor in layer.in_file_order())
    _check_count(path, values, wanted, layers)


def save(path: Path, layers: list[tuple[object, torch.nn.Module]]) -> None:
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
