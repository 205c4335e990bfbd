"""`OnnxSession`: what it takes, what it refuses, and that nothing falls back silently."""

from __future__ import annotations

import numpy as np
import pytest
from data_folders import refused
from hypothesis import given
from hypothesis import strategies as st
from onnx_files import PICTURE, cnn, pictures, reference, save, save_outside

from int8gate.engine.file_digest import sha256_of
from int8gate.runtimes.artifact import as_artifact
from int8gate.runtimes.onnx_session import OnnxSession, describe
from int8gate.runtimes.session import in_layout

ELSEWHERE = "AzureExecutionProvider"  # every build has it; it takes no node of a local model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(cnn(), tmp_path_factory.mktemp("session") / "model.onnx")


def test_specs_are_those_of_the_file(model):
    session = OnnxSession(model)
    (inputs,), (outputs,) = session.inputs, session.outputs
    assert (inputs.name, inputs.shape, inputs.dtype) == ("image", PICTURE, "float32")
    assert (outputs.name, outputs.shape, outputs.dtype) == ("scores", (1, 5), "float32")
    assert session.providers == ("CPUExecutionProvider",)
    artifact = as_artifact(model, describe(model), {"recipe": "onnx_fp32"})
    assert (artifact.format, artifact.inputs) == ("onnx", session.inputs)
    assert artifact.sha256 == sha256_of(model)


def test_it_computes_what_onnx_defines(model):
    fed = pictures(3)
    expected = np.concatenate([reference(cnn(), fed[i : i + 1])[0] for i in range(3)])
    (found,) = OnnxSession(model).predict(fed)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pictures_may_come_channels_last(model):
    session, fed = OnnxSession(model), pictures(3)
    np.testing.assert_array_equal(
        session.predict(fed.transpose(0, 2, 3, 1))[0], session.predict(fed)[0]
    )


def test_outputs_stay_what_they_were_when_it_runs_again(model):
    session, fed = OnnxSession(model), pictures(2)
    (first,) = session.run([fed[:1]])
    kept = first.copy()
    session.run([fed[1:]])
    np.testing.assert_array_equal(first, kept)


def test_invoke_runs_what_was_fed(model):
    session, fed = OnnxSession(model), pictures(1)
    session.feed([fed])
    session.invoke()
    np.testing.assert_array_equal(session.run([fed])[0], OnnxSession(model).run([fed])[0])


def test_other_dtypes_shapes_and_counts_are_refused(model):
    session, fed = OnnxSession(model), pictures(1)
    refused(lambda: session.run([fed.astype(np.float64)]), "float32", "float64", kind=TypeError)
    refused(lambda: session.run([fed[:, :, :8]]), "(1, 3, 8, 16)")
    refused(lambda: session.run([fed, fed]), "1 inputs, got 2")


def test_an_input_without_a_fixed_shape_is_refused(tmp_path):
    path = save(cnn("n, 3, 16, 16", "n, 5"), tmp_path / "open.onnx")
    refused(lambda: OnnxSession(path), "(?, 3, 16, 16)", "import the file")


def test_a_damaged_file_is_refused(tmp_path, model):
    path = tmp_path / "half.onnx"
    path.write_bytes(model.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"cannot load .*half\.onnx"):
        OnnxSession(path)


def test_a_provider_that_is_not_there_is_refused(model):
    refused(
        lambda: OnnxSession(model, provider="TensorrtExecutionProvider"),
        "TensorrtExecutionProvider is not in this ONNX Runtime",
    )


def test_nodes_that_land_elsewhere_are_an_error_unless_allowed(model):
    with pytest.raises(ValueError, match=ELSEWHERE):
        OnnxSession(model, provider=ELSEWHERE)
    session = OnnxSession(model, provider=ELSEWHERE, allow_fallback=True)
    assert session.providers[-1] == "CPUExecutionProvider"
    np.testing.assert_allclose(
        session.predict(pictures(1))[0], OnnxSession(model).predict(pictures(1))[0]
    )


def test_the_digest_covers_external_data(tmp_path):
    digests = []
    for seed in (0, 0, 1):
        home = tmp_path / str(len(digests))
        home.mkdir()
        digests.append(describe(save_outside(cnn(seed=seed), home / "model.onnx"))["sha256"])
    assert digests[0] == digests[1] != digests[2]


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_the_shape_of_the_artifact_decides_the_layout(n, h, w, c):
    batch = np.random.default_rng(0).random((n, h, w, c))
    turned = in_layout(batch, (1, c, h, w))
    assert turned.shape == (n, c, h, w)
    if (h, w, c) != (c, h, w):
        np.testing.assert_array_equal(turned.transpose(0, 2, 3, 1), batch)
    assert in_layout(batch, (1, h, w, c)) is batch
