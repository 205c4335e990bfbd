"""ONNX Runtime's QNN provider: Qualcomm's Hexagon NPU, on x86-64 a simulator of its HTP backend.

The optional package `onnxruntime-qnn` comes under Qualcomm's own licence, which its user agrees to
by installing it (``pip install int8gate[qnn]``).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from int8gate.runtimes import ort

PROVIDER = "QNNExecutionProvider"
PACKAGE = "onnxruntime_qnn"


def unavailable() -> str | None:
    """Why the target cannot be used here; None when it can."""
    if importlib.util.find_spec(PACKAGE):
        return None
    return (
        "qnn_htp is not available: the package onnxruntime-qnn is not installed (it comes under "
        "Qualcomm's licence: read it, then pip install int8gate[qnn])"
    )


def session_on_htp(model: Path, options):
    """An `onnxruntime.InferenceSession` on the simulated HTP, with the given `SessionOptions`.

    Raises ImportError where the package is missing, and what ONNX Runtime raises.
    """
    import onnxruntime
    import onnxruntime_qnn  # pyright: ignore[reportMissingImports]

    devices = _devices(onnxruntime)
    if not devices:
        onnxruntime.register_execution_provider_library(
            PROVIDER, onnxruntime_qnn.get_library_path()
        )
        devices = _devices(onnxruntime)
    if not devices:
        raise ValueError(
            f"{PACKAGE} is installed but offers no device: install the version that fits this "
            f"ONNX Runtime ({onnxruntime.__version__})"
        )
    backend = {"backend_path": onnxruntime_qnn.get_qnn_htp_path()}
    options.add_provider_for_devices(devices[:1], backend)
    return ort.open_model(model, options, providers=())


def _devices(onnxruntime) -> list:
    return [device for device in onnxruntime.get_ep_devices() if device.ep_name == PROVIDER]
