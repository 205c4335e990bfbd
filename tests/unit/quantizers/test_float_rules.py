"""A rule that leaves a layer float rescues a network that 8 bits cannot hold, in each toolchain."""

from __future__ import annotations

from dataclasses import replace

import outlier_networks
import pytest
from data_folders import refused
from in_process import InProcess

from int8gate.engine.cache import ArtifactCache
from int8gate.model_zoo.user_models.resolve import declared_spec
from int8gate.model_zoo.user_models.toml_file import read_zoo
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.recipe_type import Recipe, Rule
from int8gate.quantizers.settings import Settings
from int8gate.validation import measure
from int8gate.validation.case_run import CaseRun

TABLE = """
[models.gadget]
file = "gadget.{suffix}"
task = "classification"
data = "pictures"
range = [0, 1]
expect = {{ accuracy = "0.9 * float" }}
"""
TOOLCHAINS = ("onnx", "tflite")
LAST = {"onnx": ("head",), "tflite": ("*Identity*",)}


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    folder = tmp_path_factory.mktemp("team")
    outlier_networks.write_all(folder)
    for suffix in TOOLCHAINS:
        (folder / f"{suffix}.toml").write_text(TABLE.format(suffix=suffix))
    return folder


def recipe(toolchain: str, *matches: str) -> Recipe:
    """Full INT8 but for the operators that these globs match."""
    plain = RECIPES[f"{toolchain}_int8"]
    rules = [Rule(match, "float32", "float32") for match in matches]
    return replace(plain, name=f"team_{toolchain}", rules=(*plain.rules, *rules))


@pytest.fixture(scope="module")
def case(team):
    """The run of a recipe, each once."""
    runs = {}

    def case(chosen: Recipe) -> CaseRun:
        if chosen not in runs:
            (own,) = read_zoo(team / f"{chosen.toolchain}.toml")
            cache = ArtifactCache(team / "cache")
            pipeline = Pipeline(Settings(min_calibration_samples=50), cache, InProcess())
            runs[chosen] = CaseRun(declared_spec(own), chosen, pipeline)
        return runs[chosen]

    return case


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_a_layer_that_8_bits_cannot_hold_passes_once_a_rule_leaves_it_float(toolchain, case):
    plain = measure.accuracy(case(RECIPES[f"{toolchain}_int8"]))
    assert plain.fields["accuracy"]["float"] == 1
    assert plain.result.status == "failed", plain.result.message
    assert plain.fields["accuracy"]["quantized"] < 0.5
    mixed = measure.accuracy(case(recipe(toolchain, "*middle*")))
    assert mixed.result.status == "passed", mixed.result.message
    assert mixed.fields["accuracy"]["quantized"] > 0.97


def test_float16_passes_as_well_and_the_file_says_who_asked_for_it(case):
    run = case(RECIPES["onnx_int8"].with_widths("team_half", {"float16": ["middle"]}))
    assert measure.accuracy(run).result.status == "passed"
    found = measure.integer_only(run)
    assert found.result.status == "passed", found.result.message
    assert any("middle" in name for name in found.fields["integer_ops"]["float_by_recipe"])
    assert measure.io_dtype(run).result.status == "passed"


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_another_layer_that_stays_float_rescues_nothing(toolchain, case):
    found = measure.accuracy(case(recipe(toolchain, "*stem*")))
    assert found.result.status == "failed", found.result.message
    assert found.fields["error_origin"]["sentence"]


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_what_the_recipe_leaves_float_fails_no_gate_and_is_named(toolchain, case):
    found = measure.integer_only(case(recipe(toolchain, "*middle*")))
    assert found.result.status == "passed", found.result.message
    told = found.fields["integer_ops"]
    assert not told["float_ops"]
    assert any("middle" in name for name in told["float_by_recipe"])
    assert not any("stem" in name or "head" in name for name in told["float_by_recipe"])
    assert 0 < told["fraction"] < 1
    assert (
        "float_by_recipe"
        not in measure.integer_only(case(RECIPES[f"{toolchain}_int8"])).fields["integer_ops"]
    )


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_a_file_that_says_so_is_believed_by_its_own_recipe_alone(toolchain, case, monkeypatch):
    run = case(recipe(toolchain, "*middle*"))
    measure.integer_only(run)
    monkeypatch.setattr(run, "recipe", RECIPES[f"{toolchain}_int8"])
    found = measure.integer_only(run).result
    assert found.status == "failed"
    assert "middle" in found.message


@pytest.mark.parametrize(("toolchain", "dtype"), [("onnx", "float32"), ("tflite", "int8")])
def test_inputs_and_outputs_are_as_declared_where_the_ends_stay_float(toolchain, dtype, case):
    run = case(recipe(toolchain, "*stem*", *LAST[toolchain]))
    assert measure.io_dtype(run).result.status == "passed"
    artifact = run.built.artifact
    assert {end.dtype for end in (*artifact.inputs, *artifact.outputs)} == {dtype}
    found = measure.integer_only(run)
    assert found.result.status == "passed", found.result.message
    assert (
        len(found.fields["integer_ops"]["float_by_recipe"]) == {"onnx": 2, "tflite": 6}[toolchain]
    )


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_a_rule_that_matches_nothing_is_refused_with_names_that_are_near(toolchain, case):
    run = case(recipe(toolchain, "midle*"))
    refused(lambda: run.built, "'midle*'", "did you mean", "middle")


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_rules_that_leave_nothing_to_quantize_are_refused(toolchain, case):
    run = case(recipe(toolchain, "?*"))
    refused(lambda: run.built, "every operator", f"{toolchain}_fp32")


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_the_rules_are_part_of_the_key(toolchain, case):
    """Another rule is another artifact; the same rule under a fresh run is the same file."""
    one, other = (case(recipe(toolchain, match)).built for match in ("*middle*", "*stem*"))
    assert one.artifact.sha256 != other.artifact.sha256
    again = CaseRun(
        case(recipe(toolchain, "*middle*")).declared,
        recipe(toolchain, "*middle*"),
        case(recipe(toolchain, "*middle*")).pipeline,
    )
    assert again.built.artifact.path == one.artifact.path
