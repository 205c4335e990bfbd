"""What each gate measures of a case: the door through which tests and other callers come.

measurement = measure.accuracy(case_run)
measurement.result        the gate's status and message
measurement.fields        its part of the case record
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, field

import numpy as np

from quantizers.recipe import RECIPES
from runtimes import arm_cpu
from runtimes.litert import LiteRTSession
from runtimes.tflite_graph import float_operators, integer_fraction
from validation import gates
from validation.case_run import CaseRun
from validation.gates import GateResult
from validation.metrics import metric
from validation.statistics import non_inferiority
from validation.tasks import METRIC_OF_TASK

UNCALIBRATED = RECIPES["tflite_dynamic_int8"]  # int8 weights, ranges taken from each sample
NOTICEABLE_DROP = 0.003  # of the float metric: from here on the report says where it comes from


@dataclass(frozen=True)
class Measurement:
    """A gate's result, its fields of the case record, and seconds a round where there are any."""

    gate: str
    result: GateResult
    fields: dict = field(default_factory=dict)
    rounds_s: tuple[float, ...] = ()


def accuracy(run: CaseRun) -> Measurement:
    """Non-inferiority to the float reference on the evaluation set, and fidelity."""
    own = run.evaluation
    fields = {
        "fidelity": {"sqnr_db": own.sqnr_db, "cosine": own.cosine},
        "seconds": run.built.seconds | {"evaluate": own.seconds},
        "peak_rss_bytes": _largest(run.built.peak_rss_bytes, own.peak_rss_bytes),
        "notes": _notes(run),
        **_artifact(run),
    }
    if run.unscored_reason:
        return Measurement("accuracy", GateResult("not_measured", run.unscored_reason), fields)
    reference = run.float_evaluation
    count = len(own.statistics)
    score = metric(METRIC_OF_TASK[run.spec.task])
    float_score = score.score(reference.statistics[:count])
    result = non_inferiority(
        score,
        reference.statistics[:count],
        own.statistics,
        own.sources,
        float_score - run.expected.minimum(float_score),
        chance=own.chance,
        distinct_outputs=reference.distinct_outputs,
        seed=run.pipeline.settings.seed,
    )
    fields["accuracy"] = {
        "metric": score.name,
        "float": float_score,
        "quantized": score.score(own.statistics),
        "drop": result.drop,
        "drop_upper_95": result.drop_upper_95,
        "tolerance": result.tolerance,
        "samples": result.samples,
        "sources": result.sources,
        "tolerance_rule": run.expected.accuracy,
    }
    if result.drop > NOTICEABLE_DROP * float_score and run.recipe.is_full_integer:
        fields["notes"].append(_whose_drop(run, result.drop, float_score, count))
    gate = gates.accuracy_gate(result, run.expected.accuracy, score.name, run.case_id)
    if gate.status == "passed" and run.recipe.is_reference:
        gate = gates.export_gate(own.sqnr_db, run.case_id)
    return Measurement("accuracy", gate, fields)


def io_dtype(run: CaseRun) -> Measurement:
    """Declared dtypes and sane scales; a float batch is refused; raw pixels still score."""
    artifact, recipe = run.built.artifact, run.recipe
    fields = {"io": artifact.describe_io(), **_artifact(run)}
    result = gates.io_dtype_gate(artifact, recipe, run.spec.preprocessing.range, run.case_id)
    if result.status == "passed" and recipe.io != "float32":
        result = gates.float_refused_gate(LiteRTSession(artifact.path), run.case_id)
    if result.status == "passed" and recipe.io == "uint8" and not run.unscored_reason:
        own, score = run.evaluation, metric(METRIC_OF_TASK[run.spec.task])
        quantized = score.score(own.statistics[: len(own.raw_pixels)])
        result = gates.raw_pixels_gate(
            score.score(own.raw_pixels), quantized, run.expected, run.case_id
        )
    return Measurement("io_dtype", result, fields)


