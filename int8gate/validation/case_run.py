"""One case on its way through the rooms: each stage of its plan runs once, and so does its failure.

`case_plan.py` says what the case is, `case_stages.py` what is done with it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from int8gate.engine.errors import again
from int8gate.model_zoo.spec import ModelSpec
from int8gate.quantizers.pipeline import Built, Pipeline
from int8gate.quantizers.recipe_type import Recipe
from int8gate.targets.target import Target
from int8gate.validation import cached_results, case_stages
from int8gate.validation.cached_results import KeptEvaluation
from int8gate.validation.case_plan import CasePlan, ScoringPlan, plan
from int8gate.validation.case_stages import CaseStage
from int8gate.validation.expectations import Expectations, expectations_of
from int8gate.validation.generation import is_generated, unmeasured
from int8gate.validation.npu_entry import npu_entry
from int8gate.validation.speed import Interleaved


class CaseRun:
    """A model with a recipe, and what was found of it so far.

    A stage that failed is not run again: every gate that needs it gets a fresh exception with the
    same message.
    """

    def __init__(self, spec: ModelSpec, recipe: Recipe, pipeline: Pipeline):
        self.declared, self.recipe, self.pipeline = spec, recipe, pipeline
        self._results: dict[str, Any] = {}  # each stage's has a type of its own
        self._failures: dict[str, Exception] = {}

    @property
    def case_id(self) -> str:
        return f"{self.declared.name}-{self.recipe.name}"

    @cached_property
    def expected(self) -> Expectations:
        profile = self.pipeline.settings.profile
        return expectations_of(self.declared, self.recipe.name, profile)

    @property
    def plan(self) -> CasePlan:
        return self._once("plan", lambda: plan(self.declared, self.recipe, self.pipeline))

    @property
    def spec(self) -> ModelSpec:
        """The declaration; of a team's own model with what its file says."""
        return self.plan.spec

    @property
    def scoring(self) -> ScoringPlan:
        return self.result("scoring")

    @property
    def built(self) -> Built:
        return self.result("built")

    @property
    def float_built(self) -> Built:
        return self.result("float_built")

    @property
    def evaluation(self) -> KeptEvaluation:
        """The case's own scores and its fidelity to the float artifact."""
        return self.result("evaluation")

    @property
    def float_evaluation(self) -> KeptEvaluation:
        """The float artifact's scores and its fidelity to the network that it was made from."""
        return self.result("float_evaluation")

    @property
    def evaluated_samples(self) -> int:
        """How many samples the case is scored on."""
        return self.result("samples")

    @property
    def audit(self) -> list[dict] | None:
        return self.result("audit")

    @property
    def timed(self) -> Interleaved:
        return self.result("timed")

    @property
    def generation(self) -> dict | None:
        """The record's; None of a task that writes nothing, and without a float model."""
        if not (self.plan.has_float and is_generated(self.plan)):
            return None
        return unmeasured(self.plan) or self.result("generation")

    @property
    def imported(self) -> dict | None:
        return self.result("imported")

    def result(self, name: str):
        """What a stage of the case gives, by its name in `case_stages.stages_of`."""
        return self._once(name, lambda: self._run(self._stages[name]))

    def fact(self, name: str, find: Callable[[], object], *roots: str):
        """What `find` says of the artifact on such a host; see `cached_results.fact`."""
        sha256 = self.built.artifact.sha256
        parts = {"model": sha256, "case": self.case_id, "host": platform.machine()}
        return cached_results.fact(self.pipeline.cache, name, parts, find, *roots)

    def in_worker(self, function: Callable, *arguments):
        """The value of a function that loads the model, which may crash its process."""
        return self.pipeline.runner.in_worker(function, *arguments).value

    def npu_entry(self, target: Target, core: str) -> dict:
        """The record's entry for a target against a modelled core; see `npu_entry.py`."""
        return self._once(f"npu {target.name} {core}", lambda: self._npu_entry(target, core))

    def _npu_entry(self, target: Target, core: str) -> dict:
        artifact = self.built.artifact
        return npu_entry(
            artifact, target, core, self.pipeline, self.plan.metrics, self._evaluated_on
        )

    def _evaluated_on(
        self, provider: str, count: int
    ) -> tuple[KeptEvaluation, KeptEvaluation] | None:
        """Scores on `count` samples where an execution provider computes, and this host's; None
        where nothing is scored.
        """
        if self.scoring.unscored_reason:
            return None
        asked = (self.plan, self.pipeline, self.scoring, self.result("host"), self.built, count)
        return case_stages.scores(*asked, provider=provider), self.evaluation

    @cached_property
    def _stages(self) -> dict[str, CaseStage]:
        return {stage.name: stage for stage in case_stages.stages_of(self.plan, self.expected)}

    def _run(self, stage: CaseStage):
        values = [self.result(name) for name in stage.inputs]
        later = [partial(self.result, name) for name in stage.on_demand]
        return stage.run(self.plan, self.pipeline, *values, *later)

    def _once(self, name: str, compute: Callable):
        if name in self._failures:
            raise again(self._failures[name])
        if name not in self._results:
            try:
                self._results[name] = compute()
            except Exception as error:
                self._failures[name] = error
                raise
        return self._results[name]
