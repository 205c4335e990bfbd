"""What the accuracy gate measures: the drop against float with its bound, and fidelity.

`accuracy` is called through `measure.accuracy`.
"""

from __future__ import annotations

from dataclasses import replace

from int8gate.model_zoo.user_models.declaration import OwnModel
from int8gate.quantizers.file_scales import why_unchanged
from int8gate.tasks.registry import task
from int8gate.validation import cached_results, causes, gates, preprocessing_mismatch
from int8gate.validation.cached_results import KeptEvaluation
from int8gate.validation.case_run import CaseRun
from int8gate.validation.gates import GateResult
from int8gate.validation.measurement import (
    NAME_TWIN,
    NO_TWIN,
    Measurement,
    artifact_fields,
    with_generation,
)
from int8gate.validation.metrics.registry import metric
from int8gate.validation.picture_strip import strips
from int8gate.validation.rerun import RESCUE, rerun

NOTICEABLE_DROP = 0.003  # of the float metric: from here on the report says where it comes from


def accuracy(run: CaseRun) -> Measurement:
    """Non-inferiority to the float reference on the evaluation set, and fidelity.

    Nothing is proved by a calibration set that the audit calls wrong, nor by a model that is fed
    otherwise than it was trained.
    """
    if too_few := _too_few_samples(run):
        return Measurement("accuracy", too_few)
    found = _accuracy(run)
    if run.recipe.is_reference:  # it has no gate of speed
        found = with_generation(run, found)
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
        if run.pipeline.has_scales(run.spec):
            command = f"none: {why_unchanged(run.spec.name)}"
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
        **artifact_fields(run),
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


def _largest(*values: int | None) -> int | None:
    return max((value for value in values if value is not None), default=None)
