"""Where greedy generation parts, of ONNX files that say which token follows which."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from int8gate.runtimes.onnx_session import OnnxSession
from int8gate.validation.greedy import GENERATED, PROMPTS, tokens_alike

VOCABULARY, LENGTH = 50, 128


def follower(folder, name: str, successors: np.ndarray) -> OnnxSession:
    """A network that finds `successors` (vocabulary,) of each token likeliest."""
    table = np.eye(len(successors), dtype=np.float32)[successors]
    nodes = [helper.make_node("Gather", ["table", "tokens"], ["logits"])]
    ends = (
        helper.make_tensor_value_info("tokens", TensorProto.INT32, (1, LENGTH)),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, LENGTH, len(successors))),
    )
    constants = [numpy_helper.from_array(table, "table")]
    graph = helper.make_graph(nodes, "follows", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, folder / name)
    return OnnxSession(folder / name)


def walked(successors: np.ndarray, token: int) -> list[int]:
    """The tokens that follow one, step by step."""
    found = []
    for _ in range(GENERATED):
        token = int(successors[token])
        found.append(token)
    return found


@given(st.integers(0, 2**32 - 1), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_it_is_the_first_token_that_differs(tmp_path_factory, seed, changes):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("greedy")
    real = rng.permutation(VOCABULARY)
    other = real.copy()
    other[rng.choice(VOCABULARY, changes, replace=False)] = rng.integers(0, VOCABULARY, changes)
    tokens = rng.integers(0, VOCABULARY, (5, LENGTH)).astype(np.int32)
    sessions = follower(folder, "a.onnx", real), follower(folder, "b.onnx", other)
    rows = tokens_alike(*sessions, tokens)
    for row, prompt in zip(rows, tokens[:, LENGTH // 2 - 1], strict=True):
        one, two = walked(real, prompt), walked(other, prompt)
        differs = [a != b for a, b in zip(one, two, strict=True)]
        assert row.tolist() == [differs.index(True) if any(differs) else GENERATED, 1]


@pytest.mark.parametrize("count", [1, PROMPTS, PROMPTS + 5])
def test_the_same_model_never_parts(tmp_path, count):
    rng = np.random.default_rng(count)
    session = follower(tmp_path, "a.onnx", rng.permutation(VOCABULARY))
    tokens = rng.integers(0, VOCABULARY, (count, LENGTH)).astype(np.int32)
    before = tokens.copy()
    rows = tokens_alike(session, session, tokens)
    assert rows.tolist() == [[GENERATED, 1]] * min(count, PROMPTS)
    np.testing.assert_array_equal(tokens, before)
