"""What a declaration leaves out is taken from the file; what contradicts it is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_folders import refused, write

from int8gate.calibration_data.preprocessing import Hooked
from int8gate.model_zoo.user_models.declaration import OwnModel
from int8gate.model_zoo.user_models.inspection import End, ModelFile, picture_of
from int8gate.model_zoo.user_models.resolve import own_samples, resolve


def own(suffix: str = ".onnx", task: str = "classification", **more) -> OwnModel:
    return OwnModel("gadget", Path(f"gadget{suffix}"), "models.toml, [models.gadget]", task, **more)


def file(shape, *outputs, format: str = "onnx", dtype: str = "float32", quantized=False):
    ends = tuple(End(f"output_{n}", output, "float32") for n, output in enumerate(outputs))
    return ModelFile(format, (End("image", shape, dtype),), ends or (END,), quantized)


END = End("scores", (1, 5), "float32")
PICTURE = (1, 3, 32, 48)


@pytest.mark.parametrize("shape", [(1, 5), (None, 5), (1, 5, 1, 1), (1, 1, 1, 5)])
def test_classes_are_those_of_the_output(shape):
    assert resolve(own(), file(PICTURE, shape)).compact.classes == 5


@pytest.mark.parametrize(
    ("shape", "classes"),
    [((1, 4, 32, 48), 4), ((1, 32, 48, 4), 4), ((1, 4, None, None), None), ((), None)],
)
def test_classes_of_a_label_map_are_its_channels(shape, classes):
    assert resolve(own(task="segmentation"), file(PICTURE, shape)).compact.classes == classes
    wrong = own(task="segmentation", classes=7)
    if classes:
        refused(lambda: resolve(wrong, file(PICTURE, shape)), "classes = 7 contradicts the file")


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1, 1), (1, 7, 5)])
def test_outputs_that_are_no_scores_of_classes_ask_for_a_decoder(shape):
    refused(lambda: resolve(own(), file(PICTURE, shape)), "[models.gadget]", "add decode", "other")
    assert resolve(own(decode="hooks:decode"), file(PICTURE, shape)).decode == "hooks:decode"


def test_pictures_of_a_network_of_one_channel_are_grey(tmp_path):
    for number in range(10):
        write(tmp_path / f"{number}.png", number)
    gray = own(data=tmp_path, task="other")
    spec = resolve(gray, file((1, 1, 32, 48)))
    image, _ = own_samples(spec, "evaluation").sample(0)
    assert image.shape == spec.compact.picture_shape == (32, 48, 1)
    assert spec.compact.arguments["colours"] == "gray"
    assert resolve(own(), file(PICTURE)).compact.arguments["colours"] == "rgb"


@pytest.mark.parametrize(
    ("shape", "fit", "words"),
    [
        ((1, 1, 32, 48), {"colours": "rgb"}, 'colours = "rgb" gives pictures of 3 channels'),
        (PICTURE, {"colours": "gray"}, 'colours = "gray" gives pictures of 1 channels'),
        ((1, 4, 32, 48), {}, "add preprocess"),
    ],
)
def test_channels_that_no_picture_has_are_refused(shape, fit, words):
    refused(lambda: resolve(own(fit=fit), file(shape)), "[models.gadget]", words)


def test_a_hook_makes_other_channels():
    made = own(preprocessing=Hooked(0.0, 255.0, "hooks:prepare"))
    assert resolve(made, file((1, 4, 32, 48))).compact.input_shape == (32, 48, 4)


@pytest.mark.parametrize(
    ("recipes", "quantized", "words"),
    [
        (("tflite_int8",), True, "is quantized already"),
        (("prequantized",), False, "is a float model"),
    ],
)
def test_recipes_that_do_not_fit_the_file_are_refused(recipes, quantized, words):
    found = file((1, 32, 48, 3), format="tflite", quantized=quantized)
    refused(lambda: resolve(own(".tflite", recipes=recipes), found), "recipes", words)


@pytest.mark.parametrize(
    ("suffix", "shape", "dtype", "words"),
    [
        (".h5", PICTURE, "float32", "channels first"),
        (".tflite", PICTURE, "float32", "channels first"),
        (".onnx", PICTURE, "uint8", "takes uint8, expected float32"),
        (".tflite", (1, 32, 48, 3), "uint8", "takes uint8, expected float32"),
    ],
)
def test_inputs_that_no_toolchain_takes_are_refused(suffix, shape, dtype, words):
    kind = {".h5": "keras"}.get(suffix, suffix[1:])
    refused(lambda: resolve(own(suffix), file(shape, format=kind, dtype=dtype)), "image", words)


def test_a_graph_may_take_bytes():
    graph = file((None, None, None, 3), format="frozen_graph", dtype="uint8")
    spec = resolve(own(".pb", size=(32, 48)), graph)
    assert spec.compact.input_shape == (32, 48, 3)


@pytest.mark.parametrize("shape", [(1, 3, 3, 3), (None, None, None, None), (1, 16, 16, 16)])
def test_where_the_shape_does_not_tell_the_format_does(shape):
    assert picture_of(shape, "nhwc") == ("nhwc", shape[1:3], shape[3])
    assert picture_of(shape, "nchw") == ("nchw", shape[2:], shape[1])
    assert file(shape, format="onnx").picture[0] == "nchw"
    assert file(shape, format="keras").picture[0] == "nhwc"
