"""The gates: each is one function from measured values to a `GateResult`.

A gate never raises for what it judges: it says passed, failed, inconclusive or invalid, with the
numbers. A failed one's message says what was measured, what was allowed, the likely cause, and the
command to run next.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quantizers.recipe import Recipe
from runtimes.artifact import Artifact, TensorSpec
from runtimes.sessions import open_session
from validation.expectations import Expectations
from validation.metrics import Metric
from validation.statistics import NonInferiority

SCALE_TOLERANCE = 0.03  # of the scale that maps pixel 0..255 exactly
EXPORT_SQNR_DB = 60.0  # float32 in another order of summation stays above 90
ZERO_POINT_LEVELS = 1.0  # levels a zero point may be off


@dataclass(frozen=True)
class GateResult:
    """`status` as in the record's `gates`; `message` is for people."""

    status: str
    message: str = ""


def failed(measured: str, allowed: str, cause: str, next_command: str) -> GateResult:
    """A failure with the four things its reader needs."""
    return GateResult(
        "failed",
        f"measured: {measured}\nallowed: {allowed}\nlikely cause: {cause}\nnext: {next_command}",
    )


def accuracy_gate(
    result: NonInferiority,
    rule: str,
    metric: Metric,
    quantized: float,
    chance: float,
    case_id: str,
    cause: str | None = None,
) -> GateResult:
    """Non-inferiority of the quantized model against the float one, and better than the baseline.

    `cause` is the known one of a failure, where there is one.
    """
    if result.verdict == "invalid":
        return GateResult("invalid", result.reason)
    is_worthless = metric.drop(quantized, chance) <= 0
    if is_worthless and result.verdict != "failed":
        return failed(
            f"{metric.name} of {quantized:.4g}, {metric.baseline} reaches {chance:.4g} on the same "
            f"{result.samples} samples",
            f"better than {metric.baseline}, whatever the drop from float",
            cause or "the quantized outputs carry less than the input does without a network",
            f'pytest -k "{case_id.split("-")[0]} and accuracy" --report report  '
            "(what each recipe costs)",
        )
    if result.verdict == "passed":
        return GateResult("passed")
    measured = (
        f"{metric.name} drops by {result.drop:.4f}, at most {result.drop_upper_95:.4f} at 95% "
        f"confidence, on {result.samples} samples of {result.sources} sources"
        f"{f' ({metric.baseline} alone reaches {chance:.4g})' * is_worthless}"
    )
    allowed = f"a drop of {result.tolerance:.4f} ({rule})"
    if result.verdict == "inconclusive":
        return GateResult(
            "inconclusive",
            f"measured: {measured}\nallowed: {allowed}\n"
            f"the drop itself is within the tolerance, its uncertainty is not: {result.reason}",
        )
    return failed(
        measured,
        allowed,
        cause
        or "activation ranges stretched by outliers or by calibration unlike the evaluation set, "
        "or layers that 8 bits cannot carry",
        f'pytest -k "{case_id.replace("-", " and ")} or '
        f'{case_id.split("-")[0]} and tflite_int16x8" --report report  '
        "(if int16 activations hold, the activations are the cause)",
    )


def labels_gate(
    result: NonInferiority, score: float, least: float | None, metric: Metric, case_id: str
) -> GateResult:
    """A quantized model without a float twin, by the labels alone.

    `result` is of the model against itself: whether it is better than the baseline. `least` is the
    metric that its expectations ask for.
    """
    if result.verdict == "invalid":
        reason = result.reason.replace("the float", "its")
        return GateResult("failed", f"no float twin to compare with, and {reason}")
    if least is not None and metric.drop(least, score) > 0:
        return failed(
            f"{metric.name} of {score:.4f}, no float twin to compare with",
            f"at least {least:.4f} (least_metric)",
            "other preprocessing or class numbers than the file was made for, or a damaged file",
            f'pytest -k "{case_id.replace("-", " and ")} and io_dtype"',
        )
    return GateResult("passed")


def export_gate(sqnr_db: float | None, case_id: str) -> GateResult:
    """The float artifact computes what the network that it was converted from computes."""
    if sqnr_db is not None and sqnr_db >= EXPORT_SQNR_DB:
        return GateResult("passed")
    found = "no signal" if sqnr_db is None else f"SQNR of {sqnr_db:.1f} dB"
    return failed(
        f"{found} between the float artifact and the exported network",
        f"at least {EXPORT_SQNR_DB:.0f} dB",
        "the conversion to float TFLite changed the network: every other recipe inherits it",
        f'pytest -k "{case_id.replace("-", " and ")} and accuracy" --artifact-cache none',
    )