def integer_only(run: CaseRun) -> Measurement:
    """Every operator of a full-integer model computes on integers."""
    left = [f"{found.op} ({found.tensor}, {found.dtype})" for found in float_operators(run.graph)]
    integer_ops = {"fraction": integer_fraction(run.graph), "float_ops": left}
    fields = {"integer_ops": integer_ops, **_artifact(run)}
    return Measurement("integer_only", gates.integer_only_gate(left, run.case_id), fields)


def size(run: CaseRun) -> Measurement:
    """The artifact's bytes against the float artifact's."""
    quantized = run.built.artifact.size_bytes
    reference = run.float_built.artifact.size_bytes
    ratio = quantized / reference
    size_bytes = {"float": reference, "quantized": quantized, "ratio": ratio}
    fields = {"size_bytes": size_bytes, **_artifact(run)}
    return Measurement("size", gates.size_gate(ratio, run.expected, run.case_id), fields)


def cpu_speedup(run: CaseRun) -> Measurement:
    """Latency on this host against float, measured in interleaved runs on one thread."""
    timed = run.timed
    fields = {
        "cpu": {
            "kind": "measured",
            "float_ms": _milliseconds(timed.float_s),
            "quantized_ms": _milliseconds(timed.quantized_s),
            "speedup": timed.speedup,
            "threads": 1,
            "host": platform.machine(),
        },
        **_artifact(run),
    }
    result = gates.cpu_speed_gate(
        timed.speedup, run.recipe, run.spec.arm_speedup, run.expected, run.case_id
    )
    return Measurement("cpu_speedup", result, fields, tuple(map(float, timed.quantized_s)))


def npu_speedup(run: CaseRun, target: str, core: str) -> Measurement:
    """Coverage and modelled latency on an NPU against the best case of an ARM core.

    On an ARM host the measured latency of this host takes the modelled core's place.
    """
    entry = run.npu_entry(target, core)
    if gates.is_arm_host():
        host_ms = _milliseconds(run.timed.quantized_s)
        entry = arm_cpu.with_measured_baseline(entry, platform.machine(), host_ms)
    result = gates.npu_speed_gate(entry, run.expected, run.case_id)
    rounds = (entry["latency_ms"] / 1e3,) if entry["latency_ms"] is not None else ()
    return Measurement("npu_speedup", result, {"npu": [entry], **_artifact(run)}, rounds)


def _artifact(run: CaseRun) -> dict:
    """Which file the figures are of: every gate says it, whichever of them run."""
    artifact = run.built.artifact
    return {"artifact": {"path": str(artifact.path), "sha256": artifact.sha256}}


def _whose_drop(run: CaseRun, drop: float, float_score: float, count: int) -> str:
    """Tells how much of a drop is left with the same weights and no calibrated ranges."""
    uncalibrated = CaseRun(run.spec, UNCALIBRATED, run.pipeline).evaluation
    score = metric(METRIC_OF_TASK[run.spec.task])
    without = float_score - score.score(uncalibrated.statistics[:count])
    advice = (
        "8 bits cost most of it, calibration does not: int16 activations, wider layers or "
        "quantization-aware training may help"
        if without > drop / 2
        else "calibrated ranges cost most of it: look at the calibration set"
    )
    return (
        f"the drop is {drop / float_score:.2%} of float; with the same weights and the range "
        f"of each sample ({UNCALIBRATED.name}) it is {without:.4f} instead of {drop:.4f}: {advice}"
    )


def _notes(run: CaseRun) -> list[str]:
    notes = []
    if run.recipe.slow_on_host:
        notes.append(
            f"scored on {run.evaluated_samples} samples: {run.recipe.name} runs on reference "
            "kernels on this host, about 40 times slower than float32"
        )
    if run.unscored_reason:
        notes.append(run.unscored_reason)
    return notes


def _milliseconds(seconds: np.ndarray) -> float:
    return float(np.median(seconds) * 1e3)


def _largest(*values: int | None) -> int | None:
    return max((value for value in values if value is not None), default=None)
