"""Files that quantization-aware trainings and other quantizers really write, gated as a user's.

`exports/write_TOOL.py` writes them, in an environment of each tool; README.md says what was tried.
The environments are made by pip below the folder that INT8GATE_ENVIRONMENTS names, or in the user's
cache, and stay there. A tool that pip does not bring is skipped with pip's reason.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from export_checks import answers, missing, said_by, unmatched
from platformdirs import user_cache_path
from tiny_run import environment

from benchmarks.peer_environments import Absent, Environment, made
from int8gate.quantizers.file_scales import Shipped
from int8gate.quantizers.toolchains.tflite.given_scales import shipped_scales as of_tflite
from int8gate.runtimes.sessions import open_session

HERE = Path(__file__).parent / "exports"
ROOT = Path(os.environ.get("INT8GATE_ENVIRONMENTS", user_cache_path("int8gate") / "environments"))
RECIPES = ("onnx_int8", "tflite_int8")
GATES = ("accuracy", "io_dtype", "integer_only")
SAME_ANSWERS = 0.995
TABLE = """
[models.{name}]
file = "{name}.onnx"
task = "classification"
data = "{data}"
recipes = ["onnx_int8", "tflite_int8"]
"""
AIMET_NEEDS = ("hvplot==0.12.2", "holoviews==1.23.2", "panel==1.9.4", "param==2.4.2")
AIMET_NEEDS += ("bokeh==3.9.2", "colorcet==3.2.1", "pandas==3.1.1", "pyviz_comms==3.0.6")
AIMET_NEEDS += ("onnx2torch==1.5.15", "osqp==1.1.3", "pybind11==3.1.0")
MODELOPT_NEEDS = ("omegaconf==2.4.0", "antlr4-python3-runtime==4.9.3", "pulp==3.3.2")
MODELOPT_NEEDS += ("nvidia-ml-py==13.615.71", "ninja==1.13.2", "polygraphy==0.53.6")
MODELOPT_NEEDS += ("onnxconverter-common==1.16.0", "onnxslim==0.1.98", "lief==1.0.0")
MODELOPT_NEEDS += ("cppimport==26.4.17",)
BREVITAS_NEEDS = ("dependencies==2.0.1", "unfoldNd==0.2.3", "onnxoptimizer==0.4.2")
TFMOT = ("tensorflow-model-optimization==0.8.1", "dm-tree==0.1.10", "mock==5.2.0")
NEURAL_COMPRESSOR_NEEDS = ("prettytable==3.18.0", "schema==0.7.8")

pytestmark = pytest.mark.real


@dataclass(frozen=True)
class Tool:
    """`script` writes the files of `ships`, and those of `refused`, each with words of why.

    `folds`: normalizations stand behind its convolutions, and the scales of the weights take their
    factors on. What ONNX Runtime does not run comes with the answers of its tool beside it (.npy).
    """

    needs: tuple[str, ...]
    script: str
    ships: tuple[str, ...]
    refused: tuple[tuple[str, str], ...] = ()
    folds: bool = False


TOOLS = {
    "aimet": Tool(
        ("aimet-onnx==2.42.0", *AIMET_NEEDS),
        "write_aimet.py",
        ("qdq", "stored_integers", "signed"),
        (("with_16_bits", "quantizes to uint16, expected int8 or uint8"),),
    ),
    "brevitas": Tool(
        ("brevitas==0.13.4", *BREVITAS_NEEDS),
        "write_brevitas.py",
        (
            *("per_tensor", "per_channel", "bias_int32", "bias_int8", "float_weights"),
            *("power_of_two", "asymmetric", "dynamo"),
        ),
        folds=True,
    ),
    "modelopt_onnx": Tool(
        ("nvidia-modelopt==0.47.0", *MODELOPT_NEEDS),
        "write_modelopt.py",
        ("onnx_entropy", "onnx_float16"),
    ),
    "modelopt_torch": Tool(
        ("nvidia-modelopt==0.47.0", *MODELOPT_NEEDS),
        "write_modelopt.py",
        ("torch", "torch_qat"),
        folds=True,
    ),
    "neural_compressor": Tool(
        ("neural-compressor==3.10", *NEURAL_COMPRESSOR_NEEDS, "pandas==3.1.1", "deprecated==1.3.1"),
        "write_neural_compressor.py",
        ("torch",),
    ),
    "onnx_neural_compressor": Tool(
        ("onnx-neural-compressor==1.0", "onnxruntime-extensions==0.15.2", *NEURAL_COMPRESSOR_NEEDS),
        "write_neural_compressor.py",
        ("onnx",),
    ),
    "nncf": Tool(
        ("nncf==3.4.0", "pydot==3.0.4", "ninja==1.13.0"),
        "write_nncf.py",
        ("onnx", "onnx_mixed", "torch", "torch_unstripped"),
        folds=True,
    ),
    "onnxruntime": Tool(
        (),
        "write_onnxruntime.py",
        (
            *("u8s8", "s8s8", "u8u8", "per_tensor", "symmetric", "asymmetric_weights"),
            *("dedicated_pairs", "float_bias", "outputs_left_float", "contrib_operators"),
        ),
        (
            ("with_16_bits", "quantizes to int16, expected int8 or uint8"),
            ("on_integers", "computes on integers"),
        ),
    ),
    "tf2onnx": Tool(
        ("tf2onnx==1.17.0", *TFMOT),
        "write_tf2onnx.py",
        ("tfmot",),
    ),
    "torch": Tool(
        (),
        "write_torch.py",
        ("eager_x86", "eager_qnnpack", "pt2e", "pt2e_qat"),
    ),
    "torch_fake_quantized": Tool((), "write_torch.py", ("eager_fake_quantized",), folds=True),
}
UNROUNDED = ("onnx_entropy", "onnx_float16")  # ModelOpt leaves the weights of one layer float
CHANNELS_LAST = ("tfmot",)  # files whose input has them so
SHIPS = [(tool, name) for tool, each in TOOLS.items() for name in each.ships]
REFUSED = [(tool, *why) for tool, each in TOOLS.items() for why in each.refused]


class Run:
    """The files of a tool, and the records and artifacts of their cases."""

    def __init__(self, name: str, folder: Path) -> None:
        self.tool, self.folder = TOOLS[name], folder
        try:
            python = made(Environment(self.tool.needs), ROOT / (*self.tool.needs, "ours")[0])
        except Absent as error:
            pytest.skip(f"{name}: {error}")
        names = [*self.tool.ships, *(name for name, _ in self.tool.refused)]
        for setting in names:
            self._write(python, setting)
        for last, data in ((False, "digits"), (True, "digits_last")):
            write_data(folder / data, last)
        tables = [
            TABLE.format(name=each, data="digits_last" if each in CHANNELS_LAST else "digits")
            for each in names
        ]
        (folder / "models.toml").write_text("".join(tables))
        command = [sys.executable, "-m", "pytest", "--zoo", "models.toml", "-m", " or ".join(GATES)]
        command += ["--report=report", "--artifact-cache=cache"]
        done = subprocess.run(
            command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=3600
        )
        assert done.returncode in (0, 1), done.stdout + done.stderr
        records = json.loads((folder / "report" / "results.json").read_text())["cases"]
        self.records = {(each["model"], each["recipe"]): each for each in records}

    def _write(self, python: Path, setting: str) -> None:
        target = self.folder / f"{setting}.onnx"
        done = subprocess.run(
            [str(python), "-W", "ignore", str(HERE / self.tool.script), setting, str(target)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=1800,
        )
        assert done.returncode == 0, f"{self.tool.script} {setting}: {done.stderr[-2000:]}"

    def file(self, setting: str) -> Path:
        return self.folder / f"{setting}.onnx"

    def artifact(self, setting: str, recipe: str) -> Path:
        return Path(self.records[setting, recipe]["artifact"]["path"])


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """A function from a tool to its run, which is tried once."""

    @cache
    def tried(name: str) -> Run | BaseException:
        try:
            return Run(name, tmp_path_factory.mktemp(name))
        except (AssertionError, subprocess.TimeoutExpired, pytest.skip.Exception) as error:
            return error

    def run(name: str) -> Run:
        found = tried(name)
        if isinstance(found, BaseException):
            raise found
        return found

    return run


def evaluation() -> tuple[np.ndarray, np.ndarray]:
    sys.path.insert(0, str(HERE))
    try:
        from digits_network import for_evaluation
    finally:
        sys.path.remove(str(HERE))
    return for_evaluation()


def write_data(folder: Path, channels_last: bool) -> None:
    """Arrays for calibration and evaluation, in the layout of the files."""
    sys.path.insert(0, str(HERE))
    try:
        from digits_network import for_evaluation, for_training
    finally:
        sys.path.remove(str(HERE))
    folder.mkdir()
    calibration, labels = for_training()
    parts = {"calibration": (calibration[:300], labels[:300]), "evaluation": for_evaluation()}
    for name, (pixels, labels) in parts.items():
        pixels = pixels.transpose(0, 2, 3, 1) if channels_last else pixels
        np.savez(folder / f"{name}.npz", digit=np.ascontiguousarray(pixels), labels=labels)


def shipped_by(path: Path) -> Shipped:
    if path.suffix == ".tflite":
        return of_tflite(path)
    said = said_by(path, evaluation()[0][:1])
    pairs = {name: pairs[0] for name, pairs in said.activations.items()}
    return Shipped(pairs, said.weights)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("tool", "setting"), SHIPS)
def test_a_real_export_ships_its_own_scales(run_of, tool, setting, recipe):
    run = run_of(tool)
    record = run.records[setting, recipe]
    judged = {gate: record["gates"][gate] for gate in GATES}
    assert judged == dict.fromkeys(GATES, "passed"), record["reason"]
    told = " ".join(record["notes"])
    if run.file(setting).with_suffix(".npy").exists():
        return
    said = said_by(run.file(setting), evaluation()[0][:1])
    found = shipped_by(run.artifact(setting, recipe))
    assert not [name for name in missing(said, found.activations) if name not in told]
    if not run.tool.folds and "had a zero point" not in told:
        assert not [name for name in unmatched(said, found.weights) if name not in told]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("tool", "setting"), SHIPS)
def test_the_artifact_answers_as_the_file_does(run_of, tool, setting, recipe):
    run, (pixels, labels) = run_of(tool), evaluation()
    kept = run.file(setting).with_suffix(".npy")
    wanted = (np.load(kept) if kept.exists() else answers(run.file(setting), pixels)).argmax(1)
    assert np.mean(wanted == labels) > 0.95  # it was trained
    last = setting in CHANNELS_LAST
    given = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)) if last else pixels
    (found,) = open_session(run.artifact(setting, recipe)).predict(given)
    assert np.mean(found.argmax(1) == wanted) >= SAME_ANSWERS


@pytest.mark.parametrize(("tool", "setting", "why"), REFUSED)
def test_what_cannot_ship_is_refused_in_a_sentence(run_of, tool, setting, why):
    record = run_of(tool).records[setting, "onnx_int8"]
    assert record["verdict"] == "error"
    assert why in record["reason"]
