"""`int8gate`: the console script."""

import subprocess
import sys
from importlib import metadata

import pytest
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def invoke():
    from int8gate.cli.app import app

    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_list_shows_every_model_with_its_metric(invoke):
    from int8gate.model_zoo.registry import zoo
    from int8gate.model_zoo.weights import read_manifest

    result = invoke("list")
    assert result.exit_code == 0
    for name in zoo():
        assert name in result.output
    for facts in read_manifest().values():
        assert f"{facts['float']:.4f}" in result.output


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
        "import sys; from typer.testing import CliRunner; from int8gate.cli.app import app; "
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


@pytest.mark.parametrize("arguments", [["-h"], ["init", "-h"], ["export", "-h"], ["compare", "-h"]])
def test_help_has_a_short_name_everywhere(invoke, arguments):
    result = invoke(*arguments)
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_version(invoke):
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.output == f"int8gate {metadata.version('int8gate')}\n"


def test_init_calls_the_model_as_it_is_told(invoke, tmp_path, monkeypatch):
    import onnx_files

    monkeypatch.chdir(tmp_path)
    onnx_files.save(onnx_files.cnn(), tmp_path / "gadget.onnx")
    for name in ("first", "second"):
        assert invoke("init", "gadget.onnx", "--name", name).exit_code == 0
    text = (tmp_path / "models.toml").read_text()
    assert "[models.first]" in text
    assert "[models.second]" in text
    again = invoke("init", "gadget.onnx", "--name", "first")
    assert again.exit_code == 1
    assert "choose another --name" in again.output


@pytest.mark.parametrize(
    ("name", "words"), [("my-model", "letters, digits and underscores"), ("unet", "is called so")]
)
def test_init_refuses_a_name_that_no_model_may_have(invoke, tmp_path, name, words):
    result = invoke("init", str(tmp_path / "none.onnx"), "--name", name)
    assert result.exit_code == 1
    assert words in " ".join(result.output.split())
    assert f"--name {name}" in result.output
