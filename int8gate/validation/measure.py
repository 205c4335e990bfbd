"""What each gate measures of a case: the door through which tests and other callers come.

measurement = measure.accuracy(case_run)
measurement.result        the gate's status and message
measurement.fields        its part of the case record
"""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from int8gate.engine.host import has_dot_product
from int8gate.model_zoo.user_models.declaration import OwnModel
from int8gate.targets import arm_cpu
from int8gate.targets import registry as targets
from int8gate.targets.target import MEASURED, MODELLED, SIMULATED
from int8gate.tasks.registry import task
from int8gate.validation import cached_results, causes, gates, preprocessing_mismatch, record
from int8gate.validation.cached_results import KeptEvaluation
from int8gate.validation.case_run import CaseRun
from int8gate.validation.gates import GateResult
from int8gate.validation.metrics.registry import metric
from int8gate.validation.picture_strip import strips
from int8gate.validation.rerun import RESCUE, rerun

NOTICEABLE_DROP = 0.003  # of the float metric: from here on the report says where it comes from


NO_TWIN = "no float model to compare the quantized file with"
NAME_TWIN = '; name it with float_file = "FILE" in the TOML'


@dataclass(frozen=True)
class Measurement:
    """A gate's result, its fields of the case record, and seconds a round where there are any."""

    gate: str
    result: GateResult
    fields: dict = field(default_factory=dict)
    rounds_s: tuple[float, ...] = ()


def accuracy(run: CaseRun) -> Measurement:
    """Non-inferiority to the float reference on the evaluation set, and fidelity.

    Nothing is proved by a calibration set that the audit calls wrong, nor by a model that is fed
    otherwise than it was trained.
    """
    if too_few := _too_few_samples(run):
        return Measurement("accuracy", too_few)
    found = _accuracy(run)
    if run.recipe.is_reference:  # it has no gate of speed
        found = _with_generation(run, found)
    if found.result.status in ("failed", "inconclusive"):
        found = _with_way_out(run, found)
    audited = run.audit
    if audited is None:
        return found
    wrong = [finding for finding in audited if finding["severity"] == "error"]
    result = GateResult("invalid", _as_sentences(wrong)) if wrong else found.result
    return replace(found, result=result, fields=found.fields | {"calibration_audit": audited})


def _with_way_out(run: CaseRun, found: Measurement) -> Measurement:
    """Where the error arises, and of a calibrated recipe what looks for a remedy."""
    origin, result = causes.error_origin(run), found.result
    if origin:
        result = gates.with_origin(result, origin["sentence"])
    if run.recipe.is_calibrated:
        command = rerun(run.case_id, "accuracy", RESCUE, "tries remedies, the cheapest first")
        result = gates.with_way_out(result, origin["operators"] if origin else [], command)
    told = {"error_origin": origin} if origin else {}
    return replace(found, result=result, fields=found.fields | told)


def _too_few_samples(run: CaseRun) -> GateResult | None:
    """Of a metric of ours, a fraction, before anything is converted."""
    own = run.plan.own
    if run.scoring.unscored_reason or not run.plan.has_float or (own and own.metric):
        return None
    if metric(run.plan.metrics[0]).unit != "fraction":
        return None
    return gates.too_few_samples(run.expected, run.scoring.available, own and own.where)


def _as_sentences(findings: list[dict]) -> str:
    told = "\n".join(f"{finding['evidence']}: {finding['cure']}" for finding in findings)
    of_the_set = any(finding["kind"] != preprocessing_mismatch.KIND for finding in findings)
    wrong = "the calibration set is wrong" if of_the_set else "the declared preprocessing is wrong"
    return f"{wrong}\n{told}"


