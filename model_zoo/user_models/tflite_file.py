"""What the numbers of a `.tflite` file are, told without loading it.

It decides the recipes of a case before any case runs, in pytest's own process: the file is read as
data, by the pure Python reader of its format, and what cannot be read is left to the worker, which
says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from int8gate.engine import extras
from int8gate.runtimes.tflite_graph import FILE_IDENTIFIER

MOST_TENSORS = 100_000  # of networks some thousands; more are not looked at
INTEGERS = ("INT4", "INT8", "UINT8", "INT16")


def is_quantized(file: Path) -> bool:
    """An activation of it is stored in integers with a scale: it computes on integers.

    False for a file that cannot be read or is no TFLite model.
    """
    return _has(file, lambda tensor, kinds, stored: _is_scaled(tensor, kinds) and not stored)


def has_integer_weights_alone(file: Path) -> bool:
    """Weights of it are stored in integers with a scale, and no activation is.

    That is dynamic range quantization, or weights that are made float before they are used.
    """
    weights = _has(file, lambda tensor, kinds, stored: _is_scaled(tensor, kinds) and stored)
    return weights and not is_quantized(file)


def is_half(file: Path) -> bool:
    """A tensor of it is float16, as `is_quantized` looks at them."""
    return _has(file, lambda tensor, kinds, stored: tensor.Type() == kinds.FLOAT16)


def check_computes_on_integers(file: Path) -> None:
    """Raises ValueError naming a file whose weights alone are integers, and what can be done."""
    if has_integer_weights_alone(file):
        raise ValueError(
            f"{file} has weights in integers and activations in float32 (dynamic range "
            "quantization, or weights alone): it is neither the float model nor an integer one, "
            "and NPUs run it in float on the CPU; give the float file that it was converted from, "
            'recipes = ["tflite_dynamic_int8"] gates this kind of it and "tflite_int8" full INT8'
        )


def _is_scaled(tensor, kinds) -> bool:
    scales = tensor.Quantization()
    is_integer = tensor.Type() in {getattr(kinds, name) for name in INTEGERS}
    return is_integer and scales is not None and scales.ScaleLength() > 0


def _has(file: Path, fits: Callable) -> bool:
    """Whether a tensor of the first graph fits; `fits` hears whether the file stores its values."""
    import mmap

    extras.require(str(file), ["ai_edge_litert"])
    from ai_edge_litert import schema_py_generated as schema

    try:
        with open(file, "rb") as opened:
            content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        with content:
            if content[4:8] != FILE_IDENTIFIER:
                return False
            model: Any = schema.Model.GetRootAs(content, 0)
            graph = model.Subgraphs(0)
            for number in range(min(graph.TensorsLength(), MOST_TENSORS)):
                tensor = graph.Tensors(number)
                values = model.Buffers(tensor.Buffer())
                if fits(tensor, schema.TensorType, bool(values.DataLength() or values.Size())):
                    return True
            return False
    # The flatbuffers reader follows offsets unchecked: a damaged file can raise anything.
    except Exception:
        return False
