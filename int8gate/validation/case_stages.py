"""The stages of a case, in the order of the data, each a function of what earlier ones gave.

    artifacts -> scoring -> float evaluation -> number of samples -> evaluation -> audit, timing

Every function takes the plan and the pipeline that computes, then the values of its inputs.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from int8gate.calibration_data.preprocessing import Preprocessing
from int8gate.engine import code_identity
from int8gate.engine.cache import CacheEntry
from int8gate.engine.worker import WorkerError
from int8gate.model_zoo.spec import ModelSpec
from int8gate.quantizers.activation_audit import not_compared, worst_first
from int8gate.quantizers.diagnosis import ConversionFailed
from int8gate.quantizers.pipeline import Built, Pipeline
from int8gate.quantizers.sources import source_of
from int8gate.runtimes.artifact import TRAINED_ONNX
from int8gate.tasks.registry import task
from int8gate.validation.around_network import Scoring
from int8gate.validation.cached_results import KeptEvaluation
from int8gate.validation.case_plan import CasePlan, ScoringPlan, plan_scoring
from int8gate.validation.evaluation import evaluate
from int8gate.validation.expectations import Expectations
from int8gate.validation.generation import generated
from int8gate.validation.metrics.registry import metric, places_of
from int8gate.validation.noninferiority import enough_samples
from int8gate.validation.preprocessing_mismatch import fed_otherwise
from int8gate.validation.speed import Interleaved, interleave


@dataclass(frozen=True)
class CaseStage:
    """`run` is called with (plan, pipeline, values of `inputs`, functions that give `on_demand`).

    What stands `on_demand` is computed only where the stage asks for it.
    """

    name: str
    run: Callable
    inputs: tuple[str, ...] = ()
    on_demand: tuple[str, ...] = ()


def stages_of(plan: CasePlan, expected: Expectations) -> tuple[CaseStage, ...]:
    """What is done with a case, each stage behind those that it takes."""
    listed = [
        CaseStage("imported", imported),
        CaseStage("host", host),
        CaseStage("built", quantized),
        CaseStage("scoring", plan_scoring),
    ]
    if plan.has_float:
        listed += [
            CaseStage("float_spec", float_spec),
            CaseStage("exported", exported, ("float_spec",)),
            CaseStage("float_built", float_artifact, ("float_spec",)),
            CaseStage("compared", compared, ("exported", "float_built")),
            CaseStage(
                "float_evaluation",
                evaluate_float,
                ("float_spec", "exported", "compared", "scoring", "host"),
            ),
        ]
    if plan.recipe.slow_on_host:

        def counted(plan, pipeline, scoring, scored):
            return enough(plan, scoring, scored, expected)

        listed.append(CaseStage("samples", counted, ("scoring",), ("float_evaluation",)))
    else:
        listed.append(CaseStage("samples", lambda _, __, scoring: scoring.samples, ("scoring",)))
    inputs = ("scoring", "host", "samples")
    if plan.recipe.is_reference:
        listed.append(CaseStage("evaluation", lambda _, __, scored: scored, ("float_evaluation",)))
    elif plan.has_float:
        listed.append(CaseStage("evaluation", evaluate_pair, ("compared", *inputs, "built")))
    else:
        listed.append(CaseStage("evaluation", evaluate_alone, ("built", *inputs)))
    judged = ("float_evaluation", "compared") if plan.has_float else ("evaluation", "built")
    listed.append(CaseStage("audit", audit, ("scoring",), judged))
    if plan.has_float:
        listed.append(CaseStage("timed", timed, ("float_built", "built")))
        listed.append(CaseStage("generation", generated, ("float_built", "built", "scoring")))
    return tuple(listed)


def imported(plan: CasePlan, pipeline: Pipeline) -> dict | None:
    """The importer's report; None for a model that needs no import."""
    return pipeline.exported(plan.spec).meta["result"] if plan.source.is_reported else None


def host(plan: CasePlan, pipeline: Pipeline) -> CacheEntry | None:
    """What the host runs around a network that was cut out of its graph."""
    return pipeline.exported(plan.spec) if plan.source.is_cut else None


def quantized(plan: CasePlan, pipeline: Pipeline) -> Built:
    """The case's artifact."""
    return pipeline.artifact(plan.spec, plan.recipe)


def float_spec(plan: CasePlan, pipeline: Pipeline) -> ModelSpec:
    """The model that the float artifact is of: the case's, or the float twin that a user declares
    beside a quantized file.
    """
    is_twin = plan.recipe.is_prequantized and plan.own and plan.own.float_file
    return pipeline.float_twin(plan.spec) if is_twin else plan.spec


def exported(plan: CasePlan, pipeline: Pipeline, float_spec: ModelSpec) -> CacheEntry:
    """The network that the float artifact is made from."""
    return pipeline.exported(float_spec)


def float_artifact(plan: CasePlan, pipeline: Pipeline, float_spec: ModelSpec) -> Built:
    """What the case's artifact is compared with."""
    return pipeline.artifact(float_spec, plan.toolchain.reference)


def compared(plan: CasePlan, pipeline: Pipeline, exported: CacheEntry, built: Built) -> Built:
    """What a case is compared with: the float artifact or, of a network that came with scales, that
    network with the fake quantization that it was trained with. The float network within was never
    trained to compute without.
    """
    trained = exported.path / TRAINED_ONNX
    if plan.recipe.is_reference or not trained.is_file():
        return built
    artifact = replace(built.artifact, path=trained, sha256=f"{exported.key} {TRAINED_ONNX}")
    return replace(built, artifact=artifact)


