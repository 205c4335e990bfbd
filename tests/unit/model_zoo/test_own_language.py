"""A team's own language model through the gates: by perplexity, with weights in blocks."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save
from tiny_run import cases, environment

VOCABULARY, LENGTH, RANK, DOCUMENTS, WINDOWS = 40, 24, 32, 140, 6
RECIPES = ("onnx_dynamic_int8", "onnx_weight_int8", "onnx_weight_int4")
TABLE = """
[models.{name}]
file = "bigrams.onnx"
task = "language"
data = "{data}.npz"
recipes = {recipes}
expect = {{ size_ratio = 2, accuracy = "{accuracy}", least_sqnr_db = 10 }}
"""


def write_model(folder) -> None:
    """Logits of the token that follows each one, exactly those of `chances` but for its rank."""
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.full(VOCABULARY, 0.1), VOCABULARY)
    left, values, right = np.linalg.svd(np.log(chances + 1e-3))
    table = (left[:, :RANK] * values[:RANK]).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["state"]),
        helper.make_node("MatMul", ["state", "head"], ["logits"], name="head_product"),
    ]
    weights = {"table": table, "head": right[:RANK].astype(np.float32)}
    ends = (
        helper.make_tensor_value_info("tokens", TensorProto.INT64, ("batch", LENGTH)),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", LENGTH, VOCABULARY)),
    )
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "bigrams", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    save(model, folder / "bigrams.onnx")
    write_program(weights, folder / "bigrams.pt2")
    text = np.zeros((DOCUMENTS, WINDOWS * LENGTH + 1), np.int64)
    for place in range(1, text.shape[1]):
        drawn = rng.random((DOCUMENTS, 1)) > chances[text[:, place - 1]].cumsum(axis=1)
        text[:, place] = np.minimum(drawn.sum(axis=1), VOCABULARY - 1)
    tokens = text[:, :-1].reshape(-1, LENGTH)
    following = text[:, 1:].reshape(-1, LENGTH)
    sources = np.arange(DOCUMENTS).repeat(WINDOWS)
    other = rng.permutation(VOCABULARY)
    sets = {
        "text": (tokens, following),
        "unshifted": (tokens, tokens),
        "other_tokenizer": (other[tokens], other[following]),
    }
    for name, (given, labels) in sets.items():
        np.savez(folder / f"{name}.npz", tokens=given, labels=labels, sources=sources)


def write_program(weights: dict[str, np.ndarray], path) -> None:
    """The same network as a PyTorch program."""
    import torch

    class Bigrams(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Parameter(torch.from_numpy(weights["table"]))
            self.head = torch.nn.Parameter(torch.from_numpy(weights["head"]))

        def forward(self, tokens):
            return self.table[tokens] @ self.head

    example = (torch.zeros(1, LENGTH, dtype=torch.int64),)
    torch.export.save(torch.export.export(Bigrams(), example), str(path))


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("language")
    write_model(folder)
    tables = [
        TABLE.format(name="text", data="text", recipes=json.dumps(RECIPES), accuracy="1.03 * float")
    ]
    for name in ("unshifted", "other_tokenizer"):
        told = {"recipes": '["onnx_weight_int8"]', "accuracy": "1.01 * float"}
        tables.append(TABLE.format(name=name, data=name, **told))
    program = TABLE.format(
        name="program", data="text", recipes='["onnx_weight_int8"]', accuracy="1.03 * float"
    )
    tables.append(program.replace("bigrams.onnx", "bigrams.pt2"))
    (folder / "models.toml").write_text("".join(tables))
    command = [sys.executable, "-m", "pytest", "--zoo=models.toml", "--report=report"]
    command += ["--artifact-cache=cache", "-p", "no:cacheprovider", "-k", "not npu"]
    subprocess.run(command, cwd=folder, env=environment(), capture_output=True, timeout=600)
    return cases(folder / "report")


@pytest.mark.parametrize("recipe", ["onnx_dynamic_int8", "onnx_weight_int8"])
def test_weights_of_8_bits_pass_by_perplexity(found, recipe):
    case = found[f"text-{recipe}"]
    assert case["gates"]["accuracy"] == "passed", case["messages"]
    accuracy = case["accuracy"]
    assert accuracy["metric"] == "perplexity"
    assert accuracy["sources"] < accuracy["samples"] / 4, "windows of one document"
    assert 1 < accuracy["float"] < 0.5 * accuracy["baseline"]["score"]
    assert accuracy["also"]["next_token"]["float"] > 0.3
    assert case["gates"]["size"] == "passed"


def test_a_pytorch_program_takes_tokens(found):
    program, file = found["program-onnx_weight_int8"], found["text-onnx_weight_int8"]
    assert program["verdict"] == "passed", program["messages"]
    assert program["io"]["inputs"][0]["dtype"] == "int64"
    assert program["accuracy"]["float"] == pytest.approx(file["accuracy"]["float"], rel=1e-6)


def test_what_4_bits_lose_fails_in_the_metrics_words(found):
    case = found["text-onnx_weight_int4"]
    assert case["gates"]["accuracy"] == "failed", case["messages"]
    assert "perplexity rises by" in case["messages"]["accuracy"]
    assert case["fidelity"]["sqnr_db"] < found["text-onnx_weight_int8"]["fidelity"]["sqnr_db"] - 15


@pytest.mark.parametrize("name", ["unshifted", "other_tokenizer"])
def test_another_language_than_the_models_proves_nothing(found, name):
    case = found[f"{name}-onnx_weight_int8"]
    assert case["verdict"] == "invalid", case["messages"]
    assert "tokenizer" in case["messages"]["accuracy"]
