"""Why a quantized model scores less than the float one, as far as that can be told."""

from __future__ import annotations

from int8gate.engine.worker import WorkerError
from int8gate.quantizers.diagnosis import ConversionFailed
from int8gate.quantizers.recipe import RECIPES
from int8gate.runtimes.tflite_graph import channel_spread
from int8gate.validation.around_network import Scoring
from int8gate.validation.case_run import CaseRun
from int8gate.validation.error_origin import locate
from int8gate.validation.metrics.registry import metric

UNCALIBRATED = RECIPES["tflite_dynamic_int8"]  # int8 weights, ranges taken from each sample
PER_CHANNEL = RECIPES["tflite_int8"]
MISMATCH = "activation_mismatch"  # a finding of the audit


def error_origin(run: CaseRun) -> dict | None:
    """Where along the graph the artifact leaves the float one, the record's `error_origin`; None
    where there is nothing to compare with.
    """
    if not run.plan.has_float or run.recipe.is_reference:
        return None
    spec = run.spec
    host = run.result("host")
    samples = run.pipeline.data.evaluation(spec)
    around = (run.plan.network, None, host and host.path)
    scoring = Scoring(samples, spec.preprocessing, (), *around)
    files = (run.float_built.artifact.path, run.built.artifact.path)
    try:
        return run.in_worker(locate, *files, scoring)
    except WorkerError:
        return None  # a remark is not worth the gate


def known_cause(run: CaseRun) -> str | None:
    """Of a drop: what is known to cost accuracy in this case; None where nothing is."""
    if not run.recipe.per_channel:
        return _per_tensor_cause(run)
    clipped = (each["evidence"] for each in run.audit or [] if each["kind"] == MISMATCH)
    return next(clipped, None)


def _per_tensor_cause(run: CaseRun) -> str:
    """What one scale a tensor does to the weights, from the scales of the per-channel model."""
    if run.recipe.toolchain != PER_CHANNEL.toolchain:  # of whose files alone scales are read
        return "the weights are quantized per tensor: one scale for all channels of a layer"
    per_channel = run.pipeline.artifact(run.spec, PER_CHANNEL).artifact
    spread = run.in_worker(channel_spread, per_channel.path)
    return (
        "the weights are quantized per tensor: one scale for all channels of a layer, and in "
        f"{spread.tensor} the widest channel's range is {spread.ratio:.0f} times that of the "
        f"narrowest tenth, which is left {127 / spread.ratio:.1f} of 127 levels; quantize per "
        f"channel ({PER_CHANNEL.name})"
    )


def whose_drop(run: CaseRun, drop: float, float_score: float, count: int) -> list[str]:
    """Tells how much of a drop is left with the same weights and no calibrated ranges."""
    try:
        uncalibrated = CaseRun(run.spec, UNCALIBRATED, run.pipeline).evaluation
    except (ConversionFailed, WorkerError):
        return []  # a remark is not worth the gate: that recipe's own case tells of its failure
    gated = metric(run.plan.metrics[0])
    without = gated.drop(float_score, gated.score(uncalibrated.statistics[:count]))
    advice = (
        "8 bits cost most of it, calibration does not: int16 activations, wider layers or "
        "quantization-aware training may help"
        if without > drop / 2
        else "calibrated ranges cost most of it: look at the calibration set"
    )
    share = drop / (abs(float_score) or 1)
    return [
        f"the drop is {share:.2%} of float; with the same weights and the range "
        f"of each sample ({UNCALIBRATED.name}) it is {without:.4f} instead of {drop:.4f}: {advice}"
    ]
