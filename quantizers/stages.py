"""Stages that no toolchain changes, and which way a model may go.

A stage's function runs in the worker process. What differs between source formats stands in
`sources.py`, what differs between toolchains in `toolchains/NAME/toolchain.py`.
"""

from __future__ import annotations

from dataclasses import replace

from int8gate.model_zoo.spec import ModelSpec, Network
from int8gate.quantizers.recipe_type import ALL_OPERATORS, INT8, Recipe
from int8gate.quantizers.sources import source_of
from int8gate.quantizers.stage import Stage
from int8gate.quantizers.toolchains.registry import find
from int8gate.quantizers.toolchains.toolchain import Toolchain
from int8gate.quantizers.training import training_samples
from int8gate.quantizers.training.training_schedule import JUDGE
from int8gate.runtimes.artifact import TFLITE

_HERE = "int8gate.quantizers"

# Called with (file, format, names of inputs, of outputs, whether it is trusted, signature)
INSPECTION = Stage("inspection", "int8gate.model_zoo.user_models.inspection:describe")
# with (a set of a folder's pictures)
PICTURE_CHECK = Stage("picture_check", f"{_HERE}.sample_stages:check_pictures")
# with (the project's own set of pictures)
DRAWN = Stage("drawn_samples", "int8gate.calibration_data.drawn_samples:write")
# with (the directory of an export with a part for the host, samples)
INPUTS = Stage("network_inputs", f"{_HERE}.host_inputs:network_inputs")
# with (statistics of calibration, of evaluation, recipe, pixel range)
ACTIVATION_AUDIT = Stage("activation_audit", f"{_HERE}.activation_audit:judge")


def check_route(spec: ModelSpec, recipe: Recipe) -> None:
    """Raises ValueError where the recipe's toolchain does not bring such a model to an artifact."""
    recipe.check_mix()
    toolchain = find(recipe.toolchain)
    for rule in recipe.narrow_rules:
        if rule.width != INT8 and rule.width not in toolchain.widths:
            takes = " or ".join(toolchain.widths)
            raise ValueError(
                f"{recipe.name} has a rule for the operators {rule.match!r} ({rule.width}), and "
                f"the toolchain {recipe.toolchain} "
                + (
                    f"gives single operators {takes} alone: choose that"
                    if takes
                    else "quantizes "
                    "all operators alike: give it one rule that matches " + repr(ALL_OPERATORS)
                )
            )
    if recipe.is_trained and toolchain.training is None:
        raise ValueError(f"{recipe.name}: the toolchain {recipe.toolchain} trains nothing")
    for name in recipe.remedies:
        if name not in toolchain.remedies:
            has = ", ".join(toolchain.remedies) or "none"
            raise ValueError(
                f"{recipe.name} has the remedy {name}, and the toolchain {recipe.toolchain} has "
                f"{has}: leave it out"
            )
    numbers = [each for each in spec.full.inputs if each.dtype.startswith(("int", "uint"))]
    if recipe.activations == "int16" and numbers:
        raise ValueError(
            f"{spec.name} takes whole numbers ({numbers[0]}), for which TensorFlow's quantizer to "
            f"int16 wants a range: choose another recipe than {recipe.name}"
        )
    source = source_of(spec)
    if why := toolchain.refusal(source.form, recipe):
        comes_as = "a float .tflite file" if source.form == TFLITE else source.name
        raise ValueError(f"{spec.name} comes as {comes_as}, and {recipe.name} {why}")


def preparation_of(spec: ModelSpec) -> Stage:
    """Called with (sample set, preprocessing, whether pixels stay as they are)."""
    return Stage("samples", f"{_HERE}.sample_stages:prepare", spec.preprocessing.hooks)


def calls_of(network: Network) -> Stage:
    """Called with (spec, profile, weights, seed, samples): records the calls of a step."""
    named = tuple(filter(None, (network.builder, network.calls)))
    return Stage("network_inputs", f"{_HERE}.host_inputs:inputs_of_calls", named)


def training_of(spec: ModelSpec, profile: str, toolchain: Toolchain) -> Stage:
    """The toolchain's training, with what it looks up by name: samples, metric, decoding.

    Raises ValueError, with what to do, for a model that has nothing to be trained with.
    """
    if why := training_samples.refusal(spec, profile):
        raise ValueError(why)
    assert toolchain.training is not None  # `check_route`
    hooks = (spec.own.metric, spec.own.train_loss) if spec.own else ()
    looked_up = (training_samples.drawn_by(spec), JUDGE, spec.decode, *hooks)
    named = (*filter(None, looked_up), *spec.preprocessing.hooks)
    return replace(toolchain.training, named=named)


def picture_audit_of(spec: ModelSpec) -> Stage:
    """Called with (calibration set, evaluation set, preprocessing, classes, minimum)."""
    return Stage("audit", f"{_HERE}.auditing:findings", spec.preprocessing.hooks)
