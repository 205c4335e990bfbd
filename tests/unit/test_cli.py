"""`int8gate`: the console script."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def invoke():
    from int8gate.cli import app

    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_list_shows_every_model_with_its_metric(invoke):
    from model_zoo.registry import zoo
    from model_zoo.weights import read_manifest

    result = invoke("list")
    assert result.exit_code == 0
    for name in zoo():
        assert name in result.output
        assert f"{read_manifest()[name]['float']:.4f}" in result.output


def test_an_unknown_model_is_refused_with_the_nearest(invoke):
    result = invoke("train", "mobilnet_v2")
    assert result.exit_code == 2
    assert "mobilenet_v2" in result.output


def test_a_trial_never_replaces_the_shipped_weights(invoke):
    result = invoke("train", "mobilenet_v2", "--epochs", "1")
    assert result.exit_code == 2
    assert "--output" in result.output


def test_list_needs_no_tensorflow():
    code = (
        "import sys; from typer.testing import CliRunner; from int8gate.cli import app; "
        "CliRunner().invoke(app, ['list']); print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.heavy
def test_a_trial_training_stores_weights_that_load(invoke, tmp_path):
    result = invoke("train", "mobilenet_v2", "--epochs", "1", "--output", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "mobilenet_v2.safetensors").is_file()
    assert "top1" in result.output
