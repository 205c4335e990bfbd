"""Graphs of TensorFlow that a quantization-aware training left: refused, as their ranges would go.

TensorFlow's operators for fake quantization hold the ranges of the training: those that
tensorflow-model-optimization and TF1's contrib.quantize put in (FakeQuantWithMinMaxVars), and those
of NVIDIA's toolkit (QuantizeAndDequantizeV2). They are not read here, and calibration must not take
their place unsaid.
"""

from __future__ import annotations

from collections.abc import Iterable

TRAINED = ("FakeQuantWithMinMax", "QuantizeAndDequantize")
WHAT_TO_DO = (
    "export it as ONNX in QDQ form (python -m tf2onnx.convert), or convert it with TensorFlow's "
    "own converter and give the .tflite, which is taken as it is"
)


def check_untrained(where: str, nodes: Iterable) -> None:
    """Raises ValueError naming the first node that holds trained ranges."""
    for node in nodes:
        if node.op.startswith(TRAINED) and not node.op.endswith("Gradient"):
            raise ValueError(
                f"{where} was trained quantization-aware (node {node.name[:100]} is a "
                f"{node.op[:60]}), and calibration would replace its ranges: {WHAT_TO_DO}"
            )
