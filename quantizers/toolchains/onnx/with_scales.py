"""The float ONNX artifact of an export, and the scales that its network came with (QDQ)."""

from __future__ import annotations

from pathlib import Path

from int8gate.quantizers.scale_matching import carry_over
from int8gate.quantizers.toolchains.onnx import from_torch, weighted_network
from int8gate.quantizers.toolchains.onnx.static import marked
from int8gate.runtimes.artifact import ONNX


def to_onnx(exported: Path, directory: Path) -> dict:
    """`from_torch.to_onnx`, with file_scales.json beside it where the export has scales."""
    described = from_torch.to_onnx(exported, directory)
    read = weighted_network.read
    carry_over(exported, directory / ONNX, read, read, marked)
    return described
