"""One case on its way through the rooms: each stage runs once, and so does its failure."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from model_zoo.spec import ModelSpec
from quantizers import tflite
from quantizers.pipeline import REFERENCE, Built, Pipeline, code_digest
from quantizers.recipe import Recipe
from runtimes import arm_cpu, ethos_u
from runtimes.tflite_graph import Graph, read_graph
from validation.evaluation import FIDELITY_SAMPLES, Evaluation, evaluate, read_evaluation
from validation.expectations import Expectations, expectations_for
from validation.speed import Interleaved, interleave
from validation.tasks import METRIC_OF_TASK, SLOW_SAMPLES_OF_TASK, unscored_reason

# What scores depend on besides artifact and samples; kernels differ between hosts, too.
SCORED_BY = (
    "calibration_data.preprocessing",
    "runtimes.artifact",
    "runtimes.litert",
    "runtimes.saved_model",
    "validation.evaluation",
    "validation.metrics",
)
MODELLED_BY = ("runtimes.ethos_u", "runtimes.arm_cpu", "runtimes.tflite_graph")


class CaseRun:
    """A model with a recipe, and what was found of it so far.

    A stage that failed raises the same exception to every gate that needs it, without a rerun.
    """

    def __init__(self, spec: ModelSpec, recipe: Recipe, pipeline: Pipeline):
        self.spec, self.recipe, self.pipeline = spec, recipe, pipeline
        self._results: dict[str, object] = {}
        self._failures: dict[str, Exception] = {}

    @property
    def case_id(self) -> str:
        return f"{self.spec.name}-{self.recipe.name}"

    @cached_property
    def expected(self) -> Expectations:
        return expectations_for(self.case_id)

    @property
    def built(self) -> Built:
        return self._once("built", lambda: self.pipeline.artifact(self.spec, self.recipe))

    @property
    def float_built(self) -> Built:
        return self._once("float", lambda: self.pipeline.artifact(self.spec, REFERENCE))

    @property
    def graph(self) -> Graph:
        return self._once("graph", lambda: read_graph(self.built.artifact.path))

    @property
    def unscored_reason(self) -> str | None:
        """Why accuracy cannot be measured in this run, None when it can."""
        return unscored_reason(self.spec, self.pipeline.settings)

    @property
    def evaluation(self) -> Evaluation:
        """The case's own scores and its fidelity to the float artifact."""
        if self.recipe.is_reference:
            return self.float_evaluation
        reference = self.float_built.artifact
        return self._once(
            "evaluation",
            lambda: self._evaluate(
                self.built, reference.path, reference.sha256, self.evaluated_samples
            ),
        )

    @property
    def float_evaluation(self) -> Evaluation:
        """The float artifact's scores and its fidelity to the SavedModel that it was made from."""
        return self._once("float_evaluation", self._evaluate_float)

    @property
    def evaluated_samples(self) -> int:
        """Fewer than the float artifact is scored on where kernels are slow on this host."""
        limit = SLOW_SAMPLES_OF_TASK[self.spec.task]
        return min(limit, self._samples) if self.recipe.slow_on_host else self._samples

    @property
    def _samples(self) -> int:
        """All there are; where nothing is scored, what fidelity needs."""
        available = len(self.pipeline.samples(self.spec, "evaluation"))
        return min(FIDELITY_SAMPLES, available) if self.unscored_reason else available

    @property
    def timed(self) -> Interleaved:
        """Rounds on this host; in the worker, so that a model that crashes there ends no run."""
        return self._once("timed", self._time)

    def _time(self) -> Interleaved:
        models = (self.float_built.artifact.path, self.built.artifact.path)
        limit = self.pipeline.settings.stage_timeout_s
        return self.pipeline.worker.run(interleave, *models, timeout_s=limit).value

    def npu_entry(self, target: str, core: str) -> dict:
        """The record's entry for an NPU against a modelled core; see `arm_cpu.npu_speedup`.

        The compiled model, which an integrator flashes, stays in the cache entry.
        """
        return self._once(f"npu {target} {core}", lambda: self._compile(target, core))

    def _compile(self, target: str, core: str) -> dict:
        artifact = self.built.artifact
        parts = {
            "model": artifact.sha256,
            "target": repr(ethos_u.find_target(target)),
            "core": core,
            "code": [code_digest(name) for name in MODELLED_BY],
            "versions": {"ethos-u-vela": version("ethos-u-vela")},
        }

        def build(directory: Path) -> dict:
            timeout_s = self.pipeline.settings.stage_timeout_s
            estimate = ethos_u.estimate(artifact.path, target, directory, timeout_s)
            return {"entry": arm_cpu.npu_speedup(estimate, self.graph, core)}

        kept = self.pipeline.cache.get_or_build("compiled", parts, build)
        compiled = next(kept.path.glob("*_vela.tflite"))
        return kept.meta["entry"] | {"compiled": str(compiled)}

    def _evaluate_float(self) -> Evaluation:
        exported = self.pipeline.exported(self.spec)
        source = exported.path / tflite.SAVED_MODEL
        return self._evaluate(self.float_built, source, exported.path.name, self._samples)

    def _evaluate(
        self, built: Built, reference: Path, reference_identity: str, count: int
    ) -> Evaluation:
        samples = self.pipeline.samples(self.spec, "evaluation")
        parts = {
            "model": built.artifact.sha256,
            "reference": reference_identity,
            "samples": samples.digest(),
            "count": count,
            "preprocessing": repr(self.spec.preprocessing),
            "metric": METRIC_OF_TASK[self.spec.task],
            "code": [code_digest(name) for name in SCORED_BY],
            "versions": {name: version(name) for name in ("ai-edge-litert", "numpy")},
            "host": platform.machine(),
        }

        def build(directory: Path) -> dict:
            result = self.pipeline.worker.run(
                evaluate,
                built.artifact.path,
                reference,
                samples,
                count,
                self.spec.preprocessing,
                METRIC_OF_TASK[self.spec.task],
                directory,
                timeout_s=self.pipeline.settings.stage_timeout_s,
            )
            took = {"seconds": result.seconds, "peak_rss_bytes": result.peak_rss_bytes}
            return result.value | took

        entry = self.pipeline.cache.get_or_build("evaluation", parts, build)
        return read_evaluation(entry.path, entry.meta)

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
