"""The rates of a training, its budget, and the recipes that train."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from int8gate.engine.cache import open_cache
from int8gate.model_zoo.registry import model, zoo
from int8gate.quantizers import stages
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES, may_be_named, recipe, trained_recipes, untrained
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.steps import TRAINED as TRAINED_STEP
from int8gate.quantizers.training.training_schedule import Schedule

SHARES = st.floats(0, 1)
TRAINED = [each for each in RECIPES.values() if each.is_trained]


@given(SHARES, SHARES)
def test_rates_rise_over_the_warm_up_and_fall_to_nothing(one, other):
    schedule = Schedule()
    low, high = sorted((one, other))
    assert 0 <= schedule.factor(low) <= 1
    if high <= schedule.warm_up:
        assert schedule.factor(low) <= schedule.factor(high)
    elif low >= schedule.warm_up:
        assert schedule.factor(low) >= schedule.factor(high)
    assert schedule.factor(1.0) == pytest.approx(0.0, abs=1e-9)


@given(st.integers(0, 3000), st.floats(0, 400))
def test_a_budget_shortens_the_schedule_to_its_end(step, seconds):
    schedule = Schedule(budget_s=100, steps=1000)
    progress = schedule.progress(step, seconds)
    assert 0 <= progress <= 1
    assert (progress == 1) == (step >= 1000 or seconds >= 100)


@pytest.mark.parametrize("trained", TRAINED, ids=lambda each: each.name)
def test_a_trained_recipe_starts_from_a_registered_one(trained):
    base = untrained(trained)
    assert (base.rules, base.per_channel, base.io) == (
        trained.rules,
        trained.per_channel,
        trained.io,
    )
    assert untrained(recipe(f"{trained.name}+cle")) == recipe(f"{base.name}+cle")


def test_no_model_of_the_zoo_declares_a_recipe_that_trains():
    for spec in zoo().values():
        assert not any(RECIPES[name].is_trained for name in spec.recipes)


def test_a_budget_is_the_same_for_a_training_alone_and_for_its_gates():
    """One gives 180.0 seconds, the other 180: the gates take what was trained."""
    spec, chosen = model("vit"), recipe("onnx_qat_int8")
    keys = []
    for budget in (180, 180.0):
        pipeline = Pipeline(Settings(train_budget_s=budget), open_cache("none"), None)
        step = next(each for each in pipeline.steps(spec, chosen) if each.name == TRAINED_STEP)
        keys.append(step.parts)
    assert keys[0] == keys[1]


def test_what_may_be_trained_of_a_model():
    declared = model("mobilenet_v1").recipes
    assert trained_recipes(declared) == ["tflite_qat_int8", "tflite_qat_int8_per_tensor"]
    assert trained_recipes(model("vit").recipes) == ["tflite_qat_int8", "onnx_qat_int8"]
    assert may_be_named("tflite_qat_int8_per_tensor", model("unet").recipes)
    assert may_be_named("tflite_qat_int8x4", model("unet").recipes)
    assert may_be_named("tflite_int8_power_of_two", model("unet").recipes)
    assert not may_be_named("onnx_int8_symmetric", model("unet").recipes)
    assert not may_be_named("onnx_qat_int8", model("unet").recipes)
    assert not may_be_named("tflite_int8", declared)


def test_the_native_profile_has_no_training_samples_and_says_so():
    spec, toolchain = model("vit"), stages.find("onnx")
    with pytest.raises(ValueError, match="training samples of its compact profile alone"):
        stages.training_of(spec, "full", toolchain)
    stages.training_of(spec, "compact", toolchain)
