"""Qualcomm's Hexagon NPU through ONNX Runtime's QNN provider, simulated on x86-64.

The optional package `onnxruntime-qnn` brings the compiler and a simulator of the HTP backend under
Qualcomm's own licence, which its user agrees to by installing it (``pip install int8gate[qnn]``).
It compiles, says what stays on the CPU, and executes: coverage and accuracy are *simulated*. The
time that the simulator takes says nothing about the NPU, so there is no latency.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from int8gate.runtimes import ort
from int8gate.targets.registry import register
from int8gate.targets.target import SIMULATED, Target

CONTEXT = "context.onnx"
COMPILED = "EPContext"  # the operator that stands for what was compiled
BORDER = {"QuantizeLinear", "DequantizeLinear"}  # float inputs and outputs of a QDQ file


@dataclass(frozen=True)
class QnnHtp(Target):
    """The HTP's compiler, and its simulator as an execution provider."""

    name: str = "qnn_htp"
    format = "onnx"
    kind = SIMULATED
    packages = ("onnxruntime-qnn",)
    provider = ort.QNN

    def unavailable(self) -> str | None:
        return ort.qnn_unavailable()

    def entry(self, model: Path, core: str, directory: Path, timeout_s: float) -> dict:
        return compile_for_htp(model, directory) | {"compiled": CONTEXT}


register(QnnHtp())


def compile_for_htp(model: Path, directory: Path) -> dict:
    """Compiles an ONNX file for the HTP; writes `directory`/context.onnx, which a device loads.

    Returns operators that went to the NPU, those left to the CPU and their list, counted on the
    file as it is without the Q/DQ pairs; the Quantize and Dequantize of float inputs and outputs
    stay with the host and are not counted. Runs in a worker process: the compiler can crash.
    """
    import onnx

    entries = {
        "ep.context_enable": "1",
        "ep.context_file_path": str(directory / CONTEXT),
        "ep.context_embed_mode": "1",
    }
    ort.session_on_htp(model, ort.options(threads=0, entries=entries))
    if not (directory / CONTEXT).is_file():  # nothing was compiled, so nothing was written
        left = _operators(onnx.load(model, load_external_data=False))
    else:
        left = _operators(onnx.load(directory / CONTEXT, load_external_data=False))
    total = len(_operators(onnx.load(model, load_external_data=False)))
    return {
        "npu_ops": max(0, total - len(left)),
        "cpu_ops": len(left),
        "cpu_fallback": [{"op": op, "name": name, "reason": None} for op, name in left],
    }


def _operators(model) -> list[tuple[str, str]]:
    uncounted = BORDER | {COMPILED, "Constant"}
    return [(node.op_type, node.name) for node in model.graph.node if node.op_type not in uncounted]
