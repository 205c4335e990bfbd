"""The artifacts of generation with a cache: prefill and decode of a language model, by a recipe.

Each goes the way of every artifact, from the same float weights; a calibrated recipe is calibrated
on calls of the step that the model's calibration samples lead to. Where a recipe's rounding looks
at samples (`ROUNDED_BY_SAMPLES`), three networks would have three roundings of the same weights,
and what one writes into the cache another would read: both steps take those of the whole network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from int8gate.engine.plugins import resolve
from int8gate.model_zoo.spec import ModelSpec
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe_type import ROUNDED_BY_SAMPLES, Recipe
from int8gate.quantizers.toolchains import registry as toolchains
from int8gate.runtimes.artifact import Artifact, as_artifact


@dataclass(frozen=True)
class Steps:
    """The artifacts of generation: `prefill` of `prompt` tokens, and `decode`."""

    prompt: int
    prefill: Artifact
    decode: Artifact

    @property
    def paths(self) -> tuple[Path, Path]:
        return self.prefill.path, self.decode.path


def steps_of(
    pipeline: Pipeline, spec: ModelSpec, recipe: Recipe, prompt: int | None = None
) -> Steps:
    """Prefill of `prompt` tokens, by default of half a sequence, and decode, of a model that
    declares them (`Network.steps`).

    Raises ValueError for a prompt that is no part of a sequence, and what the stages of an artifact
    raise.
    """
    network = spec.network(pipeline.settings.profile)
    assert network.steps is not None  # of a language model
    (length,) = network.inputs[0].shape
    assert length is not None  # sequences are of fixed length
    prompt = length // 2 if prompt is None else prompt
    make = _with_weights_of_whole if recipe.rounding in ROUNDED_BY_SAMPLES else _of_itself
    prefill, decode = (
        make(pipeline, spec, step, recipe) for step in resolve(network.steps)(spec, prompt)
    )
    return Steps(prompt, prefill, decode)


def _of_itself(pipeline: Pipeline, spec: ModelSpec, step: ModelSpec, recipe: Recipe) -> Artifact:
    return pipeline.artifact(step, recipe).artifact


def _with_weights_of_whole(
    pipeline: Pipeline, spec: ModelSpec, step: ModelSpec, recipe: Recipe
) -> Artifact:
    toolchain = toolchains.find(recipe.toolchain)
    assert toolchain.sharing is not None  # of one that rounds by samples
    whole = pipeline.artifact(spec, recipe).artifact
    floats = [pipeline.artifact(each, toolchain.reference).artifact for each in (step, spec)]
    kept = pipeline.runner.run(
        toolchain.sharing,
        {"models": [each.sha256 for each in (*floats, whole)], "recipe": repr(recipe)},
        lambda: (floats[0].path, recipe, floats[1].path, whole.path),
    )
    return as_artifact(kept.path / toolchain.file, kept.meta["result"], whole.provenance)