def enough(
    plan: CasePlan,
    scoring: ScoringPlan,
    scored: Callable[[], KeptEvaluation],
    expected: Expectations,
) -> int:
    """Fewer than the float artifact is scored on where kernels are slow on this host: what the
    tolerance needs.
    """
    if scoring.unscored_reason:
        return scoring.samples
    reference, gated = scored(), metric(plan.metrics[0])
    score = gated.score(reference.statistics)
    tolerance = expected.tolerance(score, gated.higher_is_better)
    needed = enough_samples(gated, reference.statistics, reference.sources, tolerance)
    return min(scoring.samples, needed)


def evaluate_float(
    plan: CasePlan,
    pipeline: Pipeline,
    float_spec: ModelSpec,
    exported: CacheEntry,
    built: Built,
    scoring: ScoringPlan,
    host: CacheEntry | None,
) -> KeptEvaluation:
    """The float artifact's scores and its fidelity to the network that it was made from; the scores
    alone of one that came with scales (`compared`).
    """
    if built.artifact.path.name == TRAINED_ONNX:
        return scores(plan, pipeline, scoring, host, built, scoring.samples)
    reference = exported.key, lambda: exported.path / source_of(float_spec).form
    return scores(plan, pipeline, scoring, host, built, scoring.samples, reference)


def evaluate_pair(
    plan: CasePlan,
    pipeline: Pipeline,
    float_built: Built,
    scoring: ScoringPlan,
    host: CacheEntry | None,
    count: int,
    built: Built,
) -> KeptEvaluation:
    """The case's own scores and its fidelity to the float artifact."""
    artifact = float_built.artifact
    reference = artifact.sha256, lambda: artifact.path
    return scores(plan, pipeline, scoring, host, built, count, reference, is_quantized=True)


def evaluate_alone(
    plan: CasePlan,
    pipeline: Pipeline,
    built: Built,
    scoring: ScoringPlan,
    host: CacheEntry | None,
    count: int,
) -> KeptEvaluation:
    """The scores of a quantized file without a float model."""
    return scores(plan, pipeline, scoring, host, built, count)


def scored_by(
    metrics: tuple[str, ...], decode: str | None, preprocessing: Preprocessing
) -> tuple[str, ...]:
    """What reaches all the code that the scores of a file depend on."""
    named = (*places_of(metrics), *([decode] if decode else []), *preprocessing.hooks)
    return ("int8gate.validation.evaluation:evaluate", *named)


def scores(
    plan: CasePlan,
    pipeline: Pipeline,
    scoring: ScoringPlan,
    host: CacheEntry | None,
    built: Built,
    count: int,
    reference: tuple[str, Callable[[], Path]] | None = None,
    provider: str | None = None,
    is_quantized: bool = False,
) -> KeptEvaluation:
    """An artifact's scores on the first `count` samples, and its fidelity to a `reference`: its
    identity, and what gives its file. That and what the host runs are opened on a miss alone.
    """
    spec, metrics, decode = plan.spec, scoring.metrics, scoring.decode
    judged = task(spec.task)
    to_float = tuple(judged.to_float.items()) if metrics else ()
    generation = (
        tuple(judged.generation.items()) if metrics and is_quantized and not plan.own else ()
    )
    guessed = scoring.answers, scoring.decode_is_guess
    compared = (*guessed, plan.output_names, to_float, generation, judged.shows_pictures)
    agreement = [scoring.answers] if scoring.answers else []
    agreement += [place for _, place in (*to_float, *generation)]
    parts = {
        "model": built.artifact.sha256,
        "reference": reference[0] if reference else "none",
        "samples": scoring.digest,
        "count": count,
        "preprocessing": repr(spec.preprocessing),
        "metrics": metrics,
        "around": [decode, host and host.key, repr(plan.network)],
        "compared": compared,
        "host": platform.machine(),  # kernels differ between hosts
        "provider": provider,
        **code_identity.identity(*scored_by(metrics, decode, spec.preprocessing), *agreement),
    }

    def build(directory: Path) -> dict:
        samples = pipeline.data.evaluation(spec)
        around = (plan.network, decode, host and host.path)
        asked = Scoring(samples, spec.preprocessing, metrics, *around, *compared)
        real = reference[1]() if reference else None
        result = pipeline.runner.in_worker(
            evaluate, built.artifact.path, real, asked, count, provider, directory
        )
        took = {"seconds": result.seconds, "peak_rss_bytes": result.peak_rss_bytes}
        return result.value | took

    entry = pipeline.cache.get_or_build("evaluation", parts, build, opened=False)
    return KeptEvaluation.of(entry)


def audit(
    plan: CasePlan,
    pipeline: Pipeline,
    scoring: ScoringPlan,
    judged: Callable[[], KeptEvaluation],
    built: Callable[[], Built],
) -> list[dict] | None:
    """What is wrong with the calibration set, and with how a user's model is fed, worst first.

    None where no set is used, or it is the project's, and nothing is known to be wrong.
    """
    fed = fed_otherwise(plan, scoring, pipeline, judged, built)
    takes_samples = plan.recipe.is_full_integer and not plan.recipe.is_prequantized
    found = pipeline.data.audit(plan.spec) if takes_samples else None
    if found is None:
        return fed or None
    try:
        activations = pipeline.activation_audit(plan.spec, plan.recipe)
    except (ConversionFailed, WorkerError) as error:
        activations = [not_compared(error)]
    return worst_first(fed + found + activations)


def timed(plan: CasePlan, pipeline: Pipeline, float_built: Built, built: Built) -> Interleaved:
    """Rounds on this host; in the worker, so that a model that crashes there ends no run."""
    models = (float_built.artifact.path, built.artifact.path)
    return pipeline.runner.in_worker(interleave, *models).value
