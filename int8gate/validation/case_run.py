"""One case on its way through the rooms: each stage runs once, and so does its failure."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from int8gate.calibration_data.preprocessing import Preprocessing
from int8gate.engine import code_identity
from int8gate.engine.worker import WorkerError
from int8gate.model_zoo.spec import ModelSpec
from int8gate.quantizers.activation_audit import not_compared
from int8gate.quantizers.auditing import worst_first
from int8gate.quantizers.diagnosis import ConversionFailed
from int8gate.quantizers.pipeline import Built, Pipeline
from int8gate.quantizers.recipe import Recipe
from int8gate.quantizers.sources import source_of
from int8gate.quantizers.toolchains import registry as toolchains
from int8gate.runtimes.tflite_graph import Graph, read_graph
from int8gate.targets.target import Target
from int8gate.tasks.registry import task
from int8gate.validation import cached_test as kept
from int8gate.validation.cached_evaluation import KeptEvaluation
from int8gate.validation.evaluation import FIDELITY_SAMPLES, Scoring, evaluate
from int8gate.validation.expectations import Expectations, expectations_of
from int8gate.validation.metrics.registry import metric, places_of
from int8gate.validation.noninferiority import enough_samples
from int8gate.validation.npu_entry import npu_entry
from int8gate.validation.preprocessing_mismatch import fed_otherwise
from int8gate.validation.speed import Interleaved, interleave
from int8gate.validation.tasks import unscored_reason


def scored_by(
    metrics: tuple[str, ...], decode: str | None, preprocessing: Preprocessing
) -> tuple[str, ...]:
    """What reaches all the code that the scores of a file depend on."""
    named = (*places_of(metrics), *([decode] if decode else []), *preprocessing.hooks)
    return ("int8gate.validation.evaluation:evaluate", *named)


class CaseRun:
    """A model with a recipe, and what was found of it so far.

    A stage that failed raises the same exception to every gate that needs it, without a rerun.
    """

    def __init__(self, spec: ModelSpec, recipe: Recipe, pipeline: Pipeline):
        self.declared, self.recipe, self.pipeline = spec, recipe, pipeline
        self._results: dict[str, object] = {}
        self._failures: dict[str, Exception] = {}

    @property
    def case_id(self) -> str:
        return f"{self.declared.name}-{self.recipe.name}"

    @property
    def spec(self) -> ModelSpec:
        """The declaration; of a team's own model with what its file says."""
        return self._once("spec", lambda: self.pipeline.resolved(self.declared))

    @cached_property
    def expected(self) -> Expectations:
        profile = self.pipeline.settings.profile
        return expectations_of(self.declared, self.recipe.name, profile)

    @property
    def built(self) -> Built:
        return self._once("built", lambda: self.pipeline.artifact(self.spec, self.recipe))

    @property
    def reference(self) -> Recipe:
        """The float recipe of the same toolchain: what a quantized artifact is compared with."""
        return toolchains.find(self.recipe.toolchain).reference

    @cached_property
    def has_float(self) -> bool:
        """Whether there is a float model to compare with: a quantized file may come alone."""
        if not self.recipe.is_prequantized:
            return True
        if self.spec.own:
            return self.spec.own.float_file is not None
        try:
            self.pipeline.weights(self.spec)
        except FileNotFoundError:
            return False
        return True

    @property
    def float_spec(self) -> ModelSpec:
        """The model that the float artifact is of: the case's own, or its float twin."""
        own = self.spec.own
        if not (self.recipe.is_prequantized and own and own.float_file):
            return self.spec
        return self._once("float_spec", lambda: self.pipeline.float_twin(self.spec))

    @property
    def float_built(self) -> Built:
        return self._once("float", lambda: self.pipeline.artifact(self.float_spec, self.reference))

    @property
    def graph(self) -> Graph:
        return self._once("graph", lambda: read_graph(self.built.artifact.path))

    @property
    def unscored_reason(self) -> str | None:
        """Why accuracy cannot be measured in this run, None when it can."""
        return unscored_reason(self.spec, self.pipeline.settings) or self.unlabelled_reason

    @property
    def metrics(self) -> tuple[str, ...]:
        """What the model is scored by, the gated metric first; none for a task without one."""
        own = self.declared.own
        return (own.metric,) if own and own.metric else task(self.declared.task).metrics

    @property
    def audit(self) -> list[dict] | None:
        """What is wrong with the calibration set, and with how an own model is fed, worst first.

        None where no set is used, or it is our own, and nothing is known to be wrong.
        """
        return self._once("audit", self._audit)

    def _audit(self) -> list[dict] | None:
        fed = fed_otherwise(self)
        takes_samples = self.recipe.is_full_integer and not self.recipe.is_prequantized
        found = self.pipeline.data.audit(self.spec) if takes_samples else None
        if found is None:
            return fed or None
        try:
            activations = self.pipeline.activation_audit(self.spec, self.recipe)
        except (ConversionFailed, WorkerError) as error:
            activations = [not_compared(error)]
        return worst_first(fed + found + activations)

    @property
    def unlabelled_reason(self) -> str | None:
        """Why an own model is judged by its fidelity to the float one; None where it is not."""
        if not self.spec.own:
            return None
        if not self.metrics:
            return f"task {self.spec.task} has no metric: judged by fidelity to float alone"
        if not self.pipeline.data.samples(self.spec, "evaluation").has_labels:
            return f"{self.spec.own.data} has no labels: judged by fidelity to float alone"
        return None

    @property
    def agreement_task(self) -> str | None:
        """The task whose answers are compared with the float model's where there are no labels."""
        compares = task(self.spec.task).agreement and self.unlabelled_reason
        return self.spec.task if compares else None

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs by the names in the file of an own model, which converters change."""
        return self.pipeline.output_names(self.spec) if self.spec.own else ()

    @property
    def evaluation(self) -> KeptEvaluation:
        """The case's own scores and its fidelity to the float artifact."""
        if self.recipe.is_reference:
            return self.float_evaluation
        return self._once("evaluation", self._evaluate_quantized)

    @property
    def float_evaluation(self) -> KeptEvaluation:
        """The float artifact's scores and its fidelity to the network that it was made from."""
        return self._once("float_evaluation", self._evaluate_float)

    @property
    def evaluated_samples(self) -> int:
        """Fewer than the float artifact is scored on where kernels are slow on this host: what the
        tolerance needs.
        """
        if not self.recipe.slow_on_host or self.unscored_reason:
            return self._samples
        return self._once("enough_samples", self._enough_samples)

    def _enough_samples(self) -> int:
        scored, gated = self.float_evaluation, metric(self.metrics[0])
        score = gated.score(scored.statistics)
        tolerance = self.expected.tolerance(score, gated.higher_is_better)
        return min(
            self._samples, enough_samples(gated, scored.statistics, scored.sources, tolerance)
        )

    @property
    def available_samples(self) -> int:
        """All that the evaluation set has."""
        return self.pipeline.data.known(self.spec, "evaluation").count

    @property
    def _samples(self) -> int:
        """All there are; where nothing is scored, what fidelity needs."""
        available = self.available_samples
        return min(FIDELITY_SAMPLES, available) if self.unscored_reason else available

    @property
    def timed(self) -> Interleaved:
        """Rounds on this host; in the worker, so that a model that crashes there ends no run."""
        return self._once("timed", self._time)

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        """What pixels 0 and 255 become at the network's input; None where that differs between
        channels, and behind host preprocessing.
        """
        is_cut = source_of(self.spec).is_cut
        behind_host = is_cut and self.imported["nodes"]["preprocessing"]
        return None if behind_host else self.spec.preprocessing.uniform_range

    @property
    def imported(self) -> dict | None:
        """The importer's report; None for a model that needs no import."""
        if not source_of(self.spec).is_reported:
            return None
        return self.pipeline.exported(self.spec).meta["result"]

    def fact(self, name: str, find: Callable[[], object], *roots: str):
        """What `find` finds of the artifact on such a host, a plain value; see `kept.fact`."""
        sha256 = self.built.artifact.sha256
        parts = {"model": sha256, "case": self.case_id, "host": platform.machine()}
        return kept.fact(self.pipeline.cache, name, parts, find, *roots)

    def in_worker(self, function: Callable, *arguments):
        """The value of a function that loads the model, which may crash its process."""
        return self.pipeline.runner.in_worker(function, *arguments).value

    def _time(self) -> Interleaved:
        models = (self.float_built.artifact.path, self.built.artifact.path)
        return self.in_worker(interleave, *models)

    def npu_entry(self, target: Target, core: str) -> dict:
        """The record's entry for a target against a modelled core; see `npu_entry`."""
        return self._once(f"npu {target.name} {core}", lambda: npu_entry(self, target, core))

    def evaluated_on(self, provider: str, count: int) -> KeptEvaluation:
        """The case's own scores on `count` samples where another execution provider computes."""
        return self._evaluate(self.built, None, "none", count, provider)

    def _evaluate_quantized(self) -> KeptEvaluation:
        if not self.has_float:
            return self._evaluate(self.built, None, "none", self.evaluated_samples)
        float_artifact = self.float_built.artifact
        return self._evaluate(
            self.built, lambda: float_artifact.path, float_artifact.sha256, self.evaluated_samples
        )

    def _evaluate_float(self) -> KeptEvaluation:
        exported = self.pipeline.exported(self.float_spec)
        return self._evaluate(
            self.float_built,
            lambda: self.pipeline.exported_network(self.float_spec)[1],
            exported.key,
            self._samples,
        )

    def _evaluate(
        self,
        built: Built,
        reference: Callable[[], Path] | None,
        reference_identity: str,
        count: int,
        provider: str | None = None,
    ) -> KeptEvaluation:
        """From the cache; `reference` and what the host runs are opened on a miss alone."""
        spec, metrics = self.spec, () if self.unlabelled_reason else self.metrics
        network = spec.network(self.pipeline.settings.profile)
        decode = spec.decode if metrics or self.agreement_task else None
        answers = None if metrics else self.agreement_task
        answers = answers and task(answers).agreement  # workers know no task of a plugin
        is_guess = not metrics and not (spec.own and spec.own.decode)
        host = self.pipeline.exported(spec) if source_of(spec).is_cut else None
        parts = {
            "model": built.artifact.sha256,
            "reference": reference_identity,
            "samples": self.pipeline.data.known(self.spec, "evaluation").digest,
            "count": count,
            "preprocessing": repr(spec.preprocessing),
            "metrics": metrics,
            "around": [decode, host and host.key, repr(network)],
            "compared": [answers, is_guess, self.output_names],
            "host": platform.machine(),  # kernels differ between hosts
            "provider": provider,
            **code_identity.identity(
                *scored_by(metrics, decode, spec.preprocessing),
                *([answers] if answers else []),
            ),
        }

        def build(directory: Path) -> dict:
            samples = self.pipeline.data.samples(spec, "evaluation")
            around = (network, decode, host and host.path)
            comparison = (answers, is_guess, self.output_names)
            scoring = Scoring(samples, spec.preprocessing, metrics, *around, *comparison)
            compared = reference and reference()
            result = self.pipeline.runner.in_worker(
                evaluate, built.artifact.path, compared, scoring, count, provider, directory
            )
            took = {"seconds": result.seconds, "peak_rss_bytes": result.peak_rss_bytes}
            return result.value | took

        entry = self.pipeline.cache.get_or_build("evaluation", parts, build, opened=False)
        return KeptEvaluation.of(entry)

    def _once(self, name: str, compute: Callable):
        if name in self._failures:
            raise self._failures[name]
        if name not in self._results:
            try:
                self._results[name] = compute()
            except Exception as error:
                self._failures[name] = error
                raise
        return self._results[name]
