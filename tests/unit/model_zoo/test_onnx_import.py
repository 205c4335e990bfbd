"""A user's own ONNX file: what is repaired, and what is refused in one sentence."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from data_folders import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx_files import PICTURE, cnn, pictures, reference, save, save_outside, weights, with_weights

from int8gate.model_zoo.importers.onnx import repairs as onnx_repairs
from int8gate.model_zoo.importers.onnx.importer import explain, import_onnx
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_session import OnnxSession


def imported(model_or_path, tmp_path, shape=PICTURE):
    """The report, and what the repaired model gives for a picture."""
    path = model_or_path
    if isinstance(model_or_path, onnx.ModelProto):
        path = save(model_or_path, tmp_path / "theirs.onnx")
    report = import_onnx(path, shape, tmp_path / "ours")
    session = OnnxSession(tmp_path / "ours" / ONNX)
    return report, session.run([pictures(1)])


def test_a_sound_file_stays_as_it_is(tmp_path):
    report, found = imported(cnn(), tmp_path)
    assert report["repairs"] == ["The shapes of 7 tensors were missing: they are inferred now."]
    assert report["largest_difference"] == 0
    np.testing.assert_allclose(found[0], reference(cnn(), pictures(1))[0], atol=1e-5)


@pytest.mark.parametrize(
    "declared",
    ["N, 3, 16, 16", "batch, 3, height, width", "1, 3, 299, 299", "7, 3, 16, 16", "1, 16, 16, 3"],
)
def test_the_input_gets_the_shape_that_the_graph_takes(tmp_path, declared):
    report, found = imported(cnn(declared, "unknown, 5"), tmp_path)
    assert tuple(report["input"]) == ("image", *PICTURE)
    assert any("Input image had" in said for said in report["repairs"])
    np.testing.assert_allclose(found[0], reference(cnn(), pictures(1))[0], atol=1e-5)


def test_a_graph_that_takes_channels_last_keeps_doing_so(tmp_path):
    model = cnn("n, 3, 16, 16")
    turn = onnx.helper.make_node("Transpose", ["raw"], ["image"], "turn", perm=[0, 3, 1, 2])
    model.graph.node.insert(0, turn)
    model.graph.input[0].name = "raw"
    path = save(model, tmp_path / "last.onnx")
    report = import_onnx(path, PICTURE, tmp_path / "ours")
    assert tuple(report["input"]) == ("raw", 1, 16, 16, 3)
    fed = pictures(1)
    session = OnnxSession(tmp_path / "ours" / ONNX)
    (found,) = session.run([np.ascontiguousarray(fed.transpose(0, 2, 3, 1))])
    np.testing.assert_allclose(found, reference(cnn(), fed)[0], atol=1e-5)


@pytest.mark.parametrize("opset", [7, 9, 11])
def test_an_old_operator_set_is_lifted(tmp_path, opset):
    model = cnn("n, 3, 16, 16", "n, 5", opset=opset, ir=3)
    for name, array in weights().items():  # IR version 3 wants them among the inputs
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, 1, array.shape))
    report, found = imported(model, tmp_path)
    assert report["opset"] >= 13
    told = " ".join(explain(report))
    assert f"Operator set {opset} was lifted" in told
    assert "6 weights were listed among the inputs" in told
    np.testing.assert_allclose(found[0], reference(cnn(), pictures(1))[0], atol=1e-5)


RESHAPED = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[4, 3, 16, 16] image) => (float[4, 8] scores) {
    pooled = GlobalAveragePool (image)
    flat = Reshape (pooled, shape)
    scores = MatMul (flat, w)
}
"""


def test_an_exported_batch_is_taken_out_of_reshapes(tmp_path):
    arrays = {"shape": np.array([4, 3]), "w": np.ones((3, 8), np.float32)}
    report, found = imported(with_weights(RESHAPED, arrays), tmp_path)
    assert any("exported batch of 4" in said for said in report["repairs"])
    expected = np.repeat(pictures(1).mean((2, 3)).sum(), 8)[None]
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


def test_nodes_of_one_name_are_told_apart(tmp_path):
    model = cnn()
    for node in model.graph.node[:3]:
        node.name = "same"
    report, found = imported(model, tmp_path)
    assert any("shared a name (same)" in said for said in report["repairs"])
    np.testing.assert_allclose(found[0], reference(cnn(), pictures(1))[0], atol=1e-5)


def test_external_data_comes_along(tmp_path):
    report, found = imported(save_outside(cnn(), tmp_path / "theirs.onnx"), tmp_path)
    assert report["largest_difference"] == 0
    np.testing.assert_allclose(found[0], reference(cnn(), pictures(1))[0], atol=1e-5)