def io_dtype_gate(
    artifact: Artifact, recipe: Recipe, pixel_range: tuple[float, float] | None, case_id: str
) -> GateResult:
    """Declared dtypes, and a scale and zero point that mean something.

    `pixel_range` is what pixel 0 and pixel 255 become; with it, an 8-bit input must map raw pixels.
    """
    problems = []
    for kind, specs in (("input", artifact.inputs), ("output", artifact.outputs)):
        for spec in specs:
            if spec.dtype not in recipe.io_dtypes:
                declared = " or ".join(recipe.io_dtypes)
                problems.append(
                    f"{kind} {spec.name} is {spec.dtype}, {recipe.name} declares {declared}"
                )
            elif recipe.io != "float32":
                problems += _scale_problems(kind, spec)
    if not problems and pixel_range and artifact.inputs[0].dtype in ("int8", "uint8"):
        problems += _pixel_problems(artifact.inputs[0], pixel_range)
    if not problems:
        return GateResult("passed")
    return failed(
        "; ".join(problems),
        f"{' or '.join(recipe.io_dtypes)} inputs and outputs with finite, positive scales that map "
        "the declared range",
        "the converter kept a float border, or the calibration pictures do not span 0..255",
        f'pytest -k "{case_id.replace("-", " and ")} and io_dtype" --artifact-cache none',
    )


def _scale_problems(kind: str, spec: TensorSpec) -> list[str]:
    if spec.scale is None or not np.isfinite(spec.scale) or spec.scale <= 0:
        return [f"{kind} {spec.name} has scale {spec.scale}"]
    limits = np.iinfo(spec.dtype)
    if not limits.min <= spec.zero_point <= limits.max:
        return [f"{kind} {spec.name} has zero point {spec.zero_point}, outside {spec.dtype}"]
    return []


def _pixel_problems(spec: TensorSpec, pixel_range: tuple[float, float]) -> list[str]:
    low, high = pixel_range
    exact = (high - low) / 255
    if abs(spec.scale / exact - 1) > SCALE_TOLERANCE:
        return [
            f"input {spec.name} has scale {spec.scale:.6g}; raw pixels need {exact:.6g} "
            f"({low:g}..{high:g} over 255 levels)"
        ]
    at_zero = low / spec.scale + spec.zero_point - np.iinfo(spec.dtype).min
    if abs(at_zero) > ZERO_POINT_LEVELS:
        return [f"input {spec.name} stores pixel 0 as level {at_zero:.1f} instead of 0"]
    return []


def integer_only_gate(float_operators: list[str], case_id: str) -> GateResult:
    """No operator of a full-integer model computes in float."""
    if not float_operators:
        return GateResult("passed")
    return failed(
        f"{len(float_operators)} float operators: {_first(float_operators)}",
        "none in a full-integer model",
        "the converter has no integer kernel for these operators and leaves them in float silently",
        f'pytest -k "{case_id.replace("-", " and ")} and npu_speedup"  (shows what it costs), '
        "or replace the operators in the network",
    )