def _accuracy(run: CaseRun) -> Measurement:
    own = run.evaluation
    fields = {
        "fidelity": {
            "sqnr_db": own.sqnr_db,
            "cosine": own.cosine,
            "agreement": own.agreement,
            "outputs": own.fidelity,
        },
        "seconds": run.built.seconds | {"evaluate": own.seconds},
        "peak_rss_bytes": _largest(run.built.peak_rss_bytes, own.peak_rss_bytes),
        "notes": _notes(run),
        "calibration": run.built.calibration,
        "training": run.built.training,
        **_artifact(run),
    }
    if run.scoring.unlabelled_reason:
        return _accuracy_by_fidelity(run, own, fields)
    if reason := run.scoring.unscored_reason:
        return Measurement("accuracy", GateResult("not_measured", reason), fields)
    if not run.plan.has_float:
        return _accuracy_by_labels(run, own, fields)
    reference, found_by = run.float_evaluation, metric(run.plan.metrics[0])
    found = cached_results.compared(
        run.pipeline.cache,
        run.plan.metrics,
        reference,
        own,
        run.expected.accuracy,
        lambda float_score: run.expected.tolerance(float_score, found_by.higher_is_better),
        run.pipeline.settings.seed,
    )
    result, float_score = found.test, found.float_score
    fields["accuracy"] = _scores(run, own, found) | {
        **_pair(found),
        "tolerance_rule": run.expected.accuracy,
        "also": found.also,
        "to_float": found.to_float,
        "pictures": strips(own.pictures),
        "groups": {name: _of_group(part) for name, part in found.groups.items()},
    }
    can_tell = run.recipe.is_full_integer and causes.UNCALIBRATED.name in run.spec.recipes
    if can_tell and result.drop > NOTICEABLE_DROP * abs(float_score):
        fields["notes"] += causes.whose_drop(run, result.drop, float_score, result.samples)
    cause = causes.known_cause(run)

    def judged(pair: cached_results.ScoredPair) -> GateResult:
        return gates.accuracy_gate(
            pair.test,
            run.expected.accuracy,
            found_by,
            (pair.float_score, pair.quantized_score, pair.chance),
            run.case_id,
            cause,
            run.plan.own.where if run.plan.own else None,
        )

    gate = judged(found)
    if found.groups:
        gate = gates.worst_part({name: judged(part) for name, part in found.groups.items()})
    if gate.status == "passed" and run.recipe.is_reference:
        gate = gates.export_gate(own.fidelity, run.case_id)
    elif gate.status in ("passed", "inconclusive"):
        gate = gates.floor_gate(own.fidelity, run.case_id) or gate
    least = run.expected.least_psnr_db
    if least is not None and gate.status in ("passed", "inconclusive"):
        gate = gates.picture_gate(found.to_float["picture_psnr"], least, run.case_id) or gate
    gate = gates.reference_gate(float_score, run.expected.least_metric, found_by) or gate
    if result.is_worthless and run.plan.own:
        gate = replace(gate, message=f"{gate.message}: {_worthless(run.plan.own)}")
    return Measurement("accuracy", gate, fields)


def _pair(found: cached_results.ScoredPair) -> dict:
    """The record's figures of a comparison with float."""
    test = found.test
    return {
        "float": found.float_score,
        "drop": test.drop,
        "drop_upper_95": test.drop_upper_95,
        "drop_lower_95": test.drop_lower_95,
        "tolerance": test.tolerance,
    }


def _of_group(found: cached_results.ScoredPair) -> dict:
    """The record's figures of a part of the samples that is gated by itself."""
    return _pair(found) | {
        "quantized": found.quantized_score,
        "baseline": found.chance,
        "samples": found.test.samples,
        "sources": found.test.sources,
        "verdict": found.test.verdict,
    }


def _worthless(own: OwnModel) -> str:
    """What to look at where the float model itself, a team's own, knows nothing of its samples."""
    fed = (
        f"what the arrays of {own.where} hold (units, the order of columns, how they were scaled)"
        if own.takes_arrays
        else f"colours, mean, std, scale or range of {own.where}"
    )
    places = [*([task(own.task).read_by] if task(own.task).read_by else []), fed]
    return (
        f"quantization is not the cause: look at {', at '.join(places)}, and whether the file is "
        "the trained one"
    )


def _accuracy_by_fidelity(run: CaseRun, own: KeptEvaluation, fields: dict) -> Measurement:
    """Of a model without labels: how close its outputs stay to the float model's."""
    if not run.plan.has_float:
        told = f"{run.scoring.unlabelled_reason}, and there is {NO_TWIN}{NAME_TWIN}"
        return Measurement("accuracy", GateResult("not_measured", told), fields)
    if run.recipe.is_reference:
        gate = gates.export_gate(own.fidelity, run.case_id)
    else:
        gate = gates.fidelity_gate(
            own.fidelity,
            own.agreement,
            run.expected,
            run.spec.task,
            run.case_id,
            run.recipe.activations,
        )
    return Measurement("accuracy", gate, fields)


