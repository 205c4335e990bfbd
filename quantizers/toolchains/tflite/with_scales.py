"""The float TFLite artifact of an ONNX file, and the scales that the file came with (QDQ)."""

from __future__ import annotations

from pathlib import Path

from int8gate.quantizers.scale_matching import carry_over
from int8gate.quantizers.toolchains.onnx import weighted_network as onnx_network
from int8gate.quantizers.toolchains.tflite import from_onnx, weighted_network
from int8gate.quantizers.toolchains.tflite.ranges import activations
from int8gate.runtimes.artifact import TFLITE


def to_tflite(exported: Path, directory: Path) -> dict:
    """`from_onnx.to_tflite`, with file_scales.json beside it where the export has scales."""
    described = from_onnx.to_tflite(exported, directory)
    carry_over(
        exported,
        directory / TFLITE,
        onnx_network.read,
        weighted_network.read,
        lambda file: activations(file.read_bytes()),
    )
    return described
