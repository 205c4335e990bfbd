"""Quantization-aware training: what was trained is what ships, and it never ends worse."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import separable_networks
import trained_networks
from trained_networks import TOOLS, Judge, Samples

from int8gate.quantizers.exposed import exact_session
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.training import trainer
from int8gate.quantizers.training.trained_file import TRAINED, read_ranges
from int8gate.quantizers.training.training_schedule import Schedule
from int8gate.quantizers.training.validation_part import Validation

RECIPE = {
    "onnx": replace(RECIPES["onnx_qat_int8"], per_channel=False),
    "tflite": RECIPES["tflite_qat_int8_per_tensor"],
}
SHORT = Schedule(budget_s=600, steps=24, looks=2, batch=16, weight_rate=2e-3)


class Given:
    """A float network, its statistics, and trainings of it by `recipe`."""

    def __init__(self, form: str, folder: Path, spread: float = 8.0, recipe: str = ""):
        self.tools, self.folder, self.form = TOOLS[form], folder, form
        self.model = trained_networks.write_float(form, spread, folder / self.tools.file)
        self.statistics = folder / "statistics.npz"
        trained_networks.write_statistics(form, self.model, self.statistics)
        self.recipe = RECIPES[recipe] if recipe else RECIPE[form]

    def train(self, name: str, schedule=SHORT, judge=None, recipe=None, **changed) -> dict:
        directory = self.folder / name
        directory.mkdir(exist_ok=True)
        return trainer.train_on(
            changed.get("tools", self.tools),
            self.model,
            self.statistics,
            recipe or self.recipe,
            changed.get("samples", Samples()),
            judge or Judge(),
            10,
            schedule,
            self.folder / f"{name}.kept" / "checkpoint.pt",
            directory,
        )["training"]

    def shipped(self, name: str) -> Path:
        """The quantized file of a training, as the pipeline's next stage makes it."""
        directory = self.folder / name / "quantized"
        directory.mkdir(exist_ok=True)
        ranges = read_ranges(self.folder / name / TRAINED)
        self.tools.quantize(self.folder / name / self.tools.file, self.recipe, ranges, directory)
        return directory / self.tools.file


@pytest.fixture(scope="module", params=["onnx", "tflite", "onnx_qat_int8x4", "tflite_qat_int8x4"])
def trained(request, tmp_path_factory):
    """A training for one scale a tensor of channels that differ, or for int4 weights."""
    form, _, rest = request.param.partition("_")
    folder = tmp_path_factory.mktemp(request.param)
    given = Given(form, folder, 4.0 if rest else 30.0, request.param if rest else "")
    return given, given.train("done")


def test_every_scale_and_zero_point_that_ships_is_the_trained_one(trained):
    given, _ = trained
    content = json.loads((given.folder / "done" / TRAINED).read_text())
    graph = given.tools.read(given.shipped("done"), given.folder / "done" / given.tools.file)
    assert content["activations"].keys() == graph.grids.keys()
    for name, (scale, zero_point) in content["activations"].items():
        assert graph.grids[name].scale == pytest.approx(scale, rel=1e-6)
        assert graph.grids[name].zero_point == zero_point
    quantized = {name: c for name, c in graph.constants.items() if c.high}
    assert len(quantized) == 8  # a stem, three pairs, a dense layer
    assert content["weights"].keys() == quantized.keys()
    for name, scales in content["weights"].items():
        np.testing.assert_allclose(quantized[name].scales, scales, rtol=1e-6)


def test_what_quantizes_takes_nothing_of_the_budget(tmp_path):
    """TensorFlow's import alone took longer than a short one: no step was left."""

    def slow(*arguments):
        end = time.process_time() + 1.0
        while time.process_time() < end:
            pass
        return given.tools.quantize(*arguments)

    given = Given("onnx", tmp_path)
    short = replace(SHORT, budget_s=0.5, steps=2000)
    course = given.train("slow", short, tools=replace(given.tools, quantize=slow))
    assert course["steps"] > 0
    assert course["seconds"] < 1


def test_scales_and_weights_were_trained(trained):
    given, course = trained
    assert course["best_step"] > 0
    before = trainer.thresholds.ranges(trainer.table_of(given.statistics), "min_max")
    after = read_ranges(given.folder / "done" / TRAINED)
    assert before.keys() == after.keys()
    assert any(not np.allclose(before[name], after[name], rtol=1e-3) for name in before)
    files = [given.model, given.folder / "done" / given.tools.file]
    first, second = (given.tools.read(file, file).constants for file in files)
    assert any(
        not np.array_equal(first[name].values, second[name].values)
        for name in first
        if first[name].role == "weights"
    )


