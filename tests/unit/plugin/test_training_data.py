"""A team's own model is trained on `training_data`, which nothing is judged by."""

from __future__ import annotations

import shutil
import subprocess
import sys

import outlier_networks
import pytest
from tiny_run import cases, environment

TABLE = """
[models.{name}]
file = "gadget.{suffix}"
task = "classification"
data = "pictures"
{more}
range = [0, 1]
recipes = ["{recipe}"]
expect = {{ accuracy = "0.1 * float", size_ratio = 9.0 }}
"""
GIVEN = 'training_data = "training"'
MODELS = {  # table -> suffix, recipe, more lines
    "gadget": ("onnx", "onnx_qat_int8", GIVEN),
    "gadget_lite": ("tflite", "tflite_qat_int8", GIVEN),
    "unlabelled": ("onnx", "onnx_qat_int8", 'training_data = "training"\nlabels = "none"'),
    "without": ("onnx", "onnx_qat_int8", ""),
    "few": ("onnx", "onnx_qat_int8", 'training_data = "few"'),
    "labelled": ("onnx", "onnx_qat_int8", f'{GIVEN}\nqat = {{ loss = "losses:of" }}'),
    "unlabelled_loss": (
        "onnx",
        "onnx_qat_int8",
        f'{GIVEN}\nlabels = "none"\nqat = {{ loss = "losses:of" }}',
    ),
    "shared": ("onnx", "onnx_qat_int8", 'training_data = "shared"'),
}


LOSSES = """
import torch


def of(outputs, labels):
    return torch.nn.functional.cross_entropy(outputs, labels.long())
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, dict]:
    """The case records of one run."""
    folder = tmp_path_factory.mktemp("team")
    outlier_networks.write_all(folder)
    for name, count in {"training": None, "few": 20, "shared": 100}.items():
        outlier_networks.write_training(folder, name, count)
    judged = next((folder / "pictures" / "evaluation").glob("*/*.png"))
    shutil.copy(judged, folder / "shared" / judged.parent.name / "copied.png")
    tables = [
        TABLE.format(name=name, suffix=suffix, recipe=recipe, more=more)
        for name, (suffix, recipe, more) in MODELS.items()
    ]
    (folder / "models.toml").write_text("".join(tables))
    (folder / "losses.py").write_text(LOSSES)
    command = [sys.executable, "-m", "pytest", "--zoo=models.toml", "-m", "accuracy"]
    command += ["--report=report", "--artifact-cache=cache", "-p", "no:cacheprovider"]
    command += ["--min-calibration-samples=50", "--train-budget=2s"]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=600
    )
    assert (folder / "report").is_dir(), done.stdout + done.stderr
    return {key.partition("-")[0]: case for key, case in cases(folder / "report").items()}


@pytest.mark.parametrize("name", ["gadget", "gadget_lite"])
def test_a_file_is_trained_and_never_ends_worse_than_it_began(found, name):
    case = found[name]
    training = case["training"]
    assert training, case["reason"]
    assert training["steps"] > 0, training
    start, *later = training["looks"]
    best = next(look for look in (start, *later) if look["step"] == training["best_step"])
    assert best["drop"] <= start["drop"]
    assert case["accuracy"]["samples"] == 200


def test_a_loss_of_labels_is_half_of_what_it_learns_by(found):
    training = found["labelled"]["training"]
    assert training, found["labelled"]["reason"]
    assert training["label_share"] == 0.5
    assert training["steps"] > 0, training
    assert found["gadget"]["training"]["label_share"] == 0


def test_without_labels_it_learns_from_the_float_networks_answers(found):
    training = found["unlabelled"]["training"]
    assert training["steps"] > 0, found["unlabelled"]["messages"]
    assert all(look["drop"] is None for look in training["looks"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("without", "training_data is missing: add a folder or file as data has"),
        ("unlabelled_loss", "training_data has no labels"),
        ("few", "training_data holds 20 samples, expected at least 64"),
        ("shared", "is among those of evaluation, which must not be trained on"),
    ],
)
def test_what_must_not_be_trained_on_is_refused_in_a_sentence(found, name, said):
    case = found[name]
    assert case["verdict"] == "error"
    assert said in case["reason"]
    assert "[models." in case["reason"]
