"""The tensors of a `.safetensors` file, and whether they are those of a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.safetensors` file by name; raises ValueError for a damaged one."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    # A dtype that NumPy does not have raises what looking it up does.
    except (SafetensorError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"weights file {path} is truncated or not safetensors ({error}): copy or train it again"
        ) from error


def check_fit(tensors: dict, wanted: dict[str, np.ndarray], path: Path, network: str) -> None:
    """Compares a file's arrays with a network's: names, shapes, kinds of dtype, finite values.

    Raises ValueError naming the file and the first tensor that does not fit.
    """
    for name in sorted(wanted.keys() ^ tensors.keys()):
        where = "the file lacks it" if name in wanted else "the network has no such tensor"
        raise ValueError(
            f"weights file {path} is not for {network}: tensor {name}: {where}; is it of another "
            "network?"
        )
    for name, own in wanted.items():
        found = tensors[name]
        if found.shape != own.shape:
            raise ValueError(
                f"weights file {path}: tensor {name} has shape {found.shape}, {network} needs "
                f"{own.shape}"
            )
        if found.dtype.kind != own.dtype.kind:
            raise ValueError(
                f"weights file {path}: tensor {name} is {found.dtype}, expected {own.dtype}: "
                "bring the weights from before quantization"
            )
        check_finite(found, name, path)


def check_finite(tensor: np.ndarray, name: str, path: Path) -> None:
    """Raises ValueError where a tensor holds NaN or infinity."""
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        raise ValueError(
            f"weights file {path}: tensor {name} holds NaN or infinity: the training diverged or "
            "the file is damaged, train or copy it again"
        )
