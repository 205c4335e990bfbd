"""A team's own models of every task through the accuracy gate, in one run, without code but for one
hook; and what the gate says where the preprocessing is wrong.
"""

from __future__ import annotations

import json
import subprocess
import sys

import own_tasks
import pytest
from tiny_run import environment

READER = 'file = "reader.onnx"\ntask = "text"\ndata = "lines"\ndecode = "ctc"\nblank = "last"'
READER += '\nclasses = ["r", "b", "g"]'
TASKS = {  # the lines of each table
    "detector": 'task = "detection"\ndata = "scenes"\ndecode = "ctdet"',
    "keypoints": 'task = "keypoints"\ndata = "scenes"\ndecode = "heatmaps"',
    "people": 'task = "pose"\ndata = "scenes"\ndecode = "own_heads:people"',
    "segmenter": 'task = "segmentation"\ndata = "scenes"',
    "enlarger": 'task = "super_resolution"\ndata = "pairs"',
    "reader": READER,
    "misread": READER.replace('blank = "last"', 'blank = "first"'),
    "reader_alone": READER + '\nlabels = "none"',
    "other": 'file = "segmenter.onnx"\ntask = "other"\ndata = "scenes/images"',
}
WRONG = {  # another order of colours, another range
    "detector_of_bgr": ("detector", 'colours = "bgr"'),
    "enlarger_of_signs": ("enlarger", "range = [-1, 1]"),
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> dict[str, dict]:
    """The case records of one run by model."""
    folder = tmp_path_factory.mktemp("tasks")
    own_tasks.write_models(folder)
    own_tasks.write_scenes(folder / "scenes", 440)
    own_tasks.write_pairs(folder / "pairs", 340)
    own_tasks.write_lines(folder / "lines", 460)
    tables = [_table(name, lines) for name, lines in TASKS.items()]
    for name, (right, change) in WRONG.items():
        tables.append(_table(name, f'file = "{right}.onnx"\n{TASKS[right]}', change))
    (folder / "models.toml").write_text("\n".join(tables))
    command = [sys.executable, "-m", "pytest", "--zoo=models.toml", "--report=report"]
    command += ["-m", "accuracy", "--artifact-cache=cache"]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=900
    )
    assert (folder / "report").is_dir(), done.stdout + done.stderr
    results = json.loads((folder / "report" / "results.json").read_text())
    return {case["model"]: case for case in results["cases"]}


def _table(name: str, lines: str, change: str = "range = [0, 1]") -> str:
    file = "" if "file = " in lines else f'file = "{name}.onnx"\n'
    is_of_text = 'task = "text"' in lines  # it has a rule of its own
    expect = "" if is_of_text else 'expect = { accuracy = "0.95 * float" }\n'
    return f"[models.{name}]\n{file}{lines}\n{change}\n{expect}"


@pytest.mark.parametrize(
    ("name", "metric", "least"),
    [
        ("detector", "map_50_95", 0.9),
        ("keypoints", "pck", 0.95),
        ("people", "oks_ap", 0.8),
        ("segmenter", "mean_iou", 0.9),
        ("enlarger", "psnr", 33),
    ],
)
def test_a_model_of_each_task_passes_by_its_own_metric(cases, name, metric, least):
    case = cases[name]
    assert case["verdict"] == "passed", case["messages"]
    assert case["accuracy"]["metric"] == metric
    assert case["accuracy"]["float"] > least
    assert case["accuracy"]["float"] > case["accuracy"]["baseline"]["score"]


def test_a_reader_passes_by_its_characters(cases):
    case = cases["reader"]
    assert case["verdict"] == "passed", case["messages"]
    accuracy = case["accuracy"]
    assert (accuracy["metric"], accuracy["float"]) == ("cer", 0)
    assert accuracy["tolerance"] == pytest.approx(0.01)
    assert accuracy["baseline"]["score"] > 0.5
    assert accuracy["also"]["exact"] == {"float": 1, "quantized": 1}
    assert case["fidelity"]["agreement"] is None


def test_a_reader_without_labels_passes_by_equal_texts(cases):
    case = cases["reader_alone"]
    assert case["verdict"] == "passed", case["messages"]
    assert case["accuracy"] is None
    assert case["fidelity"]["agreement"] == 1


def test_a_task_without_a_metric_is_judged_by_fidelity(cases):
    case = cases["other"]
    assert case["verdict"] == "passed", case["messages"]
    assert case["accuracy"] is None
    assert case["fidelity"]["sqnr_db"] > 20


@pytest.mark.parametrize("name", WRONG)
def test_another_preprocessing_than_the_models_is_seen(cases, name):
    case, right = cases[name], cases[WRONG[name][0]]
    assert case["verdict"] in ("invalid", "failed"), case["messages"]
    assert case["accuracy"]["float"] < 0.8 * right["accuracy"]["float"]


def test_a_blank_at_the_wrong_end_is_told_in_words_of_texts(cases):
    case = cases["misread"]
    assert case["verdict"] == "invalid", case["messages"]
    message = case["messages"]["accuracy"]
    assert "look at `blank` (the end of the outputs that is no symbol)" in message
    assert "the number of `classes`" in message
    assert "folders are numbered" not in message
