"""Training with labels: it learns what they say, and nothing from shuffled ones."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trained_networks
from trained_networks import TOOLS, Judge, Samples

from int8gate.quantizers.exposed import exact_session
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.training import label_tasks, trainer
from int8gate.quantizers.training.differentiable_graph import Graph
from int8gate.quantizers.training.label_loss import LabelLoss
from int8gate.quantizers.training.training_schedule import Schedule

CLASSES, GAIN = 10, 0.05  # by how much labels have to lift the accuracy to pass
SCHEDULE = Schedule(
    budget_s=600, steps=200, looks=2, batch=16, weight_rate=3e-3, label_share=0.9, seed=3
)


class Labelled(Samples):
    """Labels are the float network's answers with other biases, which it can learn."""

    has_labels = True

    def __init__(self, float_model, is_shuffled: bool) -> None:
        super().__init__(count=192, validation=192)
        (scores,) = exact_session(float_model).predict(self._pictures)
        shift = np.random.default_rng(1).normal(0, 2, CLASSES)
        self._labels = (scores + shift).argmax(-1)
        self._taught = self._labels.copy()
        if is_shuffled:
            np.random.default_rng(2).shuffle(self._taught)

    def labels(self, rows: np.ndarray) -> np.ndarray:
        return self._taught[rows]

    def validation(self, batch: int):
        for rows, _ in super().validation(batch):
            yield rows, self._labels[rows]


class Accuracy(Judge):
    """Top-1 against labels: its drop is from `GAIN` above the float network's."""

    def statistics(self, batches) -> np.ndarray:
        rows = [outputs[0].argmax(-1) == labels for _, outputs, labels in batches]
        return np.concatenate(rows).astype(float)

    def drop(self, of_float: np.ndarray, quantized: np.ndarray) -> float:
        return float(of_float.mean() + GAIN - quantized.mean())

    def compare(self, of_float: np.ndarray, quantized: np.ndarray) -> dict:
        drop = self.drop(of_float, quantized)
        bounds = {"drop_upper_95": drop, "drop_lower_95": drop}
        return {"drop": drop, **bounds, "tolerance": 0.0}


def spec(task: str = "classification", loss: str | None = None) -> SimpleNamespace:
    own = SimpleNamespace(train_loss=loss, where="models.toml, [models.gadget]") if loss else None
    return SimpleNamespace(name="gadget", task=task, own=own)


def trained(form: str, folder, is_shuffled: bool) -> dict:
    tools = TOOLS[form]
    model = trained_networks.write_float(form, 2.0, folder / tools.file, deviation=1.0)
    statistics = folder / "statistics.npz"
    trained_networks.write_statistics(form, model, statistics)
    directory = folder / f"shuffled_{is_shuffled}"
    directory.mkdir()
    recipe = RECIPES[f"{form}_qat_int8"]
    samples = Labelled(model, is_shuffled)
    given = model, statistics, recipe, samples, Accuracy(), CLASSES, SCHEDULE
    kept = folder / f"{is_shuffled}.pt"
    return trainer.train_on(tools, *given, kept, directory, labelled=spec())["training"]


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_labels_are_learned(form, tmp_path):
    course = trained(form, tmp_path, False)
    assert course["is_within_tolerance"], [look["drop"] for look in course["looks"]]
    assert course["label_share"] == 0.9


def test_shuffled_labels_do_not_pass(tmp_path):
    course = trained("onnx", tmp_path, True)
    assert not course["is_within_tolerance"], [look["drop"] for look in course["looks"]]
    assert course["best_step"] == 0


class Given:
    """Labels of some samples, as `TrainingSamples` gives them."""

    def __init__(self, labels, has_labels: bool = True) -> None:
        self._labels, self.has_labels = np.asarray(labels), has_labels

    def labels(self, rows: np.ndarray) -> np.ndarray:
        return self._labels[rows]


GRAPH = Graph(("image",), ("scores",), ((1, 3, 4, 4),))
ROWS = np.arange(2)


def test_classes_are_cross_entropy():
    values = torch.randn(2, 5, requires_grad=True)
    loss = LabelLoss(spec(), GRAPH, Given([3, 1]), 5)
    wanted = torch.nn.functional.cross_entropy(values, torch.tensor([3, 1]))
    assert torch.allclose(loss([values], ROWS), wanted)


@pytest.mark.parametrize("axis", [1, 3])
def test_pixels_are_too_channels_first_or_last(axis):
    labels = np.random.default_rng(0).integers(0, 5, (2, 4, 6))
    values = torch.randn(2, 5, 4, 6)
    loss = LabelLoss(spec("segmentation"), GRAPH, Given(labels), 5)
    wanted = torch.nn.functional.cross_entropy(values, torch.from_numpy(labels))
    assert torch.allclose(loss([values.movedim(1, axis)], ROWS), wanted)


def test_numbers_are_squared_errors():
    loss = LabelLoss(spec("regression"), GRAPH, Given([[1.0, 2.0], [0.0, 1.0]]), None)
    values = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    assert float(loss([values], ROWS)) == pytest.approx(2.0)


def half_of(outputs, labels):
    return 0.5 * (outputs[:, 0] - labels).square().mean()


def two_outputs(outputs, labels):
    return outputs[0].mean() + outputs[1].mean()


def wrong_kind(outputs, labels):
    return 1.0


def breaks(outputs, labels):
    raise KeyError("boxes")


HOOK = f"{__name__}:{{}}".format


def test_a_users_loss_is_called_with_outputs_and_labels():
    loss = LabelLoss(spec("detection", HOOK("half_of")), GRAPH, Given([1.0, 0.0]), None)
    assert loss.tensors == ("scores",)
    values = torch.tensor([[3.0], [2.0]], requires_grad=True)
    assert float(loss([values], ROWS)) == pytest.approx(0.5 * (4 + 4) / 2)
    graph = replace(GRAPH, outputs=("one", "two"))
    loss = LabelLoss(spec("detection", HOOK("two_outputs")), graph, Given([0, 1]), None)
    assert loss.tensors == ("one", "two")
    assert float(loss([values, values], ROWS)) == pytest.approx(5.0)


def refused(call, *parts: str) -> None:
    with pytest.raises(ValueError, match=re.escape(parts[0])) as error:
        call()
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in parts)


def test_what_is_no_loss_is_refused_in_a_sentence():
    values = torch.randn(2, 5, requires_grad=True)
    of = lambda name: LabelLoss(spec("detection", HOOK(name)), GRAPH, Given([0, 1]), None)  # noqa: E731
    refused(lambda: of("wrong_kind")([values], ROWS), "returned float", "scalar tensor")
    refused(lambda: of("breaks")([values], ROWS), "raised KeyError: 'boxes'", "line")
    unlabelled = Given([0, 1], has_labels=False)
    refused(lambda: LabelLoss(spec(), GRAPH, unlabelled, 5), "has no labels", "add labels")
    misfit = LabelLoss(spec(), GRAPH, Given([0, 1]), 7)
    refused(lambda: misfit([values], ROWS), "(2, 5)", "7 classes", "[models.NAME.qat] loss")


def test_a_task_without_a_loss_says_which_have_one():
    assert label_tasks.refusal(spec()) is None
    assert label_tasks.refusal(spec("detection", "nets:loss")) is None
    told = label_tasks.refusal(spec("detection"))
    assert "classification, segmentation, regression" in told
    assert "--train-labels" in told
