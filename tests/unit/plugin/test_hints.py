"""The command of a failure: with the options of the run, and only for cases that there are."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from tiny_zoo import TINY

from int8gate.plugin.cases import has_test
from int8gate.plugin.hints import pasteable
from int8gate.plugin.models import MODELS
from int8gate.quantizers.recipe import RECIPES
from int8gate.validation.rerun import REPORT, other_recipe, rerun

CASE = "tiny-tflite_int8"
SEVERAL = replace(TINY, recipes=("tflite_int8", "tflite_int8_entropy", "tflite_int16x8"))
ONNX = replace(TINY, name="tiny_onnx", recipes=("onnx_int8",))


def config(*models, **given) -> pytest.Config:
    """What of pytest's configuration a hint looks at: the run's models and options."""
    stash = pytest.Stash()
    stash[MODELS] = {spec.name: spec for spec in models}
    return SimpleNamespace(stash=stash, getoption=lambda name: given.get(name))


def hint(command: str, *models, **given) -> str:
    return pasteable(f"measured: x\nnext: {command}", config(*models, **given))


def test_a_command_names_one_case_and_one_gate():
    assert rerun(CASE, "size") == "pytest --int8-case tiny-tflite_int8 -m size"
    assert rerun(other_recipe(CASE), "accuracy") == "pytest --int8-case 'tiny-*' -m accuracy"


def test_a_recipe_that_the_model_does_not_declare_is_not_proposed():
    beside = rerun(CASE, "accuracy", REPORT, "if that holds", other_recipe(CASE, "tflite_int16x8"))
    both = "--int8-case tiny-tflite_int8 --int8-case tiny-tflite_int16x8"
    assert hint(beside, SEVERAL).endswith(
        f"next: pytest {both} -m accuracy --int8-report=report  # if that holds"
    )
    alone = replace(SEVERAL, recipes=("tflite_int8",))
    assert hint(beside, alone).endswith(
        "next: pytest --int8-case tiny-tflite_int8 -m accuracy --int8-report=report"
    )


def test_a_command_that_would_run_no_test_is_left_out():
    """ONNX artifacts have no gate on an NPU that takes TFLite."""
    asked = rerun("tiny_onnx-onnx_int8", "npu_speedup", remark="shows what it costs")
    assert hint(asked, ONNX) == "measured: x"
    assert "npu_speedup" in hint(asked, ONNX, int8_target=["qnn_htp"])
    assert hint(rerun("gone-tflite_int8", "size"), SEVERAL) == "measured: x"


def test_options_of_the_run_are_carried_unless_the_command_sets_them():
    said = hint(
        rerun(CASE, "size", "--int8-artifact-cache=none"), SEVERAL,
        int8_zoo=["my models.toml"], int8_profile="full", int8_artifact_cache="cache",
    )  # fmt: skip
    assert said.endswith(
        "next: pytest '--int8-zoo=my models.toml' --int8-profile=full "
        "--int8-case tiny-tflite_int8 -m size --int8-artifact-cache=none"
    )


@pytest.mark.parametrize("gate", [None, *RECIPES["tflite_int8"].gates])
def test_a_pattern_is_of_every_recipe(gate):
    assert has_test(config(SEVERAL), "tiny-*", gate)
    assert not has_test(config(ONNX), "tiny-*", gate), "another model, whose name begins so"
