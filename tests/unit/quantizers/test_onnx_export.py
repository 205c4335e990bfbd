"""From a declaration to a float ONNX file: it computes what the PyTorch program does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from data_folders import refused
from onnx_files import sqnr_db

from int8gate.calibration_data.preprocessing import SIGNED_UNIT
from int8gate.model_zoo import torch_networks
from int8gate.model_zoo.spec import ModelSpec, Network
from int8gate.model_zoo.weights import Weights
from int8gate.quantizers.toolchains.onnx.from_torch import export_onnx, export_torch, to_onnx
from int8gate.runtimes.artifact import ONNX, PROGRAM
from int8gate.runtimes.onnx_session import OnnxSession
from int8gate.runtimes.torch_program import TorchProgramSession

AGREEMENT_DB = 60  # what the conversion gate asks of a float artifact
RANDOM = Weights("random")
NETWORK = Network("test_onnx_export:build", (16, 24, 3), (16, 24), 5)
SPEC = ModelSpec(
    name="two_heads",
    task="classification",
    source_format="pytorch",
    preprocessing=SIGNED_UNIT,
    compact=NETWORK,
    full=NETWORK,
    paper="none: a test",
)
THEIR_FILE = replace(SPEC, source_format="onnx", source="test_onnx_export:write_source")


class TwoHeads(torch.nn.Module):
    """Scores and a map, channels last."""

    def __init__(self, classes: int):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(8)
        self.second = torch.nn.Conv2d(8, 4, 1)
        self.scores = torch.nn.Linear(8, classes)

    def forward(self, picture):
        maps = torch.nn.functional.silu(self.norm(self.first(picture)))
        return self.scores(maps.mean((2, 3))), self.second(maps).permute(0, 2, 3, 1)


def build(input_shape, classes) -> TwoHeads:
    return TwoHeads(classes)


def write_source(network, declared, directory: Path) -> Path:
    """What users of such a model have: a file with a batch of any size."""
    path = directory / "source.onnx"
    program = torch.export.export(network, torch_networks.example(declared))
    torch.onnx.export(program, f=str(path), dynamo=True, external_data=False, verbose=False)
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save_model(model, str(path))
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    directory = tmp_path_factory.mktemp("exported")
    assert export_torch(SPEC, "compact", RANDOM, 0, directory) == {"repairs": []}
    return directory


@pytest.fixture(scope="module")
def converted(exported, tmp_path_factory):
    directory = tmp_path_factory.mktemp("converted")
    return directory, to_onnx(exported, directory)


@pytest.fixture
def batch():
    return np.random.default_rng(0).normal(0, 1, (3, 16, 24, 3)).astype(np.float32)


def test_the_float_file_computes_what_the_program_does(exported, converted, batch):
    directory, described = converted
    (inputs,), outputs = described["inputs"], described["outputs"]
    assert (inputs["name"], inputs["shape"], inputs["dtype"]) == (
        "image",
        (1, 3, 16, 24),
        "float32",
    )
    assert [(o["name"], o["shape"]) for o in outputs] == [
        ("output_0", (1, 5)),
        ("output_1", (1, 16, 24, 4)),
    ]
    expected = TorchProgramSession(exported / PROGRAM).predict(batch)
    found = OnnxSession(directory / ONNX).predict(batch)
    for one, other in zip(expected, found, strict=True):
        assert one.shape == other.shape
        assert sqnr_db(one, other) > AGREEMENT_DB
    assert [file.name for file in directory.iterdir()] == [ONNX], "nothing else is left behind"


def test_the_same_declaration_gives_the_same_bytes(converted, tmp_path):
    directory, described = converted
    (tmp_path / "x").mkdir()
    (tmp_path / "f").mkdir()
    export_torch(SPEC, "compact", RANDOM, 0, tmp_path / "x")
    assert to_onnx(tmp_path / "x", tmp_path / "f")["sha256"] == described["sha256"]
    assert b"test_onnx_export" not in (directory / ONNX).read_bytes(), "holds no stack trace"


def test_stored_weights_are_taken(tmp_path, batch):
    from safetensors.torch import save_file

    torch.manual_seed(7)
    network = build((16, 24, 3), 5).eval()
    save_file(network.state_dict(), str(tmp_path / "w.safetensors"))
    export_torch(SPEC, "compact", Weights("directory", tmp_path / "w.safetensors"), 0, tmp_path)
    with torch.no_grad():
        expected = network(torch.from_numpy(batch.transpose(0, 3, 1, 2).copy()))
    found = TorchProgramSession(tmp_path / PROGRAM).predict(batch)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one.numpy(), atol=1e-5)


@pytest.mark.parametrize("is_users_own", [False, True])
def test_a_file_of_users_is_imported(tmp_path, batch, is_users_own):
    for name in "sxf":
        (tmp_path / name).mkdir()
    weights = RANDOM
    if is_users_own:
        torch.manual_seed(3)
        network = build((16, 24, 3), 5).eval()
        weights = Weights("directory", write_source(network, NETWORK, tmp_path / "s"))
    report = export_onnx(THEIR_FILE, "compact", weights, 0, tmp_path / "x")
    assert any("(batch, 3, 16, 24)" in said for said in report["repairs"])
    assert not (tmp_path / "x" / PROGRAM).exists()
    to_onnx(tmp_path / "x", tmp_path / "f")
    sessions = [OnnxSession(tmp_path / part / ONNX) for part in "xf"]
    for one, other in zip(*(session.predict(batch) for session in sessions), strict=True):
        assert sqnr_db(one, other) > AGREEMENT_DB
    if is_users_own:
        with torch.no_grad():
            expected = network(torch.from_numpy(batch.transpose(0, 3, 1, 2).copy()))
        assert sqnr_db(expected[0].numpy(), sessions[1].predict(batch)[0]) > AGREEMENT_DB


def test_a_program_that_is_cut_short_is_refused(exported, tmp_path):
    path = tmp_path / PROGRAM
    path.write_bytes((exported / PROGRAM).read_bytes()[:1000])
    refused(lambda: TorchProgramSession(path), PROGRAM, "export it again")


def test_a_program_takes_as_many_inputs_as_it_has(exported, batch):
    session = TorchProgramSession(exported / PROGRAM)
    refused(lambda: session.predict(batch, batch), "takes 1 inputs, got 2")
