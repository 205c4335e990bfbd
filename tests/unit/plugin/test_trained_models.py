"""A team's network that was trained quantization-aware, from its TOML to the gates."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import qat_networks
import qdq_files
from in_process import InProcess
from onnx import helper
from tiny_run import cases, environment

from int8gate.engine.cache import ArtifactCache
from int8gate.model_zoo.user_models import qat_network
from int8gate.quantizers.declared_recipes import declared_model
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import recipe
from int8gate.quantizers.settings import Settings
from int8gate.validation import gates, measure
from int8gate.validation.case_run import CaseRun
from int8gate.validation.gates import GateResult

TABLE = """
[models.{name}]
{file}
task = "classification"
data = "pictures"
size = [16, 16]
range = [0, 1]
recipes = [{recipes}]
expect = {{ accuracy = "0.99 * float", size_ratio = 9.0 }}
"""
QAT = '[models.{name}.qat]\nnetwork = "qat_networks:{function}"\ncheckpoint = "{file}"\n'
TABLES = (
    TABLE.format(name="eager", file="", recipes='"onnx_int8", "tflite_uint8", "onnx_int8_mse+cle"')
    + QAT.format(name="eager", function="prepared", file="qat.pt")
    + TABLE.format(name="written", file='file = "qdq.onnx"', recipes='"tflite_int8"')
    + TABLE.format(name="integers", file='file = "integers.onnx"', recipes='"onnx_int8"')
    + TABLE.format(name="unprepared", file="", recipes='"onnx_int8"')
    + QAT.format(name="unprepared", function="unprepared", file="qat.pt")
)


@pytest.fixture(scope="module")
def team(tmp_path_factory) -> Path:
    """A folder with the networks and pictures, and a run's report and cache."""
    folder = tmp_path_factory.mktemp("team")
    checkpoint = qat_networks.store(qat_networks.trained(), folder / "qat.pt")
    module = qat_network.load("qat_networks:prepared", checkpoint)
    qat_network.to_qdq(module, qat_networks.SHAPE, folder / "qdq.onnx")
    onnx.save(on_integers(), str(folder / "integers.onnx"))
    qat_networks.store_pictures(folder / "pictures", 900)
    shutil.copy(Path(qat_networks.__file__), folder)
    (folder / "models.toml").write_text(TABLES)
    command = [sys.executable, "-m", "pytest", "--zoo=models.toml", "-m", "accuracy"]
    command += ["--report=report", "--artifact-cache=cache", "-p", "no:cacheprovider"]
    command += ["--min-calibration-samples=50"]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=600
    )
    assert (folder / "report").is_dir(), done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def found(team) -> dict[str, dict]:
    """The case records of the run."""
    return cases(team / "report")


def on_integers() -> onnx.ModelProto:
    made = qdq_files.Builder(qat_networks.SHAPE)
    made.constant("s", 0.1)
    model = made.model(made.pair("image", 0.1, 0, "int8"))
    model.graph.node.insert(1, helper.make_node("QLinearSigmoid", [], ["x"], "sigmoid"))
    return model


@pytest.mark.parametrize("case", ["eager-onnx_int8", "eager-tflite_uint8", "written-tflite_int8"])
def test_its_scales_ship_and_it_is_compared_with_what_was_trained(found, case):
    record = found[case]
    assert record["verdict"] == "passed", record["reason"]
    assert record["accuracy"]["float"] > 0.9
    told = " ".join(record["notes"])
    assert "of the weights of 5 of 5 layers are those that the file came with" in told
    assert "compared with the network as it was trained" in told
    assert abs(record["accuracy"]["quantized"] - record["accuracy"]["float"]) <= 0.005
    assert record["fidelity"]["sqnr_db"] > 20


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("eager-onnx_int8_mse+cle", "changes the weights that they are of (+cle)"),
        ("integers-onnx_int8", "computes on integers"),
        ("unprepared-onnx_int8", "without fake quantization"),
    ],
)
def test_what_cannot_ship_them_says_so_in_a_sentence(found, case, said):
    record = found[case]
    assert record["verdict"] == "error"
    assert said in record["reason"]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["rescue", "written-tflite_int8"], 2),
        (["sensitivity", "written", "--recipe", "tflite_int8"], 1),
        (["mix", "written-tflite_int8"], 2),
    ],
)
def test_nothing_that_changes_its_scales_is_tried(team, command, code):
    call = "from int8gate.cli.app import app; app()"
    given = [*command, "--zoo", "models.toml", "--artifact-cache", "cache"]
    done = subprocess.run(
        [sys.executable, "-c", call, *given],
        cwd=team,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stdout + done.stderr
    told = " ".join((done.stdout + done.stderr).split())
    assert "came with scales (QDQ), which ship as they are" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("status", ["failed", "inconclusive"])
def test_a_failure_names_no_command_that_would_be_refused(team, monkeypatch, status):
    """The gate is made to fail; what stands behind it is what is tested."""
    failing = GateResult(status, "too much is lost")
    monkeypatch.setattr(gates, "accuracy_gate", lambda *_: failing)
    cache = ArtifactCache(team / "cache")
    pipeline = Pipeline(Settings(min_calibration_samples=50), cache, InProcess())
    spec = declared_model("written", team / "models.toml")
    told = measure.accuracy(CaseRun(spec, recipe("tflite_int8"), pipeline)).result.message
    assert told.startswith("too much is lost")
    assert "rescue: none: written came with scales (QDQ)" in told
    assert "pytest" not in told
