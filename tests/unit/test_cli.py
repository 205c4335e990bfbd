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


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        ("detector", ("Pre-processing ends", "Post-processing begins", "in the network")),
        ("middle_loop", ("while", "name the cut")),
        ("unlearned", ("convolution",)),
    ],
    ids=["cut", "refused", "without layers"],
)
def test_a_frozen_graph_is_cut_or_refused_with_the_reason(invoke, tmp_path, graph, said):
    import frozen_graphs

    (tmp_path / "graph.pb").write_bytes(frozen_graphs.frozen(graph))
    size = f"{frozen_graphs.SIZE}x{frozen_graphs.SIZE}"
    result = invoke("import", str(tmp_path / "graph.pb"), str(tmp_path / "out"), "--size", size)
    assert result.exit_code == (0 if graph == "detector" else 1), result.output
    for words in said:
        assert words in result.output
    assert (tmp_path / "out" / "saved_model").is_dir() == (graph == "detector")


def test_a_size_that_is_none_is_refused(invoke, tmp_path):
    result = invoke("import", str(tmp_path / "graph.pb"), str(tmp_path), "--size", "big")
    assert result.exit_code == 2
    assert "HEIGHTxWIDTH" in result.output
