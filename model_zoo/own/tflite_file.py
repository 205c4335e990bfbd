"""What the numbers of a `.tflite` file are, told without loading it.

It decides the recipes of a case before any case runs, in pytest's own process: the file is read as
data, by the pure Python reader of its format, and what cannot be read is left to the worker, which
says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runtimes.tflite_graph import FILE_IDENTIFIER

MOST_TENSORS = 100_000  # of networks some thousands; more are not looked at
INTEGERS = ("INT4", "INT8", "UINT8", "INT16")


def is_quantized(file: Path) -> bool:
    """A tensor of it, weights or activations, is stored in integers with a scale.

    False for a file that cannot be read or is no TFLite model.
    """

    def fits(tensor, kinds) -> bool:
        scales = tensor.Quantization()
        is_integer = tensor.Type() in {getattr(kinds, name) for name in INTEGERS}
        return is_integer and scales is not None and scales.ScaleLength() > 0

    return _has(file, fits)


def is_half(file: Path) -> bool:
    """A tensor of it is float16, as `is_quantized` looks at them."""
    return _has(file, lambda tensor, kinds: tensor.Type() == kinds.FLOAT16)


def _has(file: Path, fits: Callable) -> bool:
    """Whether a tensor of the first graph fits."""
    import mmap

    from ai_edge_litert import schema_py_generated as schema

    try:
        with open(file, "rb") as opened:
            content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        with content:
            if content[4:8] != FILE_IDENTIFIER:
                return False
            graph = schema.Model.GetRootAs(content, 0).Subgraphs(0)
            numbers = range(min(graph.TensorsLength(), MOST_TENSORS))
            return any(fits(graph.Tensors(number), schema.TensorType) for number in numbers)
    # The flatbuffers reader follows offsets unchecked: a damaged file can raise anything.
    except Exception:
        return False
