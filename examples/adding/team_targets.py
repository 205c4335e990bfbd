"""The team's NPU: every operator of a file on it, at a fixed number of bytes a second."""

from dataclasses import dataclass

import onnx

from int8gate.targets.registry import register
from int8gate.targets.target import MODELLED, Target

BYTES_PER_MS = 1e6
CPU_MS = 8.0  # what the ARM core of this device takes, from its data sheet


@dataclass(frozen=True)
class TeamNpu(Target):
    name: str = "team_npu"
    kind: str = MODELLED
    format: str = "onnx"

    def entry(self, model, core, directory, timeout_s):
        (directory / "team.bin").write_bytes(model.read_bytes())  # what its compiler would write
        latency_ms = model.stat().st_size / BYTES_PER_MS
        return {
            "npu_ops": len(onnx.load(model).graph.node),
            "cpu_ops": 0,
            "latency_ms": latency_ms,
            "cpu_baseline": {
                "core": core,
                "kind": MODELLED,
                "best_ms": CPU_MS,
                "typical_ms": CPU_MS,
            },
            "speedup": CPU_MS / latency_ms,
            "compiled": "team.bin",
        }


register(TeamNpu())