@pytest.mark.parametrize("small", [0, 10, 1024])
def test_an_old_file_with_external_data_is_lifted_without_its_weights(tmp_path, monkeypatch, small):
    """The converter takes 2 GB at most, so that it must not see them."""
    monkeypatch.setattr(onnx_repairs, "SMALL", small)
    path = save_outside(cnn(opset=9), tmp_path / "theirs.onnx")
    report, found = imported(path, tmp_path)
    assert report["opset"] >= 13
    np.testing.assert_allclose(found[0], reference(cnn(), pictures(1))[0], atol=1e-5)
    model = onnx.load(str(path), load_external_data=False)
    lifted, _ = onnx_repairs.lift_opset(model)
    if small == 0:
        inside = [t for t in lifted.graph.initializer if t.data_location != t.EXTERNAL]
        assert not inside


def test_missing_external_data_is_named(tmp_path):
    path = save_outside(cnn(), tmp_path / "theirs.onnx")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"w1 .*'weights\.bin', which does not exist"):
        import_onnx(path, PICTURE, tmp_path / "ours")


def test_truncated_external_data_is_named(tmp_path):
    path = save_outside(cnn(), tmp_path / "theirs.onnx")
    data = tmp_path / "weights.bin"
    data.write_bytes(data.read_bytes()[:-100])
    refused(lambda: import_onnx(path, PICTURE, tmp_path / "ours"), "weights.bin", "truncated")


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "inside/../../secret.bin"])
def test_external_data_elsewhere_is_not_read(tmp_path, location):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(1 << 16))
    path = save_outside(cnn(), home / "theirs.onnx")
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = location
    path.write_bytes(model.SerializeToString())
    refused(lambda: import_onnx(path, PICTURE, tmp_path / "o"), location, "outside of the model")


def test_a_link_that_leads_elsewhere_is_not_read(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    path = save_outside(cnn(), home / "theirs.onnx")
    (home / "weights.bin").rename(tmp_path / "secret.bin")
    (home / "weights.bin").symlink_to(tmp_path / "secret.bin")
    refused(lambda: import_onnx(path, PICTURE, tmp_path / "o"), "outside of the model")


@pytest.mark.parametrize("domain", ["my.company", ""])
def test_an_unknown_operator_is_named(tmp_path, domain):
    model = cnn()
    model.graph.node[3].op_type, model.graph.node[3].domain = "FancyActivation", domain
    if domain:
        model.opset_import.add(domain=domain, version=1)
    path = save(model, tmp_path / "theirs.onnx")
    named = ("leakyrelu_3", "FancyActivation", domain or "ai.onnx", "no operator of ONNX")
    refused(lambda: import_onnx(path, PICTURE, tmp_path / "o"), *named)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    model = cnn()
    spoiled = weights()["w2"]
    spoiled[0, 0, 0, 0] = value
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(spoiled, "w2"))
    path = save(model, tmp_path / "theirs.onnx")
    refused(lambda: import_onnx(path, PICTURE, tmp_path / "o"), "tensor w2", "NaN or infinity")


def test_a_size_that_the_graph_cannot_take_is_refused(tmp_path):
    model = with_weights(
        RESHAPED.replace("4, 3, 16, 16", "1, 3, 16, 16").replace("GlobalAveragePool", "Identity"),
        {"shape": np.array([1, 768]), "w": np.ones((768, 8), np.float32)},
    )
    path = save(model, tmp_path / "theirs.onnx")
    refused(
        lambda: import_onnx(path, (1, 3, 20, 20), tmp_path / "o"),
        "(1, 3, 20, 20)",
        "(1, 3, 16, 16)",
        "reshape_1",
    )


def test_a_file_that_computes_on_integers_is_refused(tmp_path):
    model = cnn()
    model.graph.node[1].op_type = "QLinearAdd"
    path = save(model, tmp_path / "theirs.onnx")
    refused(lambda: import_onnx(path, PICTURE, tmp_path / "o"), "relu_1", "quantized already")


def test_two_inputs_are_refused(tmp_path):
    model = cnn()
    model.graph.input.append(onnx.helper.make_tensor_value_info("mask", 1, [1, 8]))
    path = save(model, tmp_path / "theirs.onnx")
    refused(lambda: import_onnx(path, PICTURE, tmp_path / "o"), "2 inputs (image, mask)")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "no whole"), (b"PK\x03\x04" + bytes(99), "zip"), (b"\x00\x00\x00\x00TFL3", "TFLite")],
)
def test_another_kind_of_file_is_refused(tmp_path, content, said):
    path = tmp_path / "theirs.onnx"
    path.write_bytes(content)
    refused(lambda: import_onnx(path, PICTURE, tmp_path / "o"), "theirs.onnx", said)


WHOLE = cnn().SerializeToString()


@given(st.integers(0, len(WHOLE) - 1))
@settings(max_examples=40, deadline=None)
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path_factory, length):
    folder = tmp_path_factory.mktemp("cut")
    path = folder / "theirs.onnx"
    path.write_bytes(WHOLE[:length])
    refused(lambda: import_onnx(path, PICTURE, folder / "o"), "theirs.onnx")
