"""The settings of the peers that `benchmarks.peers` tries, each with what it takes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Setting:
    """`peer` names the environment and the function in `peer_contenders.py`, `takes` the form of
    the float network: onnx, tflite or saved_model.
    """

    peer: str
    name: str
    takes: str
    options: dict = field(default_factory=dict)


def _nncf(name: str, **options) -> Setting:
    return Setting("nncf", name, "onnx", options)


def _onnxruntime(name: str, **options) -> Setting:
    return Setting("onnxruntime", name, "onnx", options)


SETTINGS = (
    _nncf("defaults"),
    _nncf("min-max", min_max=True),
    _nncf("mixed, min-max", preset="mixed", min_max=True),
    _nncf("mixed, min-max, no bias corr.", preset="mixed", min_max=True, bias=False),
    _nncf("transformer, min-max", transformer=True, min_max=True),
    _onnxruntime("min-max", method="MinMax"),
    _onnxruntime("entropy", method="Entropy"),
    _onnxruntime("percentile 99.999", method="Percentile", percentile=99.999),
    Setting("ai_edge_quantizer", "static wi8 ai8, min-max", "tflite", {"min_max": True}),
    Setting("ai_edge_quantizer", "static wi8 ai8, defaults", "tflite"),
    Setting("converter", "full INT8", "saved_model"),
)
