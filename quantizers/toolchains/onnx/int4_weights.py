"""Static quantization (QDQ) whose weights have 4 bits: 8-bit activations stay as they are.

ONNX Runtime's quantizer writes int8 weights behind a DequantizeLinear for each convolution and
matrix product. Here these become int4 from -7 to 7, symmetric, with a scale for each output channel
(or one, as the file has them), and int32 biases get the steps that follow. ONNX Runtime 1.31 has no
integer kernel of that form on a CPU: it multiplies the dequantized values as floats, which an NPU's
compiler need not. Before opset 21 int4 is known by the operator of ONNX Runtime's own domain alone.
"""

from __future__ import annotations

import numpy as np

from int8gate.quantizers.int4 import LEVELS, packed, whole_steps
from int8gate.quantizers.recipe_type import INT4, Recipe
from int8gate.quantizers.toolchains.onnx.graph_view import GraphView, drop_unread_constants
from int8gate.quantizers.toolchains.onnx.int4_nodes import know_int4
from int8gate.quantizers.toolchains.onnx.placement import PRODUCTS
from int8gate.quantizers.toolchains.onnx.weight_scales import channel_scales


def give_int4_weights(quantized, float_model, recipe: Recipe) -> None:
    """Gives the products of a QDQ `ModelProto` int4 weights where the recipe's rules do, in place.

    `float_model` is the `ModelProto` that it was made of, whose weights are rounded: nodes have the
    same names in both. Raises ValueError where none has int8 weights.
    """
    from onnx import numpy_helper

    graph = quantized.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    real = {t.name: numpy_helper.to_array(t) for t in float_model.graph.initializer}
    own = {node.name: node for node in float_model.graph.node}
    producer = {name: node for node in graph.node for name in node.output}
    domain = know_int4(quantized)
    done: dict[str, np.ndarray] = {}  # scales by the tensor of int8 weights
    for node in graph.node:
        source = own.get(node.name)
        if node.op_type not in PRODUCTS or source is None or len(node.input) < 2:
            continue
        if recipe.rule_of(node.name).weights != INT4 or source.input[1] not in real:
            continue
        dequantizer = producer.get(node.input[1])
        if dequantizer is None or dequantizer.op_type != "DequantizeLinear":
            continue
        weights, scale, *zero = dequantizer.input
        if weights not in done:
            if not _is_symmetric_int8(stored, weights, zero):
                continue
            axis = GraphView.settings(dequantizer).get("axis", 1)
            scales = _narrowed(stored, weights, scale, real[source.input[1]], axis)
            del dequantizer.input[2:]
            dequantizer.domain = domain
            done[weights] = scales
        if len(node.input) > 2 and source.input[2] in real:
            _rescale_bias(node, producer, stored, real[source.input[2]], done[weights])
    if not done:
        raise ValueError(
            f"{recipe.name}: the model has no {', '.join(PRODUCTS)} of constant int8 weights, "
            "expected at least one to give int4: choose a recipe of int8 weights"
        )
    drop_unread_constants(graph)


def _is_symmetric_int8(stored: dict, weights: str, zero: list[str]) -> bool:
    from onnx import TensorProto, numpy_helper

    if weights not in stored or stored[weights].data_type != TensorProto.INT8:
        return False
    return not any(np.any(numpy_helper.to_array(stored[name])) for name in zero if name)


def _narrowed(stored: dict, weights: str, scale: str, values: np.ndarray, axis: int) -> np.ndarray:
    """Writes int4 weights and their scales over those of int8; returns the scales."""
    from onnx import TensorProto, helper, numpy_helper

    is_per_channel = numpy_helper.to_array(stored[scale]).size > 1
    flat = values if is_per_channel else values.reshape(1, -1)
    scales = channel_scales(flat, axis if is_per_channel else 0, LEVELS)
    if scales is None:
        raise ValueError(f"weights {weights} hold NaN or infinity: train or export the model again")
    shape = [1] * values.ndim
    if is_per_channel:
        shape[axis] = -1
    integers = np.rint(values / scales.reshape(shape)).clip(-LEVELS, LEVELS).astype(np.int8)
    content = packed(integers)
    name = stored[weights].name
    stored[weights].CopyFrom(
        helper.make_tensor(name, TensorProto.INT4, values.shape, content, raw=True)
    )
    made = scales if is_per_channel else scales.reshape(())
    stored[scale].CopyFrom(numpy_helper.from_array(made, stored[scale].name))
    return scales


def _rescale_bias(node, producer: dict, stored: dict, real: np.ndarray, scales) -> None:
    """Writes an int32 bias in the steps of the node's data times those of its weights."""
    from onnx import numpy_helper

    bias, data = producer.get(node.input[2]), producer.get(node.input[0])
    if bias is None or data is None or bias.input[0] not in stored:
        return
    read = numpy_helper.to_array(stored[data.input[1]])
    old = numpy_helper.to_array(stored[bias.input[1]])
    steps = (np.float32(read.item()) * scales).astype(np.float32)
    made = (bias.input[0], whole_steps(real, steps)), (bias.input[1], steps.reshape(old.shape))
    for name, array in made:
        stored[name].CopyFrom(numpy_helper.from_array(array, name))
