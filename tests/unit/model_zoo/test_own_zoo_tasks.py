"""Trained models of the zoo, declared as anybody's own: the float score is the one they are known
to have, by labels as their users keep them and by a known head, without code.

Ids are numbers of the models in the zoo's order, so that `-k NAME` finds the gates alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import coco_folders
import numpy as np
import pytest
import zoo_files
from data_folders import write
from tiny_run import environment

from int8gate import calibration_data
from int8gate.model_zoo.registry import zoo

pytestmark = pytest.mark.heavy
DECLARED = {  # number in the zoo: kind of file, and what the file does not tell
    10: ("h5", "range = [0, 1]"),
    11: ("pt2", "range = [-1, 1]"),
    12: ("pb", 'decode = "tf_detection"'),
    13: ("cfg", "range = [0, 1]"),
    17: ("pb", 'decode = "posenet"'),
    18: ("pt2", 'decode = "heatmaps"\nrange = [-1, 1]'),
    19: ("pb", "range = [0, 1]"),
}
SAMPLES = {"calibration": 110, "evaluation": 300}
MANIFEST = "model_zoo/weights/manifest.json"
NEAR = 0.9  # of the known score, which is of other and more samples


@pytest.fixture(scope="module")
def cases(worker, tmp_path_factory) -> dict[str, dict]:
    """The case records of one run by model."""
    folder = tmp_path_factory.mktemp("own_zoo")
    specs, tables = list(zoo().values()), []
    for number, (kind, lines) in DECLARED.items():
        spec = specs[number]
        place = folder / f"files{number}"
        asked = (zoo_files.write, spec.name, kind, "compact", place, True)
        file = worker.run(*asked, timeout_s=500).value
        for split, count in SAMPLES.items():
            store(spec, split, count, folder / f"data{number}" / split)
        free = "" if spec.is_torch else f"size = {list(spec.compact.picture_shape[:2])}\n"
        tables.append(
            f'[models.m{number}]\nfile = "{file}"\ntask = "{spec.task}"\n'
            f'data = "data{number}"\n{lines}\n{free}'
            'expect = { accuracy = "0.9 * float" }\n'
        )
    (folder / "models.toml").write_text("\n".join(tables))
    command = [sys.executable, "-m", "pytest", "--zoo=models.toml", "--report=report"]
    command += ["-m", "accuracy", "--artifact-cache=none"]
    subprocess.run(command, cwd=folder, env=environment(), capture_output=True, timeout=2400)
    results = json.loads((folder / "report" / "results.json").read_text())
    return {case["model"]: case for case in results["cases"]}


def store(spec, split: str, count: int, folder: Path) -> None:
    """The project's own samples as a user's pictures and labels."""
    *size, channels = spec.compact.picture_shape
    samples = calibration_data.load(spec.data, split, tuple(size), channels)
    images, annotations = [], []
    for number in range(count):
        picture, label = samples.sample(number)
        picture = picture[..., 0] if channels == 1 else picture
        if spec.task == "segmentation":
            write(folder / "images" / f"{number}.png", picture)
            write(folder / "masks" / f"{number}.png", label)
        elif spec.task == "super_resolution":
            write(folder / "low" / f"{number}.png", picture)
            write(folder / "high" / f"{number}.png", label[..., 0])
        else:
            write(folder / f"{number}.png", picture)
            images.append(coco_folders.image(number, tuple(size)))
            annotate = _box if spec.task == "detection" else _person
            rows = [row for row in label if row[0] > -1 and row[1:].any()]
            start = len(annotations)
            annotations += [annotate(start + i, number, row, size) for i, row in enumerate(rows)]
    if images:
        names = {"id": 0, "name": "0", "keypoints": coco_folders.KEYPOINTS}
        more = [(number, str(number)) for number in range(1, spec.compact.classes)]
        categories = [names, *more] if spec.task == "detection" else [names]
        coco_folders.write_coco(folder, images, annotations, categories)


def _box(number: int, image: int, row: np.ndarray, size) -> dict:
    top, left, bottom, right = (row[1:] * np.tile(size, 2)).tolist()
    return coco_folders.box(
        number, image, [left, top, right - left, bottom - top], category=int(row[0])
    )


def _person(number: int, image: int, row: np.ndarray, size) -> dict:
    points = row[1:].reshape(17, 3)[:, [1, 0, 2]]
    return coco_folders.person(number, image, points, float(row[0]), category=0)


@pytest.mark.parametrize("number", DECLARED)
def test_an_own_model_scores_as_it_does_in_the_zoo(cases, number):
    spec, case = list(zoo().values())[number], cases[f"m{number}"]
    manifest = json.loads((Path(calibration_data.__file__).parents[1] / MANIFEST).read_text())
    assert case["accuracy"], case["messages"]
    assert case["accuracy"]["metric"] == manifest[spec.name]["metric"]
    assert case["accuracy"]["float"] > NEAR * manifest[spec.name]["float"]
    assert case["gates"]["accuracy"] in ("passed", "inconclusive"), case["messages"]
