"""What a `.tflite` file asks for, counted before LiteRT allocates it."""

from __future__ import annotations

from pathlib import Path

from int8gate.engine import memory
from int8gate.runtimes.tflite_graph import BITS, read_graph


def check_sizes(path: Path) -> None:
    """Raises ValueError for a damaged file, and for a tensor that takes absurd memory.

    The file is parsed in Python first, which checks every offset that it follows.
    """
    for tensor in read_graph(path).tensors:
        itemsize = max(1, BITS[tensor.dtype] // 8)
        memory.check_tensor(str(path), tensor.name[:80], tensor.shape, itemsize)