def test_fake_quantization_and_runtime_answer_alike(trained):
    import torch

    from int8gate.quantizers.training.fake_quantized import FakeQuantized

    given, _ = trained
    file = given.shipped("done")
    network = FakeQuantized(given.tools.read(file, given.folder / "done" / given.tools.file))
    samples, rows = Samples(count=400, validation=0, seed=9), np.arange(400)
    with torch.no_grad():
        (found,) = network(*samples.inputs(rows, network.graph.shapes))
    (real,) = exact_session(file).predict(*samples.real(rows))
    assert np.mean(found.numpy().argmax(-1) == real.argmax(-1)) >= 0.995


def test_the_record_says_how_training_and_runtime_agree(trained):
    agreement = trained[1]["agreement"]
    assert agreement["samples"] == 128
    assert agreement["share"] >= 0.99  # of 128, one
    assert agreement["sqnr_db"] is None or agreement["sqnr_db"] > 30


def test_training_lifts_what_one_scale_a_tensor_costs(trained):
    _, course = trained
    start, best = course["looks"][0], min(course["looks"], key=lambda look: look["drop"])
    assert best["drop"] <= start["drop"]
    assert best["loss"] < start["loss"]


@pytest.mark.parametrize("spoilt", ["reversed", "judged wrongly", "wrong teacher"])
def test_what_trains_the_wrong_way_does_not_pass_and_keeps_the_start(spoilt, tmp_path):
    given = Given("onnx", tmp_path, spread=40.0)
    if spoilt == "reversed":
        away = replace(SHORT, weight_rate=-0.01, scale_rate=-0.01)
        course = given.train("done", away, Judge(tolerance=0.0))
    elif spoilt == "judged wrongly":
        course = given.train("done", SHORT, Judge(wrong=True))
    else:
        other = trained_networks.write_float("onnx", 1.0, tmp_path / "other.onnx")
        scrambled = given.tools.read(other, other)
        for name, constant in scrambled.constants.items():
            if constant.source:
                scrambled.constants[name] = replace(constant, values=np.flip(constant.values))
        course = _towards(given, scrambled)
    assert not course["is_within_tolerance"]
    assert course["looks"][0]["drop"] >= course["looks"][_best(course)]["drop"]


def _best(course: dict) -> int:
    steps = [look["step"] for look in course["looks"]]
    return steps.index(course["best_step"])


def _towards(given: Given, graph) -> dict:
    """A training towards another network, judged against the right one."""
    from int8gate.quantizers.training.course import Training
    from int8gate.quantizers.training.fake_quantized import FakeQuantized

    ranges = trainer.thresholds.ranges(trainer.table_of(given.statistics), "min_max")
    network = FakeQuantized(trainer.quantized_graph(given.tools, given.model, given.recipe, ranges))
    teacher = FakeQuantized(given.tools.read(given.model, given.model), is_quantized=False)
    samples = Samples()
    look = Validation(Judge(tolerance=0.0), samples, teacher, 10, 16)
    checkpoint = given.folder / "other.pt"
    rate = replace(SHORT, weight_rate=0.02)
    return (
        Training(
            network,
            FakeQuantized(graph, is_quantized=False),
            lambda rows: samples.inputs(rows, network.graph.shapes),
            samples.count,
            look,
            rate,
            checkpoint,
            10,
        )
        .run()
        .as_record()
    )


def test_a_loss_that_is_not_finite_ends_it_and_the_best_is_kept(tmp_path):
    given = Given("onnx", tmp_path)
    course = given.train("done", replace(SHORT, weight_rate=1e37), Judge(tolerance=0.0))
    assert "the rates are too high" in course["ending"]
    best = course["looks"][_best(course)]
    assert np.isfinite(best["loss"])
    assert best["drop"] <= course["looks"][0]["drop"]
    given.shipped("done")


def test_a_killed_training_goes_on_to_the_same_end(tmp_path):
    given = Given("onnx", tmp_path)
    judge = Judge(tolerance=0.0)
    often = replace(SHORT, checkpoint_s=0.0)
    whole = given.train("whole", often, judge)

    class Killed(Samples):
        left = 17

        def inputs(self, rows, shapes):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().inputs(rows, shapes)

    with pytest.raises(KeyboardInterrupt):
        given.train("halves", often, judge, samples=Killed())
    assert (tmp_path / "halves.kept" / "checkpoint.pt").is_file()
    halves = given.train("halves", often, judge)

    def without_time(course: dict) -> list:
        return [{**look, "seconds": None} for look in course["looks"]]

    assert without_time(halves) == without_time(whole)
    one, other = (given.folder / name / TRAINED for name in ("whole", "halves"))
    assert one.read_text() == other.read_text()


