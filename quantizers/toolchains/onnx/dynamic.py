"""Dynamic INT8 of an ONNX model: int8 weights, activations quantized as they come."""

from __future__ import annotations

import tempfile
from pathlib import Path

from int8gate.runtimes import onnx_file
from int8gate.runtimes.file_names import ONNX


def quantize(float_model: Path, per_channel: bool):
    """The model with int8 weights in its matrix products; convolutions stay float.

    ONNX Runtime's dynamic convolutions run at a tenth to nine tenths of float's speed.
    """
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as stock

    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / ONNX
        stock(
            str(float_model),
            str(target),
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=per_channel,
            weight_type=QuantType.QInt8,
            use_external_data_format=len(onnx_file.files_of(float_model)) > 1,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(str(target))
