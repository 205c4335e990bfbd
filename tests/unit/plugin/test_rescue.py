"""`pytest --rescue` and `int8gate rescue`: what a user sees of the ladder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import outlier_networks
import pytest
from typer.testing import CliRunner

from int8gate.cli.app import app

TABLE = """
[models.gadget]
file = "gadget.onnx"
task = "classification"
data = "pictures"
range = [0, 1]
recipes = ["onnx_int8"]
expect = { accuracy = "0.9 * float", size_ratio = 9.0, cpu_speedup_x86 = 0.01 }
"""


@pytest.fixture(scope="module")
def team(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("team")
    outlier_networks.write_all(folder, "relu")
    (folder / "models.toml").write_text(TABLE)
    return folder


def pytest_on(team: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "--zoo", "models.toml", "-p", "no:cacheprovider"]
    command += ["--report=report", f"--artifact-cache={team / 'cache'}", *options]
    command += ["--min-calibration-samples=50"]
    environment = {key: text for key, text in os.environ.items() if key != "PYTEST_ADDOPTS"}
    return subprocess.run(
        command, cwd=team, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def failed(team) -> str:
    """What a run without `--rescue` says."""
    done = pytest_on(team, "-m", "accuracy")
    assert done.returncode == 1
    return done.stdout


def test_a_failure_names_the_worst_layers_and_the_command(failed):
    assert "worst layers: " in failed
    assert "rescue: pytest --int8-zoo=models.toml" in failed
    assert "--int8-case gadget-onnx_int8 -m accuracy --int8-rescue" in failed
    assert "passes:" not in failed


def test_the_command_that_it_names_finds_the_way_out(team, failed):
    line = next(line for line in failed.splitlines() if "rescue: pytest" in line)  # CI: twice
    options = line.partition("rescue: pytest ")[2].partition("  #")[0].split()
    done = pytest_on(team, *[each for each in options if "cache" not in each])
    assert done.returncode == 1, "the case as it is declared still fails"
    assert "rescue of gadget-onnx_int8" in done.stdout
    assert 'recipes = ["onnx_int8+cle"]' in done.stdout
    (record,) = json.loads((team / "report/results.json").read_text())["cases"]
    assert record["rescue"]["winner"] == "onnx_int8+cle"
    assert record["verdict"] == "failed"
    assert "onnx_int8+cle" in (team / "report/report.html").read_text()


def test_the_recipe_passes_by_its_name(team, failed):
    done = pytest_on(team, "--recipe", "onnx_int8+cle", "-m", "accuracy")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "gadget-onnx_int8+cle" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gadget-onnx_int9"], "no case gadget-onnx_int9: gadget has gadget-onnx_int8"),
        (["gadgte-onnx_int8"], "declares no model gadgte"),
        (["gadget-onnx_int8", "--budget", "soon"], "--budget soon: expected a time such as 90s"),
        (["gadget-onnx_int8", "--target", "host_gpu"], "--target host_gpu is unknown"),
        (["gadget-onnx_int8", "--profile", "tiny"], "--profile tiny: expected"),
    ],
)
def test_wrong_input_is_one_sentence(team, arguments, said):
    shown = CliRunner().invoke(app, ["rescue", *arguments, "--zoo", str(team / "models.toml")])
    assert shown.exit_code == 2
    assert said in shown.output
    assert "Traceback" not in shown.output
