"""Files that ONNX Runtime's `quantize_static` writes in QDQ form, of a trained float network.

python write_onnxruntime.py SETTING FILE
"""

from __future__ import annotations

from pathlib import Path

from digits_network import feeds, float_file, main
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

U8, S8 = QuantType.QUInt8, QuantType.QInt8


class Reader(CalibrationDataReader):
    def __init__(self) -> None:
        self._left = iter(feeds())

    def get_next(self) -> dict | None:
        return next(self._left, None)


def written(
    target: Path, activations=U8, weights=S8, per_channel: bool = True, opset: int = 17, **extra
) -> None:
    quant_pre_process(str(float_file(target.parent, opset=opset)), str(target))
    quantize_static(
        str(target),
        str(target),
        Reader(),
        quant_format=extra.pop("form", QuantFormat.QDQ),
        activation_type=activations,
        weight_type=weights,
        per_channel=per_channel,
        reduce_range=extra.pop("reduce_range", False),
        extra_options=extra,
    )


SETTINGS = {
    "u8s8": written,
    "s8s8": lambda to: written(to, S8, S8),
    "u8u8": lambda to: written(to, U8, U8),
    "per_tensor": lambda to: written(to, per_channel=False),
    "opset_13": lambda to: written(to, opset=13),
    "reduced_range": lambda to: written(to, reduce_range=True),
    "symmetric": lambda to: written(
        to, S8, S8, ActivationSymmetric=True, WeightSymmetric=True, AddQDQPairToWeight=True
    ),
    "asymmetric_weights": lambda to: written(to, U8, U8, False, WeightSymmetric=False),
    "dedicated_pairs": lambda to: written(to, DedicatedQDQPair=True),
    "float_bias": lambda to: written(to, QuantizeBias=False),
    "forced_inputs": lambda to: written(to, ForceQuantizeNoInputCheck=True),
    "outputs_left_float": lambda to: written(
        to, OpTypesToExcludeOutputQuantization=["Conv", "Gemm", "Add"]
    ),
    "contrib_operators": lambda to: written(to, UseQDQContribOps=True),
    "with_16_bits": lambda to: written(to, QuantType.QInt16, S8, UseQDQContribOps=True),
    "on_integers": lambda to: written(to, form=QuantFormat.QOperator),
}

if __name__ == "__main__":
    main(SETTINGS)
