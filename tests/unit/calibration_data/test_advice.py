"""What a cure says can be applied word for word, and is not said again afterwards."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from itertools import chain, combinations

import numpy as np
import pytest
from PIL import Image

from int8gate.calibration_data.fit import Fit
from int8gate.calibration_data.folders import open_data
from int8gate.calibration_data.folders.folder_samples import NAMED
from int8gate.calibration_data.preprocessing import declared_preprocessing
from int8gate.model_zoo.user_models.toml_file import read_zoo
from int8gate.validation.preprocessing_mismatch import RANGES, alternatives, change_of_keys

RANGE_LINES = {
    "scale": 'scale = "1/255"',
    "mean": "mean = [0.485, 0.456, 0.406]",
    "std": "std = [0.229, 0.224, 0.225]",
    "range": "range = [0, 1]",
}
WAYS = [  # of declaring a range, keys that may stand together
    *chain.from_iterable(combinations(("scale", "mean", "std"), n) for n in (1, 3)),
    ("range",),
    (),
]


def zoo_of(tmp_path, *lines: str):
    (tmp_path / "m.onnx").touch()
    text = '[models.m]\nfile = "m.onnx"\ntask = "classification"\n' + "\n".join(lines) + "\n"
    (tmp_path / "models.toml").write_text(text)
    return tmp_path / "models.toml"


def applied(cure: str, text: str) -> str:
    """The TOML after a reader has done what the cure says, no more."""
    write, _, delete = cure.partition(", delete the line of ")
    lines = re.findall(r"`(\w+ = [^`]+)`", write)
    gone = {line.split(" = ")[0] for line in lines} | set(re.findall(r"`(\w+)`", delete))
    left = [line for line in text.splitlines() if line.split(" = ")[0] not in gone]
    return "\n".join([*left, *lines]) + "\n"


@pytest.mark.parametrize("keys", [way for way in WAYS if way not in [("mean",), ("std",)]])
@pytest.mark.parametrize("name", RANGES)
def test_a_range_is_cured_by_the_lines_that_are_named(keys, name, tmp_path):
    file = zoo_of(tmp_path, *(RANGE_LINES[key] for key in keys))
    (model,) = read_zoo(file)
    file.write_text(applied(change_of_keys(model, RANGES[name][1]), file.read_text()))
    (cured,) = read_zoo(file)
    assert name not in alternatives(cured.preprocessing, 3), "it would be said again"
    assert set(tomllib.loads(file.read_text())["models"]["m"]) == {
        *("file", "task"),
        *RANGES[name][1],
    }


def test_colours_are_exchanged_by_one_line(tmp_path):
    file = zoo_of(tmp_path, 'colours = "bgr"', 'scale = "1/255"')
    (model,) = read_zoo(file)
    file.write_text(applied(change_of_keys(model, {"colours": "rgb"}), file.read_text()))
    (cured,) = read_zoo(file)
    assert cured.fit["colours"] == "rgb"
    assert cured.preprocessing == declared_preprocessing(scale="1/255")


def folder_of(tmp_path, sizes: list[tuple[int, int]]):
    """A folder of two classes with pictures (width, height) of noise."""
    rng = np.random.default_rng(0)
    for number, (width, height) in enumerate(sizes):
        place = tmp_path / "data" / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(noise).save(place / f"{number}.png")
    return tmp_path / "data"


def opened(folder, **fit):
    return [
        open_data(folder, "classification", split, Fit((32, 32), **fit))
        for split in ("calibration", "evaluation")
    ]


def test_a_few_small_pictures_are_left_out_with_a_note(tmp_path):
    sets = opened(folder_of(tmp_path, [(40, 40)] * 58 + [(9, 9)] * 2))
    assert sum(map(len, sets)) == 58
    assert sum("left out" in note for each in sets for note in each.notes) >= 1
    for each in sets:
        each.check()


def test_many_small_pictures_are_refused_and_named_and_enlarged_by_the_key(tmp_path):
    folder = folder_of(tmp_path, [(40, 40)] * 40 + [(9, 9)] * 20)
    with pytest.raises(ValueError, match="enlarge = true") as refused:
        opened(folder)
    assert "9x9" in str(refused.value)
    file = zoo_of(tmp_path, "enlarge = true")
    (model,) = read_zoo(file)
    assert sum(map(len, opened(folder, **model.fit))) == 60


def test_every_broken_picture_is_told_at_once(tmp_path):
    folder = folder_of(tmp_path, [(40, 40)] * 60)
    whole = sorted(folder.rglob("*.png"))
    for path in whole[:4]:
        path.write_bytes(path.read_bytes()[:-400])  # a sound header, no end
    with pytest.raises(ValueError, match="4 pictures cannot be used") as refused:
        opened(folder)
    assert all(path.name in str(refused.value) for path in whole[:4])
    for path in whole[:NAMED]:
        path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="pictures cannot be used") as refused:
        opened(folder)
    assert str(refused.value).count("not a picture") > 1


def test_a_fault_behind_the_header_is_found_by_reading(tmp_path):
    (tmp_path / "data").mkdir()
    folder = folder_of(tmp_path, [(40, 40)] * 20)
    evaluation = opened(folder)[1]
    paths = [path for path, _ in evaluation.samples][:3]
    for path in paths:
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="3 pictures cannot be used") as refused:
        evaluation.check()
    assert all(path.name in str(refused.value) for path in paths)


def test_expectations_are_checked_at_collection(tmp_path):
    file = zoo_of(tmp_path, 'expect = { accurracy = "0.99 * float" }')
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", f"--zoo={file}"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == pytest.ExitCode.USAGE_ERROR
    assert "[models.m], expect: unknown accurracy" in found.stderr
