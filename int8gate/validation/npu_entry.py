"""A case on an NPU, as the record has it: compiled for it and modelled, or simulated.

Both results are kept in the cache, with the compiled model that an integrator flashes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from int8gate.engine import code_identity
from int8gate.engine.worker import WorkerError
from int8gate.quantizers.diagnosis import diagnosed
from int8gate.runtimes import qnn
from int8gate.targets import arm_cpu, ethos_u, qnn_htp
from int8gate.targets.registry import QNN_HTP
from int8gate.validation.metrics.registry import metric

if TYPE_CHECKING:
    from int8gate.validation.case_run import CaseRun

SIMULATED_SAMPLES = 300  # of the evaluation set: a simulator takes some 100 ms a sample
GRACE_S = 10.0  # for a compiler that is to say itself that its time is up
VELA = "ethosu"  # the package of the compiler, which runs as a program


def modelled(run: CaseRun, target: str, core: str) -> dict:
    """Latency on an Ethos-U against a modelled core; see `arm_cpu.npu_speedup`.

    Raises ConversionFailed or WorkerError where the compiler gives no result.
    """
    artifact = run.built.artifact
    parts = {
        "model": artifact.sha256,
        "target": repr(ethos_u.find_target(target)),
        "core": core,
        **code_identity.identity("int8gate.validation.npu_entry:modelled", VELA),
    }

    def build(directory: Path) -> dict:
        limit = run.pipeline.settings.stage_timeout_s
        asked = (ethos_u.estimate, artifact.path, target, directory, limit)
        try:
            found = run.pipeline.runner.in_worker(*asked, grace_s=GRACE_S)
        except WorkerError as error:
            raise diagnosed(error, "compiled") from error
        return {"entry": arm_cpu.npu_speedup(found.value, run.graph, core)}

    kept = run.pipeline.cache.get_or_build("compiled", parts, build)
    compiled = next(kept.path.glob("*_vela.tflite"))
    return kept.meta["entry"] | {"compiled": str(compiled)}


def simulated(run: CaseRun) -> dict:
    """Coverage of the HTP's compiler, and the score on its simulator beside the host's."""
    artifact = run.built.artifact
    entry = {"target": QNN_HTP, "kind": "simulated", "latency_ms": None, "speedup": None}
    entry |= {"npu_ops": None, "cpu_ops": None, "cpu_fallback": [], "cpu_baseline": None}
    if reason := qnn.unavailable():
        return entry | {"unavailable": reason}
    parts = {
        "model": artifact.sha256,
        "target": QNN_HTP,
        **code_identity.identity("int8gate.validation.npu_entry:simulated"),
    }

    def build(directory: Path) -> dict:
        return {"entry": run.in_worker(qnn_htp.compile_for_htp, artifact.path, directory)}

    kept = run.pipeline.cache.get_or_build("compiled", parts, build)
    entry |= kept.meta["entry"] | {"compiled": str(kept.path / qnn_htp.CONTEXT)}
    if not run.unscored_reason:
        own = run.evaluated_on(qnn.PROVIDER, SIMULATED_SAMPLES)
        score = metric(run.metrics[0])
        count = len(own.statistics)
        entry["accuracy"] = {
            "metric": score.name,
            "simulated": score.score(own.statistics),
            "host": score.score(run.evaluation.statistics[:count]),
            "samples": count,
        }
    return entry
