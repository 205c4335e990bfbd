"""A program of `torch.export` that torchao prepared and a team trained (PT2E), to both runtimes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import qat_networks

from int8gate.engine.cache import ArtifactCache
from int8gate.engine.worker import Worker
from int8gate.model_zoo.user_models import qat_network
from int8gate.quantizers.declared_recipes import declared_model
from int8gate.quantizers.exposed import exact_session
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import recipe
from int8gate.quantizers.settings import Settings
from int8gate.validation import measure
from int8gate.validation.case_run import CaseRun

TABLE = """
[models.program]
task = "classification"
data = "pictures"
size = [16, 16]
range = [0, 1]
recipes = ["onnx_int8", "tflite_int8"]
expect = { accuracy = "0.99 * float" }

[models.program.qat]
network = "qat_networks:prepared_pt2e"
checkpoint = "pt2e.pt"
"""
AGREEING = 0.995
ANSWERS = 400


@pytest.fixture(scope="module")
def team(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("team")
    qat_networks.store(qat_networks.trained_pt2e(qat_networks.prepared_pt2e()), folder / "pt2e.pt")
    qat_networks.store_pictures(folder / "pictures", 900)
    shutil.copy(Path(qat_networks.__file__), folder)
    (folder / "models.toml").write_text(TABLE)
    return folder


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["onnx_int8", "tflite_int8"])
def test_what_was_trained_is_what_the_runtime_answers(team, name):
    """Fake quantization in PyTorch and the shipped file, on 400 pictures; and the case passes."""
    with Worker() as worker:
        settings = Settings(min_calibration_samples=50)
        pipeline = Pipeline(settings, ArtifactCache(team / "cache"), worker)
        spec = declared_model("program", team / "models.toml")
        run = CaseRun(spec, recipe(name), pipeline)
        told = measure.accuracy(run)
        file = run.built.artifact.path
        notes = " ".join(run.built.notes)
    assert told.result.status == "passed", told.result.message
    assert "of the weights of 3 of 3 layers are those that the file came with" in notes
    values, _ = qat_networks.pictures(ANSWERS, seed=5)
    module = qat_network.load("qat_networks:prepared_pt2e", team / "pt2e.pt")
    wanted = qat_networks.outputs(module, values)
    given = values if name == "tflite_int8" else values.transpose(0, 3, 1, 2)
    (found,) = exact_session(file).predict(given)
    assert np.mean(found.argmax(1) == wanted.argmax(1)) >= AGREEING
