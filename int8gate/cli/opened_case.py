"""A case that a command names, and the pipeline that it goes through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from int8gate.engine.cache import open_cache
from int8gate.engine.extras import require
from int8gate.engine.worker import Worker
from int8gate.model_zoo.spec import PROFILES, ModelSpec
from int8gate.quantizers.declared_recipes import declared_model
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import may_be_named, recipe
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.sources import packages_of


def case_of(case: str, zoo: Path | None) -> tuple[ModelSpec, Recipe]:
    """Of a case such as ``unet-tflite_int8``, of a TOML or of the zoo.

    Raises ValueError or OSError in a sentence where there is no such case.
    """
    model, _, name = case.partition("-")
    spec = declared_model(model, zoo)
    is_declared = name in spec.recipes or name.partition("+")[0] in spec.recipes
    if not is_declared and not may_be_named(name, spec.recipes):
        listed = ", ".join(f"{model}-{each}" for each in spec.recipes)
        raise ValueError(f"no case {case}: {model} has {listed}")
    return spec, recipe(name)


def calibrated_recipe(spec: ModelSpec, cure: str) -> Recipe:
    """The model's first recipe that takes its ranges from calibration.

    Raises ValueError where it has none, which ends with the `cure`.
    """
    for name in spec.recipes:
        if recipe(name).is_calibrated:
            return recipe(name)
    raise ValueError(f"{spec.name} has no calibrated recipe: {cure}")


@contextmanager
def opened_pipeline(
    spec: ModelSpec,
    chosen: Recipe,
    cache: str | None,
    profile: str,
    watch: Callable[[str, float | None], None] | None = None,
    **settings,
) -> Iterator[Pipeline]:
    """A pipeline with a worker process of its own, which `watch` is told of.

    Raises ValueError for an unknown profile, and where packages are not installed that the case
    needs.
    """
    if profile not in PROFILES:
        raise ValueError(f"--profile {profile}: expected {' or '.join(PROFILES)}")
    require(f"{spec.name}-{chosen.name}", packages_of(spec, chosen))
    with Worker(watch=watch) as worker:
        yield Pipeline(Settings(profile=profile, **settings), open_cache(cache), worker)
