"""Of an int8 case the layers stay float32 that it needs so, at the least cost; it is proved."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import outlier_networks
import pytest
from data_folders import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import InProcess
from typer.testing import CliRunner

from int8gate.analysis import mix_costs, mix_results, mixing, sensitivity
from int8gate.analysis.mix_costs import Meter, Variants, excess, measure_costs, mixed_recipe
from int8gate.analysis.mix_question import MixQuestion, candidates, checked
from int8gate.analysis.mix_results import told_widths
from int8gate.cli.app import app
from int8gate.engine.cache import ArtifactCache
from int8gate.quantizers.declared_recipes import declared_model
from int8gate.quantizers.layer import Layer
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import RECIPES, recipe
from int8gate.quantizers.recipe_type import FLOAT32, INT4, INT8, INT16
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.toolchains.registry import find
from int8gate.reporting.mix import mix_lines
from int8gate.validation import measure
from int8gate.validation.case_run import CaseRun
from int8gate.validation.speed import Interleaved

TABLE = """
[models.gadget]
file = "gadget.{suffix}"
task = "classification"
data = "pictures"
range = [0, 1]
recipes = ["{recipe}"]
expect = {{ accuracy = "{accuracy} * float" }}
"""
TOOLCHAINS = ("onnx", "tflite")
NO_TIME = 1e-3  # seconds


@pytest.fixture(scope="module")
def team(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("team")
    outlier_networks.write_all(folder, "tanh")
    return folder


@given(st.data(), st.integers(1, 9), st.sets(st.sampled_from(["int4", "int16", "float32"])))
def test_those_that_lose_most_may_be_wider_and_the_heaviest_others_int4(data, most, widths):
    """One layer at least stays as it is, and what a layer has no form of is not tried."""
    able = st.sampled_from([("int4", "int16", "float32"), ("int16", "float32"), ("float32",)])
    drawn = data.draw(st.lists(st.tuples(able, st.integers(0, 5)), min_size=2, max_size=9))
    listed = [
        Layer(f"l{at}", "CONV_2D", (f"l{at}",), weights, 1, 0.1, (f"l{at}",), of)
        for at, (of, weights) in enumerate(drawn)
    ]
    chosen, why_not = candidates(listed, MixQuestion(layers=most, widths=tuple(widths)))
    count = min(most, len(listed) - 1)
    worst, heaviest = chosen[:count], chosen[count:]
    tried = {
        layer.name: {width for width in widths if (layer.name, width) not in why_not}
        for layer in chosen
    }
    assert worst == listed[:count]
    assert all(tried[layer.name] == widths.intersection(layer.widths) for layer in worst)
    assert all(tried[layer.name] == {"int4"} for layer in heaviest)
    able = [layer for layer in listed[count:] if "int4" in widths.intersection(layer.widths)]
    left = [layer for layer in able if layer not in heaviest]
    assert len(heaviest) == min(len(able), count, len(listed) - count - 1)
    assert all(one.weights <= other.weights for one in left for other in heaviest)


def toml(team: Path, name: str, accuracy: float = 0.9) -> Path:
    file = team / f"{name}_{accuracy}.toml"
    suffix = recipe(name).toolchain
    file.write_text(TABLE.format(suffix=suffix, recipe=name, accuracy=accuracy))
    return file


def pipeline_of(team: Path) -> Pipeline:
    return Pipeline(
        Settings(min_calibration_samples=50), ArtifactCache(team / "cache"), InProcess()
    )


def case(team: Path, name: str, accuracy: float = 0.9) -> CaseRun:
    """The network with that recipe, which may lose a tenth of its accuracy, or as is said."""
    spec = declared_model("gadget", toml(team, name, accuracy))
    return CaseRun(spec, recipe(name), pipeline_of(team))


@pytest.fixture
def slow_in_float(monkeypatch):
    """A device on which every operator that a recipe leaves float takes a millisecond more: these
    networks are so small that a real host is faster in float32.
    """

    def seconds(path: Path) -> np.ndarray:
        told = find(path.suffix[1:]).integer_operators(path)
        return np.full(9, 1e-3 * (5 + len(told.get("float_by_recipe", ()))))

    def interleave(first: Path, second: Path) -> Interleaved:
        return Interleaved(seconds(first), seconds(second))

    for module in (mix_costs, mix_results):
        monkeypatch.setattr(module, "interleave", interleave)


def mix(run: CaseRun, progress=lambda line: None, budget_s: float | None = None, **asked):
    return mixing.mix(run, MixQuestion(**asked), budget_s=budget_s, progress=progress)


def floats(found) -> list[str]:
    return [row.name for row in found.layers if row.width == FLOAT32]


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_only_the_layer_that_8_bits_cannot_hold_stays_float(toolchain, team, slow_in_float):
    found = mix(case(team, f"{toolchain}_int8"))
    (left,) = floats(found)
    assert outlier_networks.MIDDLE in left
    assert found.is_confirmed
    assert found.on_search
    assert found.on_confirmation
    assert found.on_search.samples + found.on_confirmation.samples == 200
    assert found.on_confirmation.drop_upper_95 <= found.on_confirmation.tolerance
    by = {row.name: row for row in found.layers}
    assert by[left].loss_share > 0.9
    assert all(row.costs[FLOAT32] > 0.5 for row in found.layers), found.layers
    assert found.latency_ms["int8"] == pytest.approx(5)
    assert found.latency_ms["mixed"] == pytest.approx(5 + by[left].costs[FLOAT32])
    lines = mix_lines(found.as_record())
    assert sum(line.split()[-1] == FLOAT32 for line in lines[: len(found.layers) + 1]) == 1
    assert found.ending in lines
    assert set(found.declaration.splitlines()) <= set(lines)
    assert not any("not confirmed" in line for line in lines)
    pasted = team / f"pasted_{toolchain}.toml"
    listed, _, table = found.declaration.partition("\n")
    text = toml(team, f"{toolchain}_int8").read_text()
    pasted.write_text(text.replace(f'recipes = ["{toolchain}_int8"]', listed) + table)
    run = CaseRun(declared_model("gadget", pasted), RECIPES[found.recipe], pipeline_of(team))
    assert measure.accuracy(run).result.status == "passed"
    assert run.built.artifact.size_bytes == found.size_bytes["mixed"]


def test_of_those_that_pass_the_smallest_file_is_taken(team):
    run = case(team, "onnx_int8")
    found = mix(run, objective="size", layers=2, widths=(FLOAT32,))
    names = [row.name for row in found.layers]
    passing = {}
    for left in itertools.chain.from_iterable(itertools.combinations(names, n) for n in range(3)):
        each = CaseRun(
            run.declared, mixed_recipe(run.recipe, dict.fromkeys(left, FLOAT32)), run.pipeline
        )
        each.expected = run.expected
        if measure.accuracy(each).result.status == "passed":
            passing[left] = each.built.artifact.size_bytes
    assert len(passing) == 2
    assert len(set(passing.values())) == 2
    smallest = min(passing, key=passing.__getitem__)
    assert set(floats(found)) == set(smallest)
    assert found.size_bytes["mixed"] == passing[smallest]
    assert found.is_confirmed


@pytest.mark.heavy  # 15 CPU seconds
def test_a_layer_that_loses_little_gets_int4_where_the_file_is_to_be_small(tmp_path, monkeypatch):
    """The one that loses most, the only candidate for wider, is float32."""
    monkeypatch.setattr(outlier_networks, "CHANNELS", 128)  # so that 4 bits a weight save bytes
    outlier_networks.write_all(tmp_path, "tanh")
    run = case(tmp_path, "tflite_int8")
    found = mix(run, objective="size", layers=1, widths=(INT4, FLOAT32))
    assert found.is_confirmed, found.ending
    worst, other = found.layers
    assert (worst.width, other.width) == (FLOAT32, INT4)
    assert other.costs[FLOAT32] is None
    alone = mix(run, objective="size", layers=1, widths=(FLOAT32,))
    assert found.size_bytes["mixed"] < alone.size_bytes["mixed"]


def test_all_methods_find_it(team, slow_in_float):
    winners = {
        method: mix(case(team, "onnx_int8"), method=method, budget_s=20).recipe
        for method in ("integer", "greedy", "dynamic", "evolutionary")
    }
    assert len(set(winners.values())) == 1, winners


def test_costs_have_the_boundary_that_goes_away_between_neighbours(team):
    run = case(team, "onnx_int8")
    found = sensitivity.measure(
        run.pipeline, run.declared, run.recipe, samples=4, with_metric=False, modes=("alone",)
    )
    assert set(found.edges) == {("stem", "middle"), ("middle", "pool"), ("pool", "head")}
    variants, layers = Variants(run), [row.layer for row in found.rows]
    meter = Meter(variants, checked(run, MixQuestion(objective="size", widths=(FLOAT32,))))
    costs = measure_costs(meter, layers, found.edges, lambda: False)
    assert costs.saved[("stem", "middle"), FLOAT32] != 0
    table = costs.table(layers, {(layer.name, INT8): 1.0 for layer in layers})
    for pair in found.edges:
        widths = {name: FLOAT32 if name in pair else INT8 for name in table.layers}
        added = table.costs_of(table.numbered(widths))
        together = variants.size(dict.fromkeys(pair, FLOAT32))
        assert meter.int8 + added == pytest.approx(together)


def test_a_case_that_passes_leaves_nothing_more_float(team, slow_in_float):
    run = case(team, "onnx_int8")
    passing = run.recipe.with_widths("gadget_alone", {FLOAT32: [outlier_networks.MIDDLE]})
    found = mix(CaseRun(run.declared, passing, run.pipeline), layers=2)
    assert floats(found) == []
    assert found.candidates == 1
    assert found.recipe == "gadget_alone"
    assert found.is_confirmed
    assert found.declaration == 'recipes = ["gadget_alone"]'


def test_a_set_too_small_to_be_split_says_so_and_gives_the_figures(team, slow_in_float):
    found = mix(case(team, "onnx_int8", accuracy=0.98))
    assert not found.is_confirmed
    assert any("too few to be split" in note for note in found.notes), found.notes
    assert found.on_search
    assert found.on_confirmation
    assert found.on_confirmation.drop == 0
    assert "# not confirmed: no recipe to ship as it is" in mix_lines(found.as_record())
    assert floats(found) == [outlier_networks.MIDDLE]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"method": "integr"}, "no search method 'integr': did you mean integer?"),
        ({"objective": "bytes"}, "no objective 'bytes': known: latency, size"),
        ({"layers": 0}, "0 layers: expected one or more"),
        ({"target": "ethos_u85_512"}, "ethos_u85_512 takes tflite files, and gadget-onnx_int8"),
        ({"target": "qnn_htp"}, "qnn_htp is simulated and tells no latency"),
        ({"widths": ("int61",)}, "no width 'int61' for gadget-onnx_int8 on host_cpu: "),
        ({"target": "ethos"}, "--target ethos is unknown"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(asked, told, team):
    message = refused(lambda: mix(case(team, "onnx_int8"), **asked), told)
    assert "\n" not in message


def test_a_recipe_without_int8_layers_is_refused(team):
    run = case(team, "tflite_int8")
    run.recipe = RECIPES["tflite_fp16"]
    refused(lambda: mix(run), "tflite_fp16 has no layers that may have other widths")


def test_a_budget_of_nearly_nothing_gives_what_passes_and_says_so(team):
    found = mix(case(team, "onnx_int8"), budget_s=NO_TIME)
    assert f"the budget of {NO_TIME:g} s ended" in found.ending
    assert outlier_networks.MIDDLE in floats(found)
    assert found.is_confirmed
    assert all("not measured" in row.note for row in found.layers)
    assert any("before 4 of 4 layers" in note for note in found.notes), found.notes


def test_where_no_mix_passes_it_says_so_and_what_to_try(team, slow_in_float, monkeypatch):
    monkeypatch.setattr(mixing.gates, "floor_gate", lambda *_: "an output stands still")
    found = mix(case(team, "onnx_int8"), layers=2)
    assert "no mix passed in the search: let more layers be wide with --layers" in found.ending
    assert found.candidates == 3
    assert len(floats(found)) == 2


@pytest.fixture(scope="module")
def common(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("common")
    outlier_networks.write_common(folder)
    return folder


@pytest.mark.parametrize("objective", ["latency", "size"])
def test_on_an_npu_the_row_gets_int16_by_what_the_npu_takes_for_it(objective, common):
    target, run = "ethos_u85_512", case(common, "tflite_int8")
    found = mix(run, target=target, objective=objective, layers=4)
    wide = {row.name: row.width for row in found.layers if row.width != INT8}
    assert set(wide.values()) == {INT16}
    assert found.is_confirmed, found.ending
    assert any("common" in name for name in wide)
    assert any("middle" in name for name in wide)
    assert f"{told_widths(wide)}, of 6" in found.ending
    winner = Variants(run).of(wide)
    assert winner.recipe.name == found.recipe
    assert not measure.integer_only(winner).fields["integer_ops"]["float_ops"]
    modelled = measure.npu_speedup(winner, target, "Cortex-A55").fields["npu"][0]
    assert modelled["cpu_ops"] == 0
    assert found.latency_ms["mixed"] == modelled["latency_ms"] > found.latency_ms["int8"]
    lines = mix_lines(found.as_record())
    assert "int16 adds" in lines[0]
    assert any(f"{target} ms" in line for line in lines)
    assert any(line.startswith("int16 = [") for line in lines)


def test_a_target_that_takes_files_of_one_width_alone_says_so(common, monkeypatch):
    monkeypatch.setattr("int8gate.targets.ethos_u.EthosUTarget.widths", ())
    told = "ethos_u55_128 takes no mixed widths: try int8gate rescue gadget-tflite_int8 --target"
    refused(lambda: mix(case(common, "tflite_int8"), target="ethos_u55_128"), told)


@pytest.mark.parametrize("at", ["in float32, 1 of", "latency with neighbours"])
def test_an_interruption_shows_what_nobody_judged(at, team, slow_in_float):
    found = mix(case(team, "onnx_int8"), progress=interrupting(at))
    assert found.is_interrupted
    assert not found.is_confirmed
    assert "interrupted; the best so far is" in found.ending
    assert "no test has judged" in found.ending
    mix_lines(found.as_record())


def test_an_interruption_confirms_what_passed_before(team, slow_in_float, monkeypatch):
    def interrupted(table, bound, *, verify, **_):
        assert verify(table.named(table.widest))
        raise KeyboardInterrupt

    monkeypatch.setattr(mixing, "search", interrupted)
    found = mix(case(team, "onnx_int8"))
    assert found.is_interrupted
    assert found.is_confirmed
    assert len(floats(found)) == 3
    assert "interrupted; the best so far is" in found.ending


def test_an_interruption_of_the_last_step_keeps_the_confirmation(team, slow_in_float):
    found = mix(case(team, "onnx_int8"), progress=interrupting("latency of the mix"))
    assert found.is_interrupted
    assert found.is_confirmed
    assert found.latency_ms == {}
    mix_lines(found.as_record())


def interrupting(at: str):
    def progress(line: str) -> None:
        if at in line:
            raise KeyboardInterrupt

    return progress


@settings(max_examples=40, deadline=None)
@given(
    shift=st.floats(-0.004, 0.5),
    noise=st.lists(st.floats(-0.01, 0.01), min_size=40, max_size=80),
)
def test_a_layer_counts_as_faster_by_what_is_certain_alone(shift, noise):
    ones = np.ones(2 * len(noise))
    around = np.array([*noise, *(-each for each in noise)])  # of median zero
    found = excess(Interleaved(ones, ones + shift + around))
    assert found == pytest.approx(shift) if shift > 1e-9 else shift - 1e-9 <= found <= 1e-9


def test_a_layer_that_is_faster_for_certain_counts():
    ones = np.ones(100)
    timed = Interleaved(ones, ones * np.linspace(0.78, 0.82, 100))
    assert -0.21 < excess(timed) < -0.19
    slower = dataclasses.replace(timed, float_s=timed.quantized_s, quantized_s=ones)
    assert excess(slower) > 0.2


def test_the_command_tells_all_and_ends_by_whether_it_is_confirmed(team):
    asked = ["mix", "gadget-onnx_int8", "--artifact-cache", str(team / "cache")]
    asked += ["--layers", "1", "--budget", "60s"]
    done = CliRunner().invoke(app, [*asked, "--zoo", str(toml(team, "onnx_int8"))])
    assert done.exit_code == 0, done.output
    assert "[recipes.onnx_int8_mix_" in done.stdout
    assert 'float32 = ["middle"]' in done.stdout
    strict = CliRunner().invoke(app, [*asked, "--zoo", str(toml(team, "onnx_int8", 0.99))])
    assert strict.exit_code == 1, strict.output
    assert "too few to be split" in strict.stdout
    wrong = CliRunner().invoke(app, [*asked[:2], "--zoo", str(team / "none.toml")])
    assert wrong.exit_code == 2