def _accuracy_by_labels(run: CaseRun, own: KeptEvaluation, fields: dict) -> Measurement:
    """Of a quantized file without a float model: its metric, and that it is above chance."""
    score, seed = metric(run.plan.metrics[0]), run.pipeline.settings.seed
    against_itself = cached_results.compared(
        run.pipeline.cache, run.plan.metrics, own, own, "none", lambda _: 1.0, seed
    )
    fields["accuracy"] = _scores(run, own, against_itself)
    fields["notes"].append("no float model to compare with: judged by the labels alone")
    gate = gates.labels_gate(
        against_itself.test,
        against_itself.quantized_score,
        run.expected.least_metric,
        score,
        run.case_id,
    )
    return Measurement("accuracy", gate, fields)


def _no_float(run: CaseRun) -> GateResult:
    return GateResult("not_measured", NO_TWIN + (NAME_TWIN if run.plan.own else ""))


def _scores(run: CaseRun, own: KeptEvaluation, found: cached_results.Compared) -> dict:
    """The record's `accuracy` as far as the quantized model alone can tell."""
    score = metric(run.plan.metrics[0])
    compared = (
        "float",
        "drop",
        "drop_upper_95",
        "drop_lower_95",
        "tolerance",
        "tolerance_rule",
    )
    return {
        "metric": score.name,
        "unit": score.unit,
        "higher_is_better": score.higher_is_better,
        "quantized": found.quantized_score,
        "samples": found.test.samples,
        "sources": found.test.sources,
        "baseline": {"name": score.baseline, "score": own.chance},
        **dict.fromkeys(compared),
    }


def io_dtype(run: CaseRun) -> Measurement:
    """Declared dtypes and sane scales; a float batch is refused; raw pixels still score."""
    artifact, recipe = run.built.artifact, run.recipe
    fields = {"io": artifact.describe_io(), **_artifact(run)}
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
    left, fields = integer_ops["float_ops"], {"integer_ops": integer_ops, **_artifact(run)}
    if not run.recipe.is_mixed:  # a file that came quantized may say so of another recipe
        left = left + integer_ops.get("float_by_recipe", [])
    return Measurement("integer_only", gates.integer_only_gate(left, run.case_id), fields)


def _float_refused(run: CaseRun) -> dict:
    return asdict(run.in_worker(gates.float_refused_by, run.built.artifact.path, run.case_id))


def size(run: CaseRun) -> Measurement:
    """The artifact's bytes against the float artifact's."""
    if not run.plan.has_float:
        return Measurement("size", _no_float(run), _artifact(run))
    quantized = run.built.artifact.size_bytes
    reference = run.float_built.artifact.size_bytes
    ratio = quantized / reference
    size_bytes = {"float": reference, "quantized": quantized, "ratio": ratio}
    fields = {"size_bytes": size_bytes, **_artifact(run)}
    return Measurement("size", gates.size_gate(ratio, run.expected, run.case_id), fields)


def cpu_speedup(run: CaseRun) -> Measurement:
    """Latency on this host against float, and of a language model its generation with a cache."""
    return _with_generation(run, host_latency(run))


def _with_generation(run: CaseRun, found: Measurement) -> Measurement:
    """A gate's measurement with the record's `generation`, of a task that writes something."""
    if run.generation is None:
        return found
    result = gates.generation_gate(run.generation, run.case_id) or found.result
    return replace(found, result=result, fields=found.fields | {"generation": run.generation})


def host_latency(run: CaseRun) -> Measurement:
    """Latency on this host against float, measured in interleaved runs on one thread."""
    if not run.plan.has_float:
        return Measurement("cpu_speedup", _no_float(run), _artifact(run))
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
        **_artifact(run),
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
    fields = {"npu": [entry], **_artifact(run)}
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
    return Measurement("npu_speedup", result, {"npu": [entry], **_artifact(run)}, rounds)


def _artifact(run: CaseRun) -> dict:
    """Which file the figures are of and how it came about: every gate says it, whichever run."""
    artifact = run.built.artifact
    return {
        "artifact": {"path": str(artifact.path), "sha256": artifact.sha256},
        "conversion": record.describe_conversion(run),
    }


def _notes(run: CaseRun) -> list[str]:
    notes = list(run.built.notes)
    if run.recipe.slow_on_host:
        notes.append(
            f"scored on {run.evaluated_samples} samples: {run.recipe.name} runs on reference "
            "kernels on this host, about 40 times slower than float32"
        )
    if run.scoring.unscored_reason:
        notes.append(run.scoring.unscored_reason)
    if run.plan.own:
        notes += run.pipeline.data.samples(run.spec, "evaluation").notes
    return notes


def _milliseconds(seconds: np.ndarray) -> float:
    return float(np.median(seconds) * 1e3)


def _largest(*values: int | None) -> int | None:
    return max((value for value in values if value is not None), default=None)
