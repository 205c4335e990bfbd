"""What each gate measures of a case: the door through which tests and other callers come.

measurement = measure.accuracy(case_run)
measurement.result        the gate's status and message
measurement.fields        its part of the case record
"""

from __future__ import annotations

import platform
from dataclasses import asdict

import numpy as np

from int8gate.engine.host import has_dot_product
from int8gate.targets import arm_cpu
from int8gate.targets import registry as targets
from int8gate.targets.target import MEASURED, MODELLED, SIMULATED
from int8gate.validation import gates
from int8gate.validation.accuracy_measurement import accuracy
from int8gate.validation.case_run import CaseRun
from int8gate.validation.gates import GateResult
from int8gate.validation.measurement import (
    Measurement,
    artifact_fields,
    no_float,
    with_generation,
)
from int8gate.validation.metrics.registry import metric

__all__ = [
    "Measurement",
    "accuracy",
    "cpu_speedup",
    "host_latency",
    "integer_only",
    "io_dtype",
    "npu_speedup",
    "size",
]


def io_dtype(run: CaseRun) -> Measurement:
    """Declared dtypes and sane scales; a float batch is refused; raw pixels still score."""
    artifact, recipe = run.built.artifact, run.recipe
    fields = {"io": artifact.describe_io(), **artifact_fields(run)}
    real = run.float_built.artifact if run.plan.has_float else None
    result = gates.io_dtype_gate(artifact, recipe, _pixel_range(run), run.case_id, real)
    if result.status == "passed" and recipe.io != "float32":
        refused_by = "int8gate.validation.gates.form:float_refused_by"
        result = GateResult(**run.fact("float_refused", lambda: _float_refused(run), refused_by))
    is_scored = result.status == "passed" and not run.scoring.unscored_reason
    own = run.evaluation if is_scored and artifact.inputs[0].dtype == "uint8" else None
    if own is not None and own.raw_pixels is not None:
        score = metric(run.plan.metrics[0])
        quantized = score.score(own.statistics[: len(own.raw_pixels)])
        raw = score.score(own.raw_pixels)
        result = gates.raw_pixels_gate(raw, quantized, run.expected, score, run.case_id)
    return Measurement("io_dtype", result, fields)


def _pixel_range(run: CaseRun) -> tuple[float, float] | None:
    """What pixels 0 and 255 become at the network's input; None where that differs between
    channels, and behind host preprocessing.
    """
    imported = run.imported if run.plan.source.is_cut else None
    behind_host = imported is not None and imported["nodes"]["preprocessing"]
    return None if behind_host else run.spec.preprocessing.uniform_range


def integer_only(run: CaseRun) -> Measurement:
    """Every operator of a full-integer model computes on integers, but for those that the rules of
    the case's recipe leave float.
    """
    artifact = run.built.artifact
    read = run.plan.toolchain.integer_operators
    read_by = f"{read.__module__}:{read.__name__}"
    integer_ops = run.fact("integer_ops", lambda: run.in_worker(read, artifact.path), read_by)
    left, fields = integer_ops["float_ops"], {"integer_ops": integer_ops, **artifact_fields(run)}
    if not run.recipe.is_mixed:  # a file that came quantized may say so of another recipe
        left = left + integer_ops.get("float_by_recipe", [])
    return Measurement("integer_only", gates.integer_only_gate(left, run.case_id), fields)


def _float_refused(run: CaseRun) -> dict:
    return asdict(run.in_worker(gates.float_refused_by, run.built.artifact.path, run.case_id))


def size(run: CaseRun) -> Measurement:
    """The artifact's bytes against the float artifact's."""
    if not run.plan.has_float:
        return Measurement("size", no_float(run), artifact_fields(run))
    quantized = run.built.artifact.size_bytes
    reference = run.float_built.artifact.size_bytes
    ratio = quantized / reference
    size_bytes = {"float": reference, "quantized": quantized, "ratio": ratio}
    fields = {"size_bytes": size_bytes, **artifact_fields(run)}
    return Measurement("size", gates.size_gate(ratio, run.expected, run.case_id), fields)


def cpu_speedup(run: CaseRun) -> Measurement:
    """Latency on this host against float, and of a language model its generation with a cache."""
    return with_generation(run, host_latency(run))


def host_latency(run: CaseRun) -> Measurement:
    """Latency on this host against float, measured in interleaved runs on one thread."""
    if not run.plan.has_float:
        return Measurement("cpu_speedup", no_float(run), artifact_fields(run))
    timed = run.timed
    fields = {
        "cpu": {
            "kind": MEASURED,
            "float_ms": _milliseconds(timed.float_s),
            "quantized_ms": _milliseconds(timed.quantized_s),
            "speedup": timed.speedup,
            "threads": 1,
            "host": platform.machine(),
        },
        **artifact_fields(run),
    }
    result = gates.cpu_speed_gate(
        timed.speedup,
        run.recipe,
        run.spec.arm_speedup,
        run.expected,
        run.case_id,
        has_dot_product(),
    )
    return Measurement("cpu_speedup", result, fields, tuple(map(float, timed.quantized_s)))


def npu_speedup(run: CaseRun, target: str, core: str) -> Measurement:
    """Coverage and latency on a target against the best case of an ARM core.

    On an ARM host the measured latency of this host takes the modelled core's place.
    """
    asked = targets.find(target)
    entry = run.npu_entry(asked, core)
    fields = {"npu": [entry], **artifact_fields(run)}
    if asked.kind == SIMULATED:
        score = metric(run.plan.metrics[0]) if run.plan.metrics else None
        result = gates.simulated_gate(entry, run.expected, score, run.case_id)
        return Measurement("npu_speedup", result, fields)
    baseline = entry["cpu_baseline"] or {}
    if gates.is_arm_host() and baseline.get("kind") == MODELLED:
        host_ms = _milliseconds(run.timed.quantized_s)
        entry = arm_cpu.with_measured_baseline(entry, platform.machine(), host_ms)
    result = gates.npu_speed_gate(entry, run.expected, run.case_id, asked.larger)
    rounds = (entry["latency_ms"] / 1e3,) if entry["latency_ms"] is not None else ()
    return Measurement("npu_speedup", result, {"npu": [entry], **artifact_fields(run)}, rounds)


def _milliseconds(seconds: np.ndarray) -> float:
    return float(np.median(seconds) * 1e3)
