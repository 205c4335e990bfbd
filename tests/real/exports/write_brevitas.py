"""Files that Brevitas writes (`export_onnx_qcdq`): Quant, Clip, Dequant, after training with it.

python write_brevitas.py SETTING FILE
"""

from __future__ import annotations

from pathlib import Path

import torch
from brevitas import nn as qnn
from brevitas.export import export_onnx_qcdq
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8ActPerTensorFloat,
    Int8Bias,
    Int8BiasPerTensorFloatInternalScaling,
    Int8WeightPerChannelFixedPointMSE,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFixedPoint,
    Int8WeightPerTensorFloat,
    Int32Bias,
    ShiftedUint8ActPerTensorFloat,
    ShiftedUint8WeightPerTensorFloat,
    Uint8ActPerTensorFixedPoint,
    Uint8ActPerTensorFloat,
)
from digits_network import SHAPE, main, train
from torch import nn


def network(weights, activations, rectified, bias=None, given=None, bits: int = 8):
    """The network of `digits_network` in Brevitas' layers; `given` quantizes the pictures."""
    given = given or activations

    def convolution(inputs: int, made: int, size: int, stride: int, groups: int = 1, **rest):
        shape = {"stride": stride, "padding": size // 2, "groups": groups, "bias": bool(rest)}
        layer = qnn.QuantConv2d(
            inputs, made, size, **shape, weight_quant=weights, weight_bit_width=bits, **rest
        )
        return [layer] if rest else [layer, nn.BatchNorm2d(made)]

    def relu():
        return qnn.QuantReLU(act_quant=rectified, return_quant_tensor=True)

    def as_is():
        return qnn.QuantIdentity(act_quant=activations, return_quant_tensor=True)

    class Digits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            biased = {"bias_quant": bias}
            self.quant = qnn.QuantIdentity(act_quant=given, return_quant_tensor=True)
            self.first = nn.Sequential(*convolution(1, 16, 3, 1), relu())
            self.depth = nn.Sequential(*convolution(16, 16, 3, 2, 16), relu())
            self.shared = as_is()  # of both terms of the sum: one scale
            self.point = nn.Sequential(*convolution(16, 16, 1, 1))
            self.side = nn.Sequential(*convolution(16, 16, 3, 2))
            self.relu = self.depth[2]  # of both parts of the concatenation: one scale
            self.last = nn.Sequential(*convolution(32, 24, 3, 1, **biased), relu())
            self.pool = nn.AvgPool2d(2)
            self.pooled = as_is()
            self.linear = qnn.QuantLinear(
                24 * 16, 10, bias=True, weight_quant=weights, bias_quant=bias
            )

        def forward(self, digit):
            first = self.first(self.quant(digit))
            deep = self.depth(first)
            total = self.shared(self.point(deep)) + self.shared(self.side(first))
            both = torch.cat([self.relu(total), deep], 1)
            pooled = self.pooled(self.pool(self.last(both)))
            return self.linear(torch.flatten(pooled, 1))

    torch.manual_seed(0)
    return Digits()


def written(
    target: Path, *quantizers, opset: int = 17, bits: int = 8, dynamo: bool = False, **settings
) -> None:
    trained = train(network(*quantizers, bits=bits), rate=2e-3)
    names = {"input_names": ["digit"], "output_names": ["scores"]}
    export_onnx_qcdq(
        trained,
        args=torch.zeros(SHAPE),
        export_path=str(target),
        opset_version=opset,
        dynamo=dynamo,
        **names,
        **settings,
    )


PLAIN = Int8ActPerTensorFloat, Uint8ActPerTensorFloat
DYNAMO = {"dynamo": True, "opset": 20, "external_data": False, "optimize": True}
SETTINGS = {
    "per_tensor": lambda to: written(to, Int8WeightPerTensorFloat, *PLAIN),
    "per_channel": lambda to: written(to, Int8WeightPerChannelFloat, *PLAIN),
    "bias_int32": lambda to: written(to, Int8WeightPerChannelFloat, *PLAIN, Int32Bias),
    "dynamo": lambda to: written(to, Int8WeightPerChannelFloat, *PLAIN, **DYNAMO),
    "bias_of_own_scale": lambda to: written(
        to, Int8WeightPerTensorFloat, *PLAIN, Int8BiasPerTensorFloatInternalScaling
    ),
    "bias_int8": lambda to: written(to, Int8WeightPerTensorFloat, *PLAIN, Int8Bias),
    "float_weights": lambda to: written(
        to, Int8WeightPerChannelFloat, *PLAIN, Int32Bias, export_weight_q_node=True
    ),
    "power_of_two": lambda to: written(
        to, Int8WeightPerTensorFixedPoint, Int8ActPerTensorFixedPoint, Uint8ActPerTensorFixedPoint
    ),
    "power_of_two_per_channel": lambda to: written(
        to,
        Int8WeightPerChannelFixedPointMSE,
        Int8ActPerTensorFixedPoint,
        Uint8ActPerTensorFixedPoint,
    ),
    "asymmetric": lambda to: written(
        to,
        ShiftedUint8WeightPerTensorFloat,
        ShiftedUint8ActPerTensorFloat,
        ShiftedUint8ActPerTensorFloat,
    ),
    "opset_13": lambda to: written(to, Int8WeightPerChannelFloat, *PLAIN, Int32Bias, opset=13),
    "weights_of_4_bits": lambda to: written(to, Int8WeightPerChannelFloat, *PLAIN, bits=4),
}

if __name__ == "__main__":
    main(SETTINGS)
