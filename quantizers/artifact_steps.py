"""The steps from a float artifact to the quantized one, of which `Pipeline.steps` makes its list.

Each says what its stage is called with and what its result depends on (`steps.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from int8gate.engine.cache import CacheEntry
from int8gate.model_zoo.spec import ModelSpec
from int8gate.quantizers import stages, steps
from int8gate.quantizers.data_sets import DataSets
from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.sources import source_of
from int8gate.quantizers.steps import Calibration, Step, Training, arrays_of
from int8gate.quantizers.toolchains import registry as toolchains
from int8gate.quantizers.toolchains import toolchain as kinds
from int8gate.quantizers.toolchains.toolchain import Quantization, Toolchain
from int8gate.quantizers.training import label_tasks, training_samples
from int8gate.quantizers.training.training_schedule import Schedule
from int8gate.runtimes.artifact import STATISTICS

if TYPE_CHECKING:
    from int8gate.model_zoo.user_models.inspection import ModelFile


def float_artifact(spec: ModelSpec, toolchain: Toolchain) -> Step:
    """From the export."""
    stage = toolchain.floats[source_of(spec).form]
    return Step(steps.FLOAT, stage, lambda exported: (exported.path,), (steps.EXPORTED,))


def calibration(toolchain: Toolchain, remedies: tuple[str, ...] = ()) -> Step:
    """Of the float artifact as the first `remedies` left it."""
    return Calibration(
        steps.after(steps.STATISTICS, remedies),
        toolchain.calibration,
        lambda float_model, inputs: (float_model.path / toolchain.file, arrays_of(inputs)),
        (steps.after(steps.FLOAT, remedies), steps.INPUTS),
    )


def remedies(recipe: Recipe, toolchain: Toolchain) -> Iterator[Step]:
    """Each changes the float artifact, which is calibrated anew behind it."""
    for count, name in enumerate(recipe.remedies):
        before, behind = recipe.remedies[:count], recipe.remedies[: count + 1]
        asked = replace(recipe, remedies=before)
        yield Step(
            steps.after(steps.FLOAT, behind),
            toolchain.remedies[name],
            lambda float_model, statistics, inputs, asked=asked: (
                float_model.path / toolchain.file,
                statistics.path / STATISTICS,
                arrays_of(inputs),
                asked,
            ),
            (
                steps.after(steps.FLOAT, before),
                steps.after(steps.STATISTICS, before),
                steps.INPUTS,
            ),
            {"remedy": name, "recipe": repr(replace(asked, name="", summary=""))},
        )
        yield calibration(toolchain, behind)


def training(
    spec: ModelSpec, recipe: Recipe, toolchain: Toolchain, settings: Settings, data: DataSets
) -> Step:
    """Of the float artifact as the remedies left it, from its calibrated ranges on.

    Raises ValueError for a training with labels of a model that has no loss for them.
    """
    profile = settings.profile
    with_labels = settings.train_labels or bool(spec.own and spec.own.train_loss)
    if with_labels and (why := label_tasks.refusal(spec)):
        raise ValueError(why)
    share = label_tasks.SHARE if with_labels else 0.0
    schedule = Schedule(budget_s=float(settings.train_budget_s), label_share=share)
    parts = {
        "recipe": repr(replace(recipe, name="", summary="")),
        "network": repr((spec.network(profile), spec.preprocessing, spec.task, spec.decode)),
        "schedule": repr(schedule),
    }
    stage = stages.training_of(spec, profile, toolchain)
    if spec.own:
        splits = (training_samples.SPLIT, "calibration", "evaluation")
        digests = [data.known(spec, each).digest for each in splits]
        parts["own"] = [digests, spec.own.metric, repr(sorted(spec.own.expect.items()))]
    return Training(
        steps.TRAINED,
        stage,
        lambda float_model, statistics, exported: (
            float_model.path / toolchain.file,
            statistics.path / STATISTICS,
            spec,
            recipe,
            profile,
            schedule,
            exported.path if source_of(spec).is_cut else None,
        ),
        (
            steps.after(steps.FLOAT, recipe.remedies),
            steps.after(steps.STATISTICS, recipe.remedies),
            steps.EXPORTED,
        ),
        parts,
        schedule.budget_s,
    )


def quantization(spec: ModelSpec, recipe: Recipe, how: Quantization) -> Step:
    """From what the toolchain's quantization reads and takes."""
    pixels = spec.preprocessing.range
    if how.reads == kinds.FLOAT:
        file = toolchains.find(recipe.toolchain).file
        read, behind = (steps.after(steps.FLOAT, recipe.remedies), file), (pixels,)
    else:
        read, behind = (steps.EXPORTED, source_of(spec).form), ()
    statistics = steps.after(steps.STATISTICS, recipe.remedies)
    if recipe.is_trained:
        read, statistics = (steps.TRAINED, read[1]), steps.TRAINED
    taken = {
        kinds.STATISTICS: (statistics, lambda entry: entry.path / STATISTICS),
        kinds.SAMPLES: (steps.INPUTS, arrays_of),
    }.get(how.takes)

    def arguments(source: CacheEntry, *found: CacheEntry) -> tuple:
        given = taken[1](*found) if taken else None
        return (source.path / read[1], recipe, given, *behind)

    return Step(
        steps.QUANTIZED,
        how.stage,
        arguments,
        (read[0], *([taken[0]] if taken else [])),
        {"recipe": repr(recipe), "pixel_range": pixels},
    )


def naming(file: ModelFile, converted: str, toolchain: Toolchain) -> Step:
    """A user's model gets the names that its file has for inputs and outputs."""
    names = [[end.name for end in ends] for ends in (file.inputs, file.outputs)]
    return Step(
        steps.NAMED,
        toolchain.naming,
        lambda entry: (entry.path / toolchain.file, *names),
        (converted,),
        {"names": names},
    )
