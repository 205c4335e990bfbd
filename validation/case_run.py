"""One case on its way through the rooms: each stage runs once, and so does its failure."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from model_zoo.spec import ModelSpec
from quantizers.pipeline import Built, Pipeline, code_digest
from quantizers.recipe import REFERENCES, Recipe
from runtimes import arm_cpu, ethos_u, qnn_htp
from runtimes.targets import QNN_HTP
from runtimes.tflite_graph import Graph, read_graph
from validation.evaluation import (
    FIDELITY_SAMPLES,
    Evaluation,
    Scoring,
    evaluate,
    read_evaluation,
)
from validation.expectations import Expectations, expectations_for, with_own
from validation.metrics import ELSEWHERE, metric
from validation.speed import Interleaved, interleave
from validation.tasks import METRICS_OF_TASK, SLOW_SAMPLES_OF_TASK, unscored_reason

# What scores depend on besides artifact and samples; kernels differ between hosts, too.
SCORED_BY = (
    "calibration_data.preprocessing",
    "runtimes.artifact",
    "runtimes.sessions",
    "validation.evaluation",
    "validation.metrics",
)
EXECUTED_BY = {  # and the package whose version counts, by format
    "tflite": ("runtimes.litert", "ai-edge-litert"),
    "onnx": ("runtimes.onnx_session", "onnxruntime"),
}
IMPORTED = ("frozen_graph", "darknet", "onnx")  # formats that an importer reads
SIMULATED_SAMPLES = 300  # of the evaluation set: a simulator takes some 100 ms a sample
MODELLED_BY = ("runtimes.ethos_u", "runtimes.arm_cpu", "runtimes.tflite_graph")


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
        expected = expectations_for(self.case_id, profile=self.pipeline.settings.profile)
        own = self.declared.own
        return with_own(expected, own.expect, own.where) if own and own.expect else expected

    @property
    def built(self) -> Built:
        return self._once("built", lambda: self.pipeline.artifact(self.spec, self.recipe))

    @property
    def reference(self) -> Recipe:
        """The float recipe of the same toolchain: what a quantized artifact is compared with."""
        return REFERENCES[self.recipe.toolchain]

    @cached_property
    def has_float(self) -> bool:
        """Whether there is a float model to compare with: a quantized file may come alone."""
        if not self.recipe.is_prequantized:
            return True
        if self.spec.own:
            return False
        try:
            self.pipeline.weights(self.spec)
        except FileNotFoundError:
            return False
        return True

    @property
    def float_built(self) -> Built:
        return self._once("float", lambda: self.pipeline.artifact(self.spec, self.reference))

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
        return (own.metric,) if own and own.metric else METRICS_OF_TASK[self.declared.task]

    @property
    def audit(self) -> list[dict] | None:
        """What is wrong with the calibration set; None where none is used, or it is our own."""
        takes_samples = self.recipe.is_full_integer and not self.recipe.is_prequantized
        return self.pipeline.audit(self.spec) if takes_samples else None

    @property
    def unlabelled_reason(self) -> str | None:
        """Why an own model is judged by its fidelity to the float one; None where it is not."""
        if not self.spec.own:
            return None
        if not self.metrics:
            return f"task {self.spec.task} has no metric: judged by fidelity to float alone"
        if not self.pipeline.samples(self.spec, "evaluation").has_labels:
            return f"{self.spec.own.data} has no labels: judged by fidelity to float alone"
        return None

    @property
    def evaluation(self) -> Evaluation:
        """The case's own scores and its fidelity to the float artifact."""
        if self.recipe.is_reference:
            return self.float_evaluation
        return self._once("evaluation", self._evaluate_quantized)

    @property
    def float_evaluation(self) -> Evaluation:
        """The float artifact's scores and its fidelity to the network that it was made from."""
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

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        """What pixels 0 and 255 become at the network's input; None where that differs between
        channels, and behind host preprocessing.
        """
        is_graph = self.spec.source_format == "frozen_graph"
        behind_host = is_graph and self.imported["nodes"]["preprocessing"]
        plain = self.spec.preprocessing.is_uniform
        return None if behind_host or not plain else self.spec.preprocessing.range

    @property
    def imported(self) -> dict | None:
        """The importer's report; None for a model that needs no import."""
        if self.spec.source_format not in IMPORTED:
            return None
        return self.pipeline.exported(self.spec).meta["result"]

    def in_worker(self, function: Callable, *arguments):
        """The value of a function that loads the model, which may crash its process."""
        limit = self.pipeline.settings.stage_timeout_s
        return self.pipeline.worker.run(function, *arguments, timeout_s=limit).value

    def _time(self) -> Interleaved:
        models = (self.float_built.artifact.path, self.built.artifact.path)
        return self.in_worker(interleave, *models)

    def npu_entry(self, target: str, core: str) -> dict:
        """The record's entry for an NPU against a modelled core; see `arm_cpu.npu_speedup`.

        The compiled model, which an integrator flashes, stays in the cache entry.
        """
        compiled = self._simulate if target == QNN_HTP else lambda: self._compile(target, core)
        return self._once(f"npu {target} {core}", compiled)

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

    def _simulate(self) -> dict:
        """Coverage of the HTP's compiler, and the score on its simulator beside the host's."""
        artifact = self.built.artifact
        entry = {"target": QNN_HTP, "kind": "simulated", "latency_ms": None, "speedup": None}
        entry |= {"npu_ops": None, "cpu_ops": None, "cpu_fallback": [], "cpu_baseline": None}
        if reason := qnn_htp.unavailable():
            return entry | {"unavailable": reason}
        parts = {
            "model": artifact.sha256,
            "target": QNN_HTP,
            "code": code_digest("runtimes.qnn_htp"),
            "versions": {name: version(name) for name in ("onnxruntime", "onnxruntime-qnn")},
        }

        def build(directory: Path) -> dict:
            limit = self.pipeline.settings.stage_timeout_s
            compiler = self.pipeline.worker
            arguments = (qnn_htp.compile_for_htp, artifact.path, directory)
            return {"entry": compiler.run(*arguments, timeout_s=limit).value}

        kept = self.pipeline.cache.get_or_build("compiled", parts, build)
        entry |= kept.meta["entry"] | {"compiled": str(kept.path / qnn_htp.CONTEXT)}
        if not self.unscored_reason:
            own = self._evaluate(self.built, None, "none", SIMULATED_SAMPLES, qnn_htp.PROVIDER)
            score = metric(self.metrics[0])
            count = len(own.statistics)
            entry["accuracy"] = {
                "metric": score.name,
                "simulated": score.score(own.statistics),
                "host": score.score(self.evaluation.statistics[:count]),
                "samples": count,
            }
        return entry

    def _evaluate_quantized(self) -> Evaluation:
        if not self.has_float:
            return self._evaluate(self.built, None, "none", self.evaluated_samples)
        float_artifact = self.float_built.artifact
        identity = (float_artifact.path, float_artifact.sha256)
        return self._evaluate(self.built, *identity, self.evaluated_samples)

    def _evaluate_float(self) -> Evaluation:
        exported, source = self.pipeline.exported_network(self.spec)
        return self._evaluate(self.float_built, source, exported, self._samples)

    def _evaluate(
        self,
        built: Built,
        reference: Path | None,
        reference_identity: str,
        count: int,
        provider: str | None = None,
    ) -> Evaluation:
        scoring = self._scoring
        used = [ELSEWHERE.get(name, name) for name in scoring.metrics] + [scoring.decode or ""]
        modules = {path.partition(":")[0] for path in used if ":" in path}
        modules |= {*scoring.preprocessing.modules}
        if scoring.host:
            modules.add("runtimes.frozen_graph")
        session, package = EXECUTED_BY[built.artifact.format]
        parts = {
            "model": built.artifact.sha256,
            "reference": reference_identity,
            "samples": scoring.samples.digest(),
            "count": count,
            "preprocessing": repr(scoring.preprocessing),
            "metrics": scoring.metrics,
            "around": [scoring.decode, scoring.host and scoring.host.name, repr(scoring.network)],
            "code": [code_digest(name) for name in (*SCORED_BY, session, *sorted(modules))],
            "versions": {name: version(name) for name in (package, "numpy")},
            "host": platform.machine(),
            "provider": provider,
        }

        def build(directory: Path) -> dict:
            result = self.pipeline.worker.run(
                evaluate,
                built.artifact.path,
                reference,
                scoring,
                count,
                provider,
                directory,
                timeout_s=self.pipeline.settings.stage_timeout_s,
            )
            took = {"seconds": result.seconds, "peak_rss_bytes": result.peak_rss_bytes}
            return result.value | took

        entry = self.pipeline.cache.get_or_build("evaluation", parts, build)
        return read_evaluation(entry.path, entry.meta)

    @property
    def _scoring(self) -> Scoring:
        has_host = self.spec.source_format == "frozen_graph"
        return Scoring(
            self.pipeline.samples(self.spec, "evaluation"),
            self.spec.preprocessing,
            () if self.unlabelled_reason else self.metrics,
            self.spec.network(self.pipeline.settings.profile),
            self.spec.decode,
            self.pipeline.exported(self.spec).path if has_host else None,
        )

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
