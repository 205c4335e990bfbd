"""The weights of an ONNX file's products and tables, by their contents."""

from __future__ import annotations

from pathlib import Path

from int8gate.engine.cache_entry import array_digest

# Where an operator reads weights: of a product either side may be constant, and what is quantized
# in blocks has scales and zero points beside it.
OPERANDS = {
    "MatMul": (0, 1),
    "Gemm": (0, 1, 2),
    "MatMulInteger": (0, 1),
    "MatMulNBits": (1, 2, 3),
    "Gather": (0,),
    "GatherBlockQuantized": (0, 2, 3),
}
BETWEEN = ("Transpose", "Cast", "Reshape", "Identity")  # in front of an operand


def weights_of(path: Path) -> set[str]:
    """SHA-256 (dtype, shape and values) of every constant that a product multiplies by or a table
    that is looked up in, with scales and zero points.

    Raises ValueError naming the file where it cannot be read.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        graph = onnx.load(str(path)).graph
    except (DecodeError, OSError) as error:
        raise ValueError(f"{path} cannot be read as ONNX: {error}: build it again") from error
    constants = {tensor.name: tensor for tensor in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    wanted = [
        node.input[place]
        for node in graph.node
        for place in OPERANDS.get(node.op_type, ())
        if place < len(node.input)
    ]
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name in constants:
            found.add(array_digest(numpy_helper.to_array(constants.pop(name))))
        elif name in made and made[name].op_type == "DequantizeLinear":
            stored, *scales = made.pop(name).input
            wanted += [stored, *scales] if stored in constants else []  # else it is an activation
        elif name in made and made[name].op_type in BETWEEN:
            wanted.append(made.pop(name).input[0])
    return found
