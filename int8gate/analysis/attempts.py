"""Recipes tried for a case, as `ladder.py` and `mixing.py` do: made, ordered by layers, and what of
their failures is told.
"""

from __future__ import annotations

from collections.abc import Collection

from int8gate.analysis import sensitivity
from int8gate.engine.errors import plain_text
from int8gate.engine.worker import WorkerError
from int8gate.quantizers import stages
from int8gate.quantizers.diagnosis import ConversionFailed
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.recipe_type import INT8, Recipe
from int8gate.validation.case_run import CaseRun

FAILURES = (ConversionFailed, WorkerError, ValueError, OSError)
LEAST_STAGE_S = 1.0  # a stage gets, however little of a budget is left
LAYER_SAMPLES = 32  # to order the layers by


def attempt(base: CaseRun, recipe: Recipe) -> CaseRun:
    """The model of a case with another recipe; what is expected of a derived one is the base's.

    Raises ValueError where the toolchain does not take the recipe.
    """
    run = CaseRun(base.declared, recipe, base.pipeline)
    stages.check_route(run.spec, recipe)
    if recipe.name not in RECIPES:
        run.expected = base.expected
    return run


def worst_layers(
    run: CaseRun,
    budget_s: float | None,
    width: str = INT8,
    only: Collection[str] | None = None,
) -> sensitivity.Sensitivity:
    """The layers of a case, or those named `only`, those first that lose most where they alone are
    quantized, in that width.
    """
    return sensitivity.measure(
        run.pipeline,
        run.declared,
        run.recipe,
        samples=LAYER_SAMPLES,
        with_metric=False,
        budget_s=budget_s,
        modes=("alone",),
        width=width,
        only=only,
    )


def first_line_of(error: Exception) -> str:
    return plain_text(str(error)).splitlines()[0] if str(error) else repr(error)
