"""What a file takes and gives, whatever kind it is; and what `init` makes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import own_files
import pytest
from data_folders import refused
from hypothesis import given
from hypothesis import strategies as st
from onnx_files import cnn, save

from int8gate.cli.init import begin
from int8gate.model_zoo.user_models.declaration import FORMAT_OF_SUFFIX, SAVED_MODEL, OwnModel
from int8gate.model_zoo.user_models.inspection import inspect, picture_of
from int8gate.model_zoo.user_models.resolve import declared_spec, resolve
from int8gate.model_zoo.user_models.tflite_file import is_quantized
from int8gate.model_zoo.user_models.toml_file import read_zoo

# Of every file: layout, size, channels and dtype of the input, and the outputs' shapes.
EXPECTED = {
    "keras": ("nhwc", (16, 16), 3, "float32", [(None, 5)]),
    "h5": ("nhwc", (16, 16), 3, "float32", [(None, 5)]),
    "saved_model": ("nhwc", (16, 16), 3, "float32", [(None, 5)]),
    "onnx": ("nchw", (16, 16), 3, "float32", [(1, 5)]),
    "pt2": ("nchw", (16, 16), 3, "float32", [(1, 5)]),
    "cfg": ("nchw", (16, 32), 3, "float32", [()]),
    "fp32": ("nhwc", (32, 32), 3, "float32", [(1, 10)]),
    "int8": ("nhwc", (32, 32), 3, "int8", [(1, 10)]),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return own_files.write_all(tmp_path_factory.mktemp("own"))


def found_in(file):
    return inspect(file, SAVED_MODEL if file.is_dir() else FORMAT_OF_SUFFIX[file.suffix])


@pytest.mark.parametrize("kind", EXPECTED)
def test_inputs_and_outputs_are_read(files, kind):
    layout, size, channels, dtype, outputs = EXPECTED[kind]
    found = found_in(files[kind])
    assert found.picture == (layout, size, channels)
    assert [end.dtype for end in found.inputs] == [dtype]
    assert [end.shape for end in found.outputs] == outputs
    assert found.is_quantized == (dtype == "int8")


def test_free_sides_stay_free(files):
    found = found_in(files["pb"])
    assert found.picture == ("nhwc", (None, None), 3)
    assert len(found.outputs) >= 1


@pytest.mark.parametrize("kind", [*EXPECTED, "pb"])
def test_init_writes_a_declaration_that_reads(files, kind, tmp_path, worker):
    output = tmp_path / "models.toml"
    text = begin(files[kind], output, worker)
    (model,) = read_zoo(output)
    assert model.file == files[kind]
    assert ("size = [" in text) == (kind == "pb"), "said only where the file leaves it free"
    refused(lambda: begin(files[kind], output, worker), "already")


def test_another_model_is_added(files, tmp_path):
    begin(files["onnx"], tmp_path / "models.toml")
    begin(files["fp32"], tmp_path / "models.toml")
    assert [model.name for model in read_zoo(tmp_path / "models.toml")] == ["gadget", "fp32"]


@pytest.mark.parametrize("kind", ["keras", "h5", "onnx", "pb", "pt2", "fp32"])
@pytest.mark.parametrize("kept", [0, 100, 0.5])
def test_a_damaged_file_is_named(files, kind, kept, tmp_path, worker):
    content = files[kind].read_bytes()
    damaged = tmp_path / files[kind].name
    damaged.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    refused(lambda: begin(damaged, tmp_path / "models.toml", worker), damaged.name)
    assert not (tmp_path / "models.toml").exists()


def test_code_in_a_file_is_not_run(tmp_path):
    import keras

    witness = tmp_path / "ran"
    model = keras.Sequential(
        [keras.Input((4, 4, 3)), keras.layers.Lambda(lambda x: x + 1, output_shape=(4, 4, 3))]
    )
    for suffix in (".keras", ".h5"):
        file = tmp_path / f"lambda{suffix}"
        model.save(file)
        refused(lambda file=file: inspect(file, "keras"), file.name, "Lambda")
    assert not witness.exists()


@pytest.mark.parametrize(
    ("name", "quantized"),
    [("int8", True), ("float_io", True), ("fp32", False)],
)
def test_a_quantized_file_goes_as_it_is_whatever_it_takes(files, name, quantized):
    file = files["fp32"].with_stem(name)
    assert is_quantized(file) == found_in(file).is_quantized == quantized
    spec = declared_spec(OwnModel("gadget", file, "models.toml"))
    assert spec.recipes == (("prequantized",) if quantized else ("tflite_int8",))


def test_integer_weights_alone_are_said_to_be_what_they_are(files, tmp_path, worker):
    """Dynamic range quantization: neither the float model nor a quantized one."""
    file = files["fp32"].with_stem("dynamic")
    assert not is_quantized(file)
    said = ("dynamic range", "activations in float32", "float file", "tflite_dynamic_int8")
    refused(lambda: found_in(file), file.name, *said)
    refused(lambda: begin(file, tmp_path / "models.toml", worker), file.name, *said)


def test_weights_of_half_precision_are_refused(files):
    file = files["fp32"].with_stem("fp16")
    own = OwnModel("gadget", file, "models.toml, [models.gadget]", "classification")
    refused(lambda: resolve(own, found_in(file)), "[models.gadget]", "float16", "float32 file")
    whole = replace(own, file=files["fp32"])
    assert resolve(whole, found_in(whole.file)).recipes == ("tflite_int8",)


@pytest.mark.parametrize("kept", [0, 7, 100, 0.5, 0.9])
def test_whether_a_damaged_file_is_quantized_is_left_to_the_worker(files, kept, tmp_path):
    content, damaged = files["fp32"].read_bytes(), tmp_path / "damaged.tflite"
    damaged.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    assert not is_quantized(damaged)


@given(st.sampled_from([1, 3, 4]), st.integers(5, 600) | st.none(), st.integers(5, 600) | st.none())
def test_channels_tell_the_layout(channels, height, width):
    assert picture_of((1, height, width, channels)) == ("nhwc", (height, width), channels)
    if height != channels:
        assert picture_of((None, channels, height, width)) == ("nchw", (height, width), channels)


def test_what_is_no_picture_has_no_layout():
    assert picture_of((1, 128)) == (None, (None, None), None)
    assert picture_of(()) == (None, (None, None), None)
    assert np.shape(picture_of((1, 3, 3, 3))[1]) == (2,)


@pytest.mark.parametrize("batch", [4, 1])
def test_a_batch_that_an_onnx_file_was_exported_with_is_free(tmp_path, batch):
    """The importer makes it 1; a free one says so before."""
    path = save(cnn(f"{batch}, 3, 16, 16", f"{batch}, 5"), tmp_path / "net.onnx")
    found = inspect(path, "onnx", (), (), False)
    first = None if batch == 4 else 1
    assert [end.shape for end in found.inputs] == [(first, 3, 16, 16)]
    assert [end.shape for end in found.outputs] == [(first, 5)]
