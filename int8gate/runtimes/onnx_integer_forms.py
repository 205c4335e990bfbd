"""Which operators between the convolutions ONNX Runtime computes on integers, or only moves.

The quantizer puts scales around these (`toolchains/onnx/placement.py`), and the gate asks that they
ran on integers (`onnx_graph.what_ran_as_integer`). Of others (Softmax, LayerNormalization, Gelu,
HardSigmoid, Tanh, PRelu, Div, GridSample, ...) it has float kernels alone.
"""

from __future__ import annotations

from collections.abc import Mapping

BETWEEN = frozenset(
    {
        *("Add", "Mul", "Concat", "Relu", "Clip", "LeakyRelu", "Sigmoid", "MaxPool"),
        *("AveragePool", "GlobalAveragePool", "Resize", "Split", "Slice", "Transpose", "Reshape"),
        *("Flatten", "Squeeze", "Unsqueeze", "DepthToSpace", "SpaceToDepth", "Pad", "Gather"),
        *("Tile", "Expand"),
    }
)


def has_integer_form(node, constants: Mapping) -> bool:
    """Whether scales around a node are of use; `constants` are its graph's, by name.

    A quantized Clip is the saturation of its range, which always holds zero.
    """
    if node.op_type != "Clip":
        return node.op_type in BETWEEN
    bounds = [name for name in node.input[1:] if name]
    if any(name not in constants for name in bounds):
        return False
    low, high = (
        _number(constants[name]) if name else 0.0 for name in (*node.input[1:], "", "")[:2]
    )
    return low <= 0 <= high


def is_integer_kernel(node, constants: Mapping) -> bool:
    """Whether ONNX Runtime computes the node on integers where scales stand around it.

    Enlarging does so by repeating pixels alone, padding with zeros or with what is there.
    """
    if not has_integer_form(node, constants) or node.input[0] in constants:
        return False
    settings = {entry.name: entry.s for entry in node.attribute}
    if node.op_type == "Resize":
        return settings.get("mode", b"nearest") == b"nearest"
    if node.op_type == "MaxPool":
        return len(node.output) == 1
    if node.op_type == "Pad" and settings.get("mode", b"constant") == b"constant":
        value = node.input[2] if len(node.input) > 2 else ""
        return not value or (value in constants and _number(constants[value]) == 0)
    return True


def _number(tensor) -> float:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor).item()
