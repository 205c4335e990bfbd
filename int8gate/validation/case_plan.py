"""What a case is, resolved once: from a declaration, a recipe and a run's settings.

    plan(spec, recipe, pipeline)           -> CasePlan
    plan_scoring(case_plan, pipeline)      -> ScoringPlan, which opens a user's evaluation set
    unscored_reason(spec, settings)        -> why a run cannot score a model; None where it can

Nothing is converted or run here, but that a user's model file is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

from int8gate.model_zoo.spec import ModelSpec, Network
from int8gate.model_zoo.user_models.declaration import OwnModel
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.sources import Source, source_of
from int8gate.quantizers.toolchains.registry import find
from int8gate.quantizers.toolchains.toolchain import Toolchain
from int8gate.tasks.registry import scenes, task
from int8gate.validation.evaluation import FIDELITY_SAMPLES
from int8gate.validation.expectations import metrics_of


def unscored_reason(spec: ModelSpec, settings: Settings) -> str | None:
    """Why accuracy cannot be measured in this run; None when it can."""
    if settings.random_weights:
        return (
            "accuracy not measured: the weights are random (structure only): leave it out of such "
            'a run with -m "not accuracy"'
        )
    if spec.own:
        return None
    network = spec.network(settings.profile)
    classes = network.classes
    if network.drawn and settings.profile != "compact":
        return (
            "accuracy not measured: nothing here reads the pictures of the full profile: they are "
            "compared with float's"
        )
    if network.tokenizer:  # text has labels in any vocabulary
        return None
    if settings.data_dir is None and classes != scenes()[spec.data].classes:
        return (
            f"accuracy not measured: the {settings.profile} network has {classes} classes and no "
            "labelled pictures of them come with the project"
            f"{': pass --data-dir DIR' if task(spec.task).from_data_dir else ''}"
        )
    return None


@dataclass(frozen=True, kw_only=True)
class CasePlan:
    """A case, and which way it goes.

    Attributes
    ----------
    spec : the model; a user's own one with what its file says.
    source, toolchain : how it comes to its network, and the network to its artifact.
    has_float : there is a float model to compare with: a quantized file may come alone.
    metrics : what it is scored by, the gated one first; none for a task without one.
    output_names : the outputs by the names in a user's file, which converters change.
    """

    spec: ModelSpec
    recipe: Recipe
    settings: Settings
    source: Source
    toolchain: Toolchain
    has_float: bool
    metrics: tuple[str, ...]
    output_names: tuple[str, ...]

    @property
    def own(self) -> OwnModel | None:
        """A user's declaration."""
        return self.spec.own

    @property
    def network(self) -> Network:
        return self.spec.network(self.settings.profile)


@dataclass(frozen=True, kw_only=True)
class ScoringPlan:
    """How the artifacts of a case are scored.

    Attributes
    ----------
    digest, available : of the evaluation set, and how many samples it has.
    samples : how many the float artifact is scored on: all, or what fidelity needs.
    metrics : as of the plan; none where there are no labels.
    decode : from outputs to what metrics and agreement take, ``module:function``.
    answers : what compares answers with the float model's where there are no labels,
        ``module:function``: workers know no task of a plugin.
    decode_is_guess : nobody said that the outputs are what `decode` takes.
    unlabelled_reason : why a user's model is judged by its fidelity to the float one; None else.
    unscored_reason : why accuracy cannot be measured in this run; None where it can.
    """

    digest: str
    available: int
    samples: int
    metrics: tuple[str, ...]
    decode: str | None
    answers: str | None
    decode_is_guess: bool
    unlabelled_reason: str | None
    unscored_reason: str | None


def plan(spec: ModelSpec, recipe: Recipe, pipeline: Pipeline) -> CasePlan:
    """Raises what the inspection of a user's file raises."""
    resolved = pipeline.resolved(spec)
    return CasePlan(
        spec=resolved,
        recipe=recipe,
        settings=pipeline.settings,
        source=source_of(resolved),
        toolchain=find(recipe.toolchain),
        has_float=_has_float(resolved, recipe, pipeline),
        metrics=metrics_of(spec),
        output_names=pipeline.output_names(resolved) if resolved.own else (),
    )


def plan_scoring(case: CasePlan, pipeline: Pipeline) -> ScoringPlan:
    """Raises what opening a user's evaluation set raises."""
    spec, own = case.spec, case.own
    unlabelled = _unlabelled_reason(case, pipeline)
    unscored = unscored_reason(spec, case.settings) or unlabelled
    known = pipeline.data.known(spec, "evaluation")
    answers = task(spec.task).agreement if unlabelled else None
    metrics = () if unlabelled else case.metrics
    return ScoringPlan(
        digest=known.digest,
        available=known.count,
        samples=min(FIDELITY_SAMPLES, known.count) if unscored else known.count,
        metrics=metrics,
        decode=spec.decode if metrics or answers else None,
        answers=answers,
        decode_is_guess=not metrics and not (own and own.decode),
        unlabelled_reason=unlabelled,
        unscored_reason=unscored,
    )


def _has_float(spec: ModelSpec, recipe: Recipe, pipeline: Pipeline) -> bool:
    if not recipe.is_prequantized:
        return True
    if spec.own:
        return spec.own.float_file is not None
    try:
        pipeline.weights(spec)
    except FileNotFoundError:
        return False
    return True


def _unlabelled_reason(case: CasePlan, pipeline: Pipeline) -> str | None:
    if not case.own:
        return None
    if not case.metrics:
        return f"task {case.spec.task} has no metric: judged by fidelity to float alone"
    if not pipeline.data.samples(case.spec, "evaluation").has_labels:
        return f"{case.own.data} has no labels: judged by fidelity to float alone"
    return None