def test_a_damaged_checkpoint_is_told_and_left_aside(tmp_path, capsys):
    given = Given("onnx", tmp_path)
    kept = tmp_path / "done.kept"
    kept.mkdir()
    (kept / "checkpoint.pt").write_bytes(b"no checkpoint")
    course = given.train("done", replace(SHORT, steps=4, looks=1))
    assert course["looks"][0]["step"] == 0
    assert "cannot be read" in capsys.readouterr().out


def test_the_rest_is_looked_at_only_where_a_part_may_be_the_best(tmp_path):
    """A network that is worse on the first part is left there; the best was looked at whole."""
    import torch

    from int8gate.quantizers.training.course import Look
    from int8gate.quantizers.training.fake_quantized import FakeQuantized

    given = Given("onnx", tmp_path)
    ranges = trainer.thresholds.ranges(trainer.table_of(given.statistics), "min_max")
    graph = trainer.quantized_graph(given.tools, given.model, given.recipe, ranges)
    better, worse = FakeQuantized(graph), FakeQuantized(graph)
    with torch.no_grad():
        for weights in worse.weights:
            weights *= 1 + 0.5 * torch.randn_like(weights)
    teacher = FakeQuantized(given.tools.read(given.model, given.model), is_quantized=False)
    look = Validation(Judge(), Samples(), teacher, 10, 16, first=32)
    first, second, third = (look(network) for network in (worse, better, worse))
    assert [each["samples"] for each in (first, second, third)] == [128, 128, 32]
    assert third["is_whole"] is False
    assert first["loss"] > second["loss"] < third["loss"]
    looks = [Look(0, 0.0, **each) for each in (first, second, third)]
    assert looks[1].is_better_than(looks[0])
    assert not any(looks[2].is_better_than(look) for look in looks)
    assert not replace(looks[2], drop=0.0, drop_upper_95=0.0).passes


@pytest.mark.parametrize(("took", "looks"), [(0.0, 4), (0.1, 4), (15.0, 3), (30.0, 1), (1e4, 1)])
def test_looks_take_no_more_than_their_share_of_the_budget(took, looks):
    assert Schedule(budget_s=180.0, looks=4).looks_of(took) == looks


def test_what_holds_already_is_not_trained(tmp_path):
    given = Given("onnx", tmp_path, spread=1.0)
    course = given.train("done", judge=Judge(tolerance=0.9))
    assert (course["steps"], course["is_within_tolerance"]) == (0, True)


def test_a_trained_network_ships_with_the_scales_that_its_operators_fix(tmp_path):
    """TFLite's quantizer gives every sigmoid 1/256, whatever its range: it is not learned."""
    given = Given("tflite", tmp_path)
    separable_networks.write_tflite(separable_networks.drawn(8.0), "sigmoid", given.model)
    trained_networks.write_statistics("tflite", given.model, given.statistics)
    course = given.train("done", replace(SHORT, steps=8, looks=1), Unscored())
    graph = given.tools.read(given.shipped("done"), given.folder / "done" / given.tools.file)
    fixed = [call.outputs[0] for call in graph.calls if call.kind == "LOGISTIC"]
    assert len(fixed) == 7
    assert {graph.grids[name].scale for name in fixed} == {1 / 256}
    assert course["best_step"] == 8


class Unscored(Judge):
    """Of samples without labels: the loss alone says what is best."""

    def drop(self, of_float, quantized):
        return None

    def compare(self, of_float, quantized):
        return {}


def test_a_scale_that_is_not_the_trained_one_is_refused_by_name(tmp_path):
    given = Given("onnx", tmp_path)
    calls = []

    def quantize(model, recipe, ranges, directory):
        calls.append(model)
        wider = {name: (2 * low, 2 * high) for name, (low, high) in ranges.items()}
        return given.tools.quantize(model, recipe, wider if len(calls) > 1 else ranges, directory)

    with pytest.raises(ValueError, match="was trained with the scale"):
        given.train(
            "done", replace(SHORT, steps=2, looks=1), tools=replace(given.tools, quantize=quantize)
        )


def test_weights_that_ship_with_other_scales_are_refused_by_name(tmp_path):
    given = Given("onnx", tmp_path)

    def write(model, weights, target):
        given.tools.write(model, {name: 2 * values for name, values in weights.items()}, target)

    with pytest.raises(ValueError, match=r"^the weights .* were trained with other scales"):
        given.train(
            "done", replace(SHORT, steps=2, looks=1), tools=replace(given.tools, write=write)
        )


def test_an_operator_without_a_pytorch_form_is_named(tmp_path):
    import onnx

    given = Given("onnx", tmp_path)
    model = onnx.load(str(given.model))
    node = next(each for each in model.graph.node if each.op_type == "Relu")
    node.op_type, node.name = "ThresholdedRelu", "odd"
    onnx.save(model, str(given.model))
    with pytest.raises(ValueError, match=r"ThresholdedRelu \(odd\) cannot be trained"):
        given.tools.read(given.model, given.model)
