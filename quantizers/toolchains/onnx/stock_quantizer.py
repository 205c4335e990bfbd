"""ONNX Runtime's QDQ quantizer as it is used here: over chosen nodes, with given ranges.

Scales and integers of weights for each channel are computed in one step (`weight_scales.py`), not
in its loop of Python over the channels; and it knows more operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from int8gate.quantizers.calibration.thresholds import powers_of_two, widened
from int8gate.quantizers.file_scales import LayerScales
from int8gate.quantizers.recipe_type import AFFINE, POWER_OF_TWO, Recipe
from int8gate.quantizers.toolchains.onnx.placement import Placement, constant_left_operands
from int8gate.quantizers.toolchains.onnx.weight_scales import channel_integers, channel_scales

NO_SCALES: Mapping = {}  # of weights: those of the largest value
ACTIVATIONS = {"uint8": "QUInt8", "int8": "QInt8"}  # a recipe's, and ONNX Runtime's name
OWN_SCALE_KERNELS = ("AveragePool",)  # the stock quantizer lets it share its input's scale
SAME_AS_INPUT = ("DepthToSpace", "SpaceToDepth", "Tile", "Expand")  # unknown to the stock quantizer


def stock_quantizer(
    model,
    placement: Placement,
    recipe: Recipe,
    ranges: dict,
    weights: Mapping[str | None, LayerScales] = NO_SCALES,
):
    """ONNX Runtime's QDQ quantizer over the nodes that `place` chose; `weights` has the scales
    that some came with, by tensor.
    """
    import numpy as np
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import TensorData
    from onnxruntime.quantization.qdq_quantizer import (
        QDQQuantizer,
        QDQQuantTensorType,
        QDQTensorQuantizedValue,
    )
    from onnxruntime.quantization.quant_utils import (
        QuantizedValue,
        QuantizedValueType,
        add_dequant_output_suffix,
        add_dequant_suffix,
        add_infer_metadata,
    )
    from onnxruntime.quantization.registry import QDQRegistry

    class Quantizer(QDQQuantizer):
        """Keeps float what `place` keeps float, and trusts the ranges."""

        def quantize_activation_tensor(self, tensor_name: str) -> None:
            if tensor_name not in floats:
                super().quantize_activation_tensor(tensor_name)

        def quantize_output_same_as_input(
            self, output_name: str, input_name: str, node_name: str
        ) -> None:
            has_own = given.get(output_name) != given.get(input_name)
            if has_own and kinds[node_name] in OWN_SCALE_KERNELS:
                self.quantize_activation_tensor(output_name)
            else:
                super().quantize_output_same_as_input(output_name, input_name, node_name)

        def quantize_weight_tensor(self, tensor_name: str) -> None:
            if tensor_name in operands:  # as an activation: no kernel multiplies int8 by uint8
                super().quantize_activation_tensor(tensor_name)
            else:
                super().quantize_weight_tensor(tensor_name)

        def quantize_weight_tensor_per_channel(self, tensor_name: str, axis: int) -> None:
            if tensor_name in operands:
                super().quantize_activation_tensor(tensor_name)
            else:
                super().quantize_weight_tensor_per_channel(tensor_name, axis)

        def _calc_initializer_quant_params(self) -> dict:
            everything, found = self.tensors_to_quantize, {}
            for tensor in self.model.initializer():
                marked = everything.get(tensor.name)
                if marked and marked.tensor_type is QDQQuantTensorType.WEIGHT:
                    params = (
                        _given(weights[tensor.name], marked.axis)
                        if tensor.name in weights
                        else _of_channels(tensor, marked.axis)
                    )
                    found |= {tensor.name: params} if params else {}
            self.tensors_to_quantize = {k: v for k, v in everything.items() if k not in found}
            try:
                found = super()._calc_initializer_quant_params() | found
            finally:
                self.tensors_to_quantize = everything
            if recipe.scales != AFFINE:
                for tensor in self.model.initializer():
                    if tensor.name in found and tensor.name not in weights:
                        found[tensor.name] = _of_silicon(tensor, found[tensor.name], recipe.scales)
            return found

        def _add_qdq_nodes_for_initializer(self, weight_proto) -> None:
            name = weight_proto.name
            params = self.initializer_quant_params[name]
            rounded = _rounded_channels(weight_proto, params)
            if rounded is None or name in self.quantized_value_map:
                super()._add_qdq_nodes_for_initializer(weight_proto)
                return
            made, axis = self._make_scale_zp_initializers(name, params), params["axis"]
            output = add_dequant_output_suffix(name)
            self.model.replace_input_of_all_nodes(name, output)
            self.model.add_initializer(rounded)
            ends = (made.scale.name, made.zero_point.name)
            self._create_dq_node(rounded.name, output, add_dequant_suffix(name), *ends, axis=axis)
            value = QuantizedValue(
                name, rounded.name, *ends, QuantizedValueType.Initializer, axis=axis
            )
            self.quantized_value_map[name] = QDQTensorQuantizedValue(value, None, None)

        def adjust_tensor_ranges(self) -> None:
            """Gives no ReLU's input its output's range: it may be an output of the graph too."""

    QDQRegistry["ConvTranspose"] = _transposed_convolution()
    for kind in SAME_AS_INPUT:
        QDQRegistry.setdefault(kind, QDQRegistry["Transpose"])
    add_infer_metadata(model)  # else it writes the model, infers its shapes again and reads it
    floats = {
        name
        for node in model.graph.node
        if node.name in placement.float_output
        for name in node.output
    }
    operands = constant_left_operands(model.graph)
    # It asks for the range of tensors that it then merges into others: theirs is never read.
    everything = (name for node in model.graph.node for name in (*node.input, *node.output))
    given = ranges
    ranges = dict.fromkeys(filter(None, everything), (0.0, 1.0)) | ranges
    kinds = {node.name: node.op_type for node in model.graph.node}
    return Quantizer(
        model,
        recipe.per_channel,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType[ACTIVATIONS[recipe.activations]],
        tensors_range={
            name: TensorData(lowest=np.float32(low), highest=np.float32(high))
            for name, (low, high) in ranges.items()
        },
        nodes_to_quantize=list(placement.integer),
        nodes_to_exclude=[],
        op_types_to_quantize=sorted({kinds[name] for name in placement.integer}),
        extra_options={"ForceQuantizeNoInputCheck": True},  # moves of the input, such as Flatten
    )


def _given(of: LayerScales, axis: int | None):
    """Scales that weights came with, along that axis or, None, of all."""
    import numpy as np
    from onnx import TensorProto
    from onnxruntime.quantization.base_quantizer import QuantizationParams

    end = None if axis is not None else 1
    scales = np.asarray(of.scales[:end], np.float32)
    zeros = np.asarray(of.zero_points[:end], np.int8)
    if axis is None:
        scales, zeros = scales.reshape(()), zeros.reshape(())
    return QuantizationParams(
        zero_point=zeros, scale=scales, quant_type=TensorProto.INT8, axis=axis
    )


def _of_silicon(tensor, params, scales: str):
    """What the stock quantizer found for a constant, in `scales` that silicon asks for.

    Weights (int8) are symmetric already; constants of other operators have the dtype of activations
    and get such a scale as these.
    """
    import numpy as np
    from onnx import TensorProto, numpy_helper
    from onnxruntime.quantization.base_quantizer import QuantizationParams

    step, point = params["scale"], params["zero_point"]
    if point.any() or params["quant_type"] == TensorProto.UINT8:
        values, is_unsigned = numpy_helper.to_array(tensor), point.dtype == np.uint8
        low, high = widened((float(values.min()), float(values.max())), scales, is_unsigned)
        step = np.asarray((high - low) / 255, step.dtype)
        point = np.asarray(round(np.iinfo(point.dtype).min - low / float(step)), point.dtype)
    elif scales == POWER_OF_TWO:
        step = powers_of_two(step).astype(step.dtype)
    return QuantizationParams(
        zero_point=point, scale=step, quant_type=params["quant_type"], axis=params.get("axis")
    )


def _of_channels(tensor, axis: int | None):
    """What the stock quantizer finds for a float32 tensor with scales along an axis, else None."""
    import numpy as np
    from onnx import TensorProto, numpy_helper
    from onnxruntime.quantization.base_quantizer import QuantizationParams

    if axis is None or tensor.data_type != TensorProto.FLOAT or not all(tensor.dims):
        return None
    axis %= len(tensor.dims)
    scales = channel_scales(numpy_helper.to_array(tensor), axis)
    if scales is None:
        return None
    zeros = np.zeros(scales.shape, np.int8)
    return QuantizationParams(
        zero_point=zeros, scale=scales, quant_type=TensorProto.INT8, axis=axis
    )


def _rounded_channels(tensor, params):
    """The int8 initializer that the stock quantizer makes of a float32 one with `params` along an
    axis, in one step; None of another.
    """
    from onnx import TensorProto, numpy_helper
    from onnxruntime.quantization.quant_utils import TENSOR_NAME_QUANT_SUFFIX

    is_plain = params.get("axis") is not None and not params.get("block_size", 0)
    if not is_plain or params["quant_type"] != TensorProto.INT8:
        return None
    if tensor.data_type != TensorProto.FLOAT or params["zero_point"].any():
        return None
    weights = numpy_helper.to_array(tensor)
    integers = channel_integers(weights, params["scale"], params["axis"])
    return numpy_helper.from_array(integers, f"{tensor.name}{TENSOR_NAME_QUANT_SUFFIX}")


@cache
def _transposed_convolution():
    """The stock quantizer's class of ConvTranspose, for groups too.

    Weights are (inputs, outputs of one group, h, w): outputs of different groups share a scale
    there, and its own class gives the bias as many scales as a group has outputs. Of a depthwise
    one, inputs are outputs, each with a scale. The kernel computes on floats, bias and all.
    """
    from onnxruntime.quantization.operators.conv import QDQConv

    class QDQConvTranspose(QDQConv):
        def quantize(self) -> None:
            node, quantizer = self.node, self.quantizer
            for name in (node.input[0], node.output[0]):
                quantizer.quantize_activation_tensor(name)
            groups = next((entry.i for entry in node.attribute if entry.name == "group"), 1)
            weights = next(t for t in quantizer.model.initializer() if t.name == node.input[1])
            axis = 0 if groups == weights.dims[0] else 1
            is_per_channel, axis = quantizer.is_tensor_per_channel(node.input[1], axis)
            if is_per_channel:
                quantizer.quantize_weight_tensor_per_channel(node.input[1], axis)
            else:
                quantizer.quantize_weight_tensor(node.input[1])
            if groups == 1 and len(node.input) > 2 and node.input[2]:
                quantizer.quantize_bias_tensor(node.name, node.input[2], *node.input[:2])

    return QDQConvTranspose
