"""What a whole run of an own model says of calibration pictures that excite it differently, and of
a declaration that feeds it otherwise than it was trained.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import own_files
import pytest
from inked_digits import CLASSES, painted, store, write_model
from tiny_run import environment
from typer.testing import CliRunner

from int8gate.cli.app import app
from int8gate.validation.preprocessing_mismatch import KIND

TABLE = """
[models.{name}]
file = "gadget.onnx"
task = "classification"
data = "{data}"
range = [0, 1]
expect = {{ accuracy = "0.9 * float", cpu_speedup_x86 = 0.01, size_ratio = 0.9 }}
"""
MODELS = (
    TABLE.format(name="right", data="clean")
    + TABLE.format(name="darker", data="dark")
    + TABLE.format(name="exchanged", data="clean")
    + 'colours = "bgr"'
    + TABLE.format(name="renumbered", data="renumbered")
)
CALIBRATION, EVALUATION = 140, 300


@dataclass(frozen=True)
class Run:
    """What a run left: the case of each model, what it printed, its report in Markdown and HTML."""

    folder: Path
    cases: dict[str, dict]
    printed: str
    documents: tuple[str, str]

    def findings(self, model: str) -> dict[str, dict]:
        return {finding["kind"]: finding for finding in self.cases[model]["calibration_audit"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """The accuracy gates of four declarations of one classifier, in one run of pytest.

    It was fitted on digits in two inks, of pixels 0..1 as RGB.
    """
    folder = tmp_path_factory.mktemp("team")
    write_model(folder / "gadget.onnx", *painted("train"))
    pictures, labels = (each[: CALIBRATION + EVALUATION] for each in painted("evaluation"))
    dark = np.uint8(np.rint(pictures[:CALIBRATION] * 0.4))
    renumbered = (labels + 7) % CLASSES
    for data, own, numbers in (
        ("clean", pictures[:CALIBRATION], labels),
        ("dark", dark, labels),
        ("renumbered", pictures[:CALIBRATION], renumbered),
    ):
        store(folder / data / "calibration", own, numbers)
        store(folder / data / "evaluation", pictures[CALIBRATION:], numbers[CALIBRATION:])
    (folder / "models.toml").write_text(MODELS)
    return ran(folder)


def ran(folder: Path) -> Run:
    """The accuracy gates of the folder's models.toml."""
    options = ("--zoo=models.toml", "--report=report", "--artifact-cache=cache", "-m", "accuracy")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=500,
    )
    cases = json.loads((folder / "report/results.json").read_text())["cases"]
    documents = tuple((folder / f"report/report.{kind}").read_text() for kind in ("md", "html"))
    by_model = {case["model"]: case for case in cases}
    return Run(folder, by_model, " ".join(done.stdout.split()), documents)


def test_a_clean_split_is_no_mismatch(run):
    case = run.cases["right"]
    assert case["verdict"] == "passed", case
    assert case["accuracy"]["float"] > 0.8
    told = run.findings("right")
    assert not told.keys() & {"activation_mismatch", "activations_not_compared", KIND}


def test_a_darker_calibration_set_is_told_with_its_tensors(run):
    mismatch = run.findings("darker")["activation_mismatch"]
    assert f"likely cause: {mismatch['evidence']}" in run.cases["darker"]["messages"]["accuracy"]
    assert mismatch["severity"] == "warning"
    tensors = {row["name"] for row in run.cases["darker"]["calibration"]["tensors"]}
    assert set(mismatch["samples"]) <= tensors
    assert f"worst of {mismatch['samples'][0]} " in mismatch["evidence"]
    assert "calibrate on samples like those of evaluation" in mismatch["cure"]
    assert "activation_mismatch" in run.printed
    for document in run.documents:
        assert "outside the calibrated ranges" in document


def test_exchanged_colours_are_no_pass(run):
    """The float model is above chance, and the quantized one as wrong: only the labels tell."""
    exchanged, right = (run.cases[name]["accuracy"]["float"] for name in ("exchanged", "right"))
    assert 0.2 < exchanged < 0.8 * right
    assert run.cases["exchanged"]["verdict"] == "invalid"
    assert run.findings("exchanged")[KIND]["severity"] == "error"
    assert 'models.toml, [models.exchanged] write `colours = "rgb"`' in run.printed
    assert "the calibration set is wrong" not in run.cases["exchanged"]["messages"]["accuracy"]


def test_a_model_at_chance_says_what_to_look_at(run):
    """Its classes are numbered otherwise: no preprocessing mends that."""
    assert run.cases["renumbered"]["verdict"] == "invalid"
    said = run.cases["renumbered"]["messages"]["accuracy"]
    assert "not significantly better than chance" in said
    assert "the order of the classes" in said
    assert KIND not in run.findings("renumbered")


def test_the_audit_alone_may_run_the_float_model(run, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = run.folder
    options = ("--model", "right", "--zoo", str(folder / "models.toml"), "--activations")
    done = CliRunner().invoke(app, ["audit", str(folder / "dark"), *options])
    assert "activation_mismatch" in done.output, done.output


ROUTES = {  # kind of file, and what its table says besides
    "keras": "",
    "pb": "size = [32, 32]\n",
    "pt2": "",
    "fp32": 'recipes = ["tflite_int8_percentile"]\n',
    "h5": 'recipes = ["tflite_int16x8"]\n',
}


@pytest.mark.heavy  # two frameworks convert: a minute
def test_every_static_route_has_its_activations_compared(tmp_path):
    files = own_files.write_all(tmp_path)
    pictures, labels = (each[: CALIBRATION + EVALUATION] for each in painted("evaluation"))
    dark = np.uint8(np.rint(pictures[:CALIBRATION] * 0.4))
    store(tmp_path / "dark/calibration", dark, labels * 0)
    store(tmp_path / "dark/evaluation", pictures[CALIBRATION:], labels[CALIBRATION:] * 0)
    for split in ("calibration", "evaluation"):  # pictures alone, without a class
        (tmp_path / "dark" / split / "00").rename(tmp_path / split)
        (tmp_path / "dark" / split).rmdir()
        (tmp_path / split).rename(tmp_path / "dark" / split)
    models = "".join(
        f'[models.of_{kind}]\nfile = "{files[kind].name}"\ntask = "other"\ndata = "dark"\n{more}'
        for kind, more in ROUTES.items()
    )
    (tmp_path / "models.toml").write_text(models)
    cases = ran(tmp_path).cases
    for kind in ROUTES:
        case = cases[f"of_{kind}"]
        found = {finding["kind"] for finding in case["calibration_audit"] or []}
        assert "activation_mismatch" in found, (kind, case["messages"])
