"""A case that fails is rescued by the cheapest recipe that passes, or it is said that none does."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import outlier_networks
import pytest
from data_folders import refused
from in_process import InProcess

from int8gate.analysis import ladder as ladders
from int8gate.analysis.ladder import rescue
from int8gate.analysis.ladder_results import declaration
from int8gate.engine.cache import ArtifactCache
from int8gate.quantizers.declared_recipes import declared_model, register_recipes
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES, recipe, with_remedies
from int8gate.quantizers.settings import Settings
from int8gate.reporting.rescue import ladder_lines
from int8gate.targets import registry
from int8gate.targets.target import MODELLED, Target
from int8gate.validation import measure
from int8gate.validation.case_run import CaseRun
from int8gate.validation.gates import GateResult
from int8gate.validation.results_model import Rescue

TABLE = """
[models.gadget]
file = "gadget.{suffix}"
task = "classification"
data = "{data}"
range = [0, 1]
recipes = ["{recipe}"]
expect = {{ accuracy = "0.9 * float", cpu_speedup_x86 = 0.01 }}
"""
TOOLCHAINS = ("onnx", "tflite")


@pytest.fixture(scope="module")
def team(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("team")
    outlier_networks.write_all(folder, "tanh")
    return folder


def declared(team: Path, name: str, data: str = "pictures") -> CaseRun:
    """The case of the network with that recipe."""
    toolchain = recipe(name).toolchain
    file = team / f"{name}-{data}.toml"
    file.write_text(TABLE.format(suffix=toolchain, recipe=name, data=data))
    cache = ArtifactCache(team / "cache")
    pipeline = Pipeline(Settings(min_calibration_samples=50), cache, InProcess())
    return CaseRun(declared_model("gadget", file), recipe(name), pipeline)


@pytest.fixture(scope="module")
def climbed(team):
    """The ladder of the plain case, climbed once for each toolchain."""
    found = {}

    def climbed(toolchain: str):
        if toolchain not in found:
            run = declared(team, f"{toolchain}_int8")
            found[toolchain] = rescue(run, targets=("host_cpu",))
        return found[toolchain]

    return climbed


def pasted(found, team: Path, toolchain: str) -> Path:
    """A TOML of the network with what the ladder prints."""
    file = team / f"pasted_{toolchain}.toml"
    text = TABLE.format(suffix=toolchain, recipe="?", data="pictures")
    recipes, _, rules = found.declaration.partition("\n")
    declared_text = text.replace('recipes = ["?"]', recipes)
    file.write_text(f"{declared_text}\n{rules}\n")
    return file


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_a_loss_in_one_layer_is_rescued_by_that_layer_in_float(toolchain, climbed, team):
    found = climbed(toolchain)
    assert found.base.gates["accuracy"] == "failed"
    assert found.winner == f"{toolchain}_int8_wide1", found.ending
    assert found.tried[-1].verdict == "passed"
    assert found.tried[-1].gain > 0.4
    assert all(each.verdict != "passed" for each in found.tried[:-1])
    assert "dearer ones were not needed" in found.ending
    assert found.drop_together > found.tried[-1].drop_upper_95, "of all tries, not of one"
    Rescue.model_validate(found.as_record())
    spec = declared_model("gadget", pasted(found, team, toolchain))  # gated as it says
    assert spec.recipes == (found.winner,)
    pipeline = Pipeline(
        Settings(min_calibration_samples=50), ArtifactCache(team / "cache"), InProcess()
    )
    run = CaseRun(spec, RECIPES[found.winner], pipeline)
    assert measure.accuracy(run).result.status == "passed"
    assert run.built.artifact.sha256 == found.tried[-1].sha256


def test_on_an_npu_the_worst_layers_get_int16_and_all_stays_integer(tmp_path):
    outlier_networks.write_common(tmp_path)
    targets = ("host_cpu", "ethos_u85_512")
    found = rescue(declared(tmp_path, "tflite_int8"), targets=targets)
    assert found.base.gates["accuracy"] == "failed"
    assert found.winner == "tflite_int8_int16_2", found.ending
    won = found.tried[-1]
    assert won.coverage == 1
    assert won.gates["integer_only"] == "passed"
    assert "in int16" in won.what
    assert "int16 = [" in found.declaration
    assert not any("float32" in each.what for each in found.tried)


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_a_scale_that_can_move_costs_no_layer_in_float(toolchain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("relu")
    outlier_networks.write_all(folder, "relu")
    found = rescue(declared(folder, f"{toolchain}_int8"), targets=("host_cpu",))
    assert found.base.gates["accuracy"] == "failed"
    assert found.winner == f"{toolchain}_int8+cle", found.ending
    assert found.declaration == f'recipes = ["{toolchain}_int8+cle"]'


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_each_step_is_told_with_its_figures(toolchain, climbed):
    found = climbed(toolchain)
    lines = ladder_lines(found.as_record())
    assert "accuracy drop" in lines[0] or "top1 drop" in lines[0], lines[0]
    for each, line in zip((found.base, *found.tried), lines[1:], strict=False):
        assert line.startswith(each.recipe)
        assert line.rstrip().endswith(each.verdict)
    for each in found.tried:
        if each.verdict in ("failed", "passed"):
            assert None not in (each.drop, each.drop_upper_95, each.sqnr_db, each.size_bytes)
            assert each.latency_ms["host_cpu"] > 0


SAID = {  # how each remedy's own note begins
    "cle": "cross-layer equalization",
    "smooth": "SmoothQuant",
    "bias": "bias correction",
    "adaround": "AdaRound",
}


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_each_remedy_is_done_by_itself(toolchain, climbed):
    """Two of one module had one key in the cache, so that the first stood for both."""
    notes = {each.recipe: each.notes for each in climbed(toolchain).tried}
    for remedy, begins in SAID.items():
        note = notes[f"{toolchain}_int8+{remedy}"][0]
        assert note.startswith(begins), note


def test_what_is_done_once_is_not_done_again(team, climbed):
    first = climbed("onnx")
    run = declared(team, "onnx_int8")
    again = rescue(run, targets=("host_cpu",))
    assert [each.sha256 for each in again.tried] == [each.sha256 for each in first.tried]
    done = {getattr(task, "__name__", task) for task, _ in run.pipeline.worker.tasks}
    assert not any("quantize" in str(name) or "calibrate" in str(name) for name in done), done


def test_a_case_that_passes_is_left_as_it_is(team, climbed):
    register_recipes(pasted(climbed("onnx"), team, "onnx"))
    run = declared(team, "onnx_int8_wide1")
    found = rescue(run, targets=("host_cpu",))
    assert not found.tried
    assert found.winner == "onnx_int8_wide1"
    assert "nothing to rescue" in found.ending


def test_a_float_model_that_knows_nothing_is_not_rescued(team):
    """Its labels are shuffled: no recipe makes a model better than the float one."""
    shuffled = team / "shuffled"
    for number, file in enumerate(sorted((team / "pictures").rglob("*.png"))):
        target = shuffled / file.parts[-3] / f"class{number % 5}" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    found = rescue(declared(team, "onnx_int8", "shuffled"), targets=("host_cpu",))
    assert found.winner is None
    assert not found.tried
    assert "no remedy can help" in found.ending
    assert "not significantly better than" in found.ending


def test_a_budget_that_ends_says_so_and_what_is_best_so_far(team, monkeypatch):
    run = declared(team, "tflite_int8_entropy")
    moments = iter([0.0, *([1.0] * 2), *([99.0] * 50)])
    monkeypatch.setattr(ladders, "time", Clock(moments))
    found = rescue(run, targets=("host_cpu",), budget_s=10)
    assert found.winner is None
    assert "the budget of 10 s ended after" in found.ending
    assert "--budget" in found.ending


class Clock:
    def __init__(self, moments):
        self.moments = moments

    def monotonic(self) -> float:
        return next(self.moments)


def test_an_interruption_keeps_what_was_found(team, climbed, monkeypatch):
    run = declared(team, "onnx_int8")

    def interrupted(line: str) -> None:
        if "float32" in line:
            raise KeyboardInterrupt

    found = rescue(run, targets=("host_cpu",), progress=interrupted)
    assert found.is_interrupted
    assert found.tried
    assert "interrupted after" in found.ending


def test_a_rung_whose_converter_fails_is_told_and_the_next_is_tried(team, monkeypatch):
    run = declared(team, "onnx_int8")
    failing = {"onnx_int8_entropy"}
    real = CaseRun.built.fget

    def built(self):
        if self.recipe.name in failing:
            raise RuntimeError("the converter died")
        return real(self)

    monkeypatch.setattr(CaseRun, "built", property(built))
    monkeypatch.setattr(ladders, "FAILURES", (RuntimeError, *ladders.FAILURES))
    found = rescue(run, targets=("host_cpu",))
    by = {each.recipe: each for each in found.tried}
    assert by["onnx_int8_entropy"].verdict == "error"
    assert by["onnx_int8_entropy"].message == "the converter died"
    assert found.winner == "onnx_int8_wide1"


def test_accuracy_bought_by_another_gate_is_no_rescue(team, climbed, monkeypatch):
    plain = climbed("onnx")
    assert plain.base.gates["io_dtype"] == "passed"
    real = ladders.measure.io_dtype

    def io_dtype(run):
        found = real(run)
        is_base = run.recipe.name == plain.base.recipe
        return found if is_base else replace(found, result=GateResult("failed", "another dtype"))

    monkeypatch.setattr(ladders.measure, "io_dtype", io_dtype)
    found = rescue(declared(team, "onnx_int8"), targets=("host_cpu",))
    assert found.winner is None
    assert found.tried[-1].verdict == "refused"
    assert "io_dtype does not any more" in found.tried[-1].message
    assert found.tried[-1].gates["accuracy"] == "passed"
    assert "none of" in found.ending
    assert found.ending.endswith("accuracy passes, but io_dtype does not any more")


@pytest.mark.parametrize("remedies", [(), ("cle",)])
@pytest.mark.parametrize("name", [each.name for each in RECIPES.values() if each.is_calibrated])
def test_what_is_to_be_pasted_names_the_recipe_that_the_layers_were_added_to(name, remedies):
    start = with_remedies(RECIPES[name], *remedies) if remedies else RECIPES[name]
    told = declaration(RECIPES[name], start.with_widths("winner", {"float32": ["head"]}))
    assert f'base = "{start.name}"' in told.splitlines()


class Plain(Target):
    """An NPU whose multipliers shift: scales of activations are powers of two."""

    name, format, kind = "plain_npu", "onnx", MODELLED
    scales = ("power_of_two",)

    def entry(self, model, core, directory, timeout_s) -> dict:
        baseline = {"core": core, "kind": MODELLED, "best_ms": 2.0, "typical_ms": 2.0}
        timed = {"latency_ms": 1.0, "speedup": 2.0, "cpu_baseline": baseline}
        return {"npu_ops": 1, "cpu_ops": 0, **timed}


def test_no_rung_has_scales_that_the_target_does_not_take(team, climbed, monkeypatch):
    everything = [tried.recipe for tried in climbed("onnx").tried]
    monkeypatch.setitem(registry._REGISTERED, Plain.name, Plain())
    found = rescue(declared(team, "onnx_int8"), targets=(Plain.name,))
    assert found.winner is None
    assert not found.tried
    said = "Not tried, for their scales are not what plain_npu takes: "
    assert said in found.ending
    ranges = {name for name in everything if "wide" not in name}
    assert ranges <= set(re.findall(r"onnx[\w+]+", found.ending))
    assert Plain().takes(recipe("onnx_int8_power_of_two"))


def test_a_recipe_without_ranges_has_no_remedies(team):
    run = declared(team, "tflite_int8")
    run.recipe = RECIPES["tflite_fp16"]
    refused(
        lambda: rescue(run, targets=("host_cpu",)),
        "tflite_fp16 takes no calibrated ranges",
    )


def test_time_is_measured(climbed):
    assert time.monotonic() > sum(each.seconds for each in climbed("onnx").tried) > 0
