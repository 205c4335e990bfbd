"""A team with ONNX alone: its gates run without the other frameworks, and what is missing is said
once, before anything is converted.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_files
import pytest
import team_repository
from onnx import numpy_helper
from tiny_run import cases, without

from int8gate.engine import extras
from int8gate.model_zoo.user_models.declaration import FORMAT_OF_SUFFIX
from int8gate.quantizers.sources import PACKAGES_OF_FORMAT

# What `pip install "int8gate[onnx]"` does not bring.
ABSENT = (
    *(name for name, (_, brought_by) in extras.PACKAGES.items() if "onnx" not in brought_by),
    *("jax", "hypothesis", "xdist", "ai_edge_quantizer", "torchao", "yaml"),
)
RECIPES = 'recipes = ["onnx_int8", "onnx_dynamic_int8", "tflite_int8"]'


MATRIX_PRODUCT = """
<ir_version: 8, opset_import: ["" : 17]>
linear (float[1, {channels}, {side}, {side}] image) => (float[1, 10] scores) {{
    pixels = Conv <kernel_shape = [1, 1]> (image, same)
    flat = Flatten (pixels)
    scores = Gemm <transB = 1> (flat, w, b)
}}
"""


@pytest.fixture(scope="module")
def team(tmp_path_factory) -> Path:
    """A repository whose classifier has a matrix product, which every recipe quantizes."""
    folder = team_repository.write(tmp_path_factory.mktemp("team"))
    w, b = map(numpy_helper.to_array, onnx.load(folder / "gadget.onnx").graph.initializer)
    text = MATRIX_PRODUCT.format(channels=w.shape[1], side=w.shape[2])
    channels = np.eye(w.shape[1], dtype=np.float32)[:, :, None, None]
    arrays = {"same": channels, "w": w.reshape(len(w), -1), "b": b}
    onnx_files.save(onnx_files.with_weights(text, arrays), folder / "gadget.onnx")
    declared = (folder / "models.toml").read_text()
    (folder / "models.toml").write_text(declared.replace("data =", f"{RECIPES}\ndata ="))
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    asked = [sys.executable, "-m", *arguments]
    variables = without(*ABSENT) | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        asked, env=variables, cwd=folder, capture_output=True, text=True, timeout=300
    )


def gates(folder: Path, *options: str) -> subprocess.CompletedProcess:
    plugins = ["-p", "int8gate.plugin.options", "-p", "pytest_benchmark.plugin"]
    fixed = [*plugins, "--zoo", "models.toml", "-p", "no:cacheprovider", "--artifact-cache=cache"]
    return run(folder, "pytest", *fixed, *options)


def test_an_onnx_classifier_is_gated_with_onnx_alone(team: Path):
    done = gates(team, "--recipe=onnx_int8", "--recipe=onnx_dynamic_int8", "--report=report")
    found = cases(team / "report")
    verdicts = {name: case["verdict"] for name, case in found.items()}
    expected = {"gadget-onnx_int8": "passed", "gadget-onnx_dynamic_int8": "passed"}
    assert verdicts == expected, done.stdout + done.stderr
    assert found["gadget-onnx_int8"]["gates"]["integer_only"] == "passed"
    told = run(team, "int8gate.cli.app", "methods", "gadget", "--answers", "onnx_int8")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("host_cpu: onnx_")
    assert "by intervals" not in told.stdout, "predictions were kept, float's too"
    assert "onnx_int8 against float, in pairs on " in told.stdout
    assert "Calibration error (ECE): " in told.stdout


def test_a_recipe_that_lacks_its_extra_ends_the_run_before_it_begins(team: Path):
    done = gates(team)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    said = done.stdout + done.stderr
    assert said.count("pip install") == 1
    assert "gadget-tflite_int8" in said
    assert 'pip install "int8gate[npu,tflite]"' in said
    assert "Traceback" not in said


def test_what_is_not_selected_needs_nothing(team: Path):
    assert gates(team, "--collect-only", "-q").returncode == 0
    assert gates(team, "-k", "onnx_int8", "-m", "io_dtype").returncode == 0


@pytest.mark.parametrize("suffix", sorted(FORMAT_OF_SUFFIX.keys() - {".onnx"}))
def test_init_says_what_reads_the_file(tmp_path: Path, suffix: str):
    (tmp_path / f"gadget{suffix}").write_bytes(b"not looked at")
    done = run(tmp_path, "int8gate.cli.app", "init", f"gadget{suffix}")
    packages = PACKAGES_OF_FORMAT[FORMAT_OF_SUFFIX[suffix]]
    assert extras.missing(packages) == []  # in this process
    assert done.stderr.strip() == extras.sentence(f"gadget{suffix}", packages)
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("import", "gadget.pb", "out", "--size", "30x30"), "int8gate import needs tensorflow"),
        (("train", "unet"), "unet needs keras, tensorflow"),
        (("export", "gadget-tflite_int8", "out", "--zoo", "models.toml"), "gadget-tflite_int8 ne"),
    ],
)
def test_a_command_says_what_it_lacks(team: Path, command: tuple[str, ...], words: str):
    done = run(team, "int8gate.cli.app", *command)
    said = " ".join(done.stderr.replace("│", "").split())
    assert words in said
    assert "pip install" in said
    assert "Traceback" not in said
    assert done.returncode != 0