def _first(names: list[str], most: int = 5) -> str:
    """The first names of a list for a message; the record has them all."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more (see the report)" if rest > 0 else "")


def size_gate(ratio: float, expected: Expectations, case_id: str) -> GateResult:
    """The artifact is smaller than the float one by the expected ratio."""
    if ratio <= expected.size_ratio:
        return GateResult("passed")
    return failed(
        f"{ratio:.2f} of the float artifact's size",
        f"at most {expected.size_ratio:.2f}",
        "weights stayed in float, or the network is so small that its metadata dominates",
        f'pytest -k "{case_id.replace("-", " and ")} and integer_only"',
    )


def cpu_speed_gate(
    speedup: float, recipe: Recipe, arm_speedup: float, expected: Expectations, case_id: str
) -> GateResult:
    """The interleaved speed ratio on the host: gated for full INT8, recorded for the others."""
    if not recipe.gates_cpu_speed:
        return GateResult("recorded", f"{speedup:.2f}x of float on this host: recorded, not gated")
    needed = arm_speedup if is_arm_host() else expected.cpu_speedup_x86
    if speedup >= needed:
        return GateResult("passed")
    return failed(
        f"{speedup:.2f}x of float on {platform.machine()} (median of interleaved runs)",
        f"at least {needed:.2f}x",
        "operators without a fast integer kernel on this CPU, or a network too small to gain",
        f'pytest -k "{case_id.replace("-", " and ")} and cpu_speedup"  (again, on an idle machine)',
    )


def npu_speed_gate(entry: dict, expected: Expectations, case_id: str) -> GateResult:
    """Coverage first, then the speedup over the best-case CPU: see `runtimes/`."""
    operators = entry["npu_ops"] + entry["cpu_ops"]
    coverage = entry["npu_ops"] / operators if operators else 0.0
    fallback = ", ".join(sorted({str(op.get("op", op)) for op in entry["cpu_fallback"]}))
    where = f"{entry['target']} ({entry['system_config']}, {entry['memory_mode']}, modelled)"
    if coverage < expected.npu_coverage:
        return failed(
            f"{entry['npu_ops']} of {operators} operators on {where}; on the CPU: "
            f"{fallback or 'all'}",
            f"coverage of at least {expected.npu_coverage:.0%}",
            "float or unsupported operators: the compiler leaves them on the CPU without an error",
            f'pytest -k "{case_id.replace("-", " and ")} and integer_only"',
        )
    if entry["speedup"] is not None and entry["speedup"] >= expected.npu_speedup:
        return GateResult("passed")
    return failed(
        _npu_times(entry, where),
        f"at least {expected.npu_speedup:.2f}x",
        "memory-bound layers, or operators that fall back to the CPU and are charged to the NPU",
        f'pytest -k "{case_id.replace("-", " and ")} and npu" --target ethos_u85_2048',
    )


def simulated_gate(entry: dict, expected: Expectations, case_id: str) -> GateResult:
    """Of an NPU that is simulated: coverage, and the score there beside the host's; no speed."""
    if reason := entry.get("unavailable"):
        return GateResult("not_measured", reason)
    operators = entry["npu_ops"] + entry["cpu_ops"]
    if entry["npu_ops"] < expected.npu_coverage * operators:
        fallback = ", ".join(sorted({found["op"] for found in entry["cpu_fallback"]}))
        return failed(
            f"{entry['npu_ops']} of {operators} operators on {entry['target']} (simulated); on the "
            f"CPU: {fallback}",
            f"coverage of at least {expected.npu_coverage:.0%}",
            "operators or types that the compiler leaves to the CPU without an error",
            f'pytest -k "{case_id.replace("-", " and ")} and integer_only"',
        )
    found = entry.get("accuracy")
    if found and found["simulated"] < expected.minimum(found["host"]):
        return failed(
            f"{found['metric']} of {found['simulated']:.4f} on {entry['target']} (simulated), "
            f"{found['host']:.4f} on this host, {found['samples']} samples",
            f"at least {expected.accuracy} of the host's",
            "the NPU rounds elsewhere, or runs operators in another precision",
            f'pytest -k "{case_id.replace("-", " and ")} and accuracy"',
        )
    return GateResult(
        "not_measured",
        f"{entry['target']} compiles all {operators} operators; a simulator has no latency",
    )


def _npu_times(entry: dict, where: str) -> str:
    baseline = entry["cpu_baseline"]
    against = f"{baseline['core']} best case {baseline['best_ms']:.4g} ms ({baseline['kind']})"
    if entry["speedup"] is None:
        return f"no speedup on {where}: the compiler gave no latency; {against}"
    return f"{entry['speedup']:.2f}x on {where}: {entry['latency_ms']:.4g} ms, {against}"


def is_arm_host() -> bool:
    """Whether measured CPU figures of this host are those of an ARM CPU."""
    return platform.machine().lower() in ("aarch64", "arm64")


def float_refused_by(model: Path, case_id: str) -> GateResult:
    """`float_refused_gate` of a file, which it loads: for a worker process."""
    return float_refused_gate(open_session(model), case_id)


def float_refused_gate(session, case_id: str) -> GateResult:
    """An integer model must refuse a float batch, not read its bytes as levels."""
    batch = [np.zeros(spec.shape, np.float32) for spec in session.inputs]
    try:
        session.run(batch)
    except TypeError:
        return GateResult("passed")
    return failed(
        "a float32 batch was accepted",
        "a TypeError: the model takes integers",
        "the artifact kept a float input",
        f'pytest -k "{case_id.replace("-", " and ")} and integer_only"',
    )


def raw_pixels_gate(
    raw: float, quantized: float, expected: Expectations, case_id: str
) -> GateResult:
    """Raw bytes 0..255 fed as they are score as well as preprocessed and quantized ones."""
    if raw >= expected.minimum(quantized):
        return GateResult("passed")
    return failed(
        f"{raw:.4f} on raw pixels 0..255, {quantized:.4f} on preprocessed ones",
        f"at least {expected.accuracy} of the latter",
        "the input's scale and zero point do not map pixel 0 and 255 to the network's range",
        f'pytest -k "{case_id.replace("-", " and ")} and io_dtype" --artifact-cache none',
    )
