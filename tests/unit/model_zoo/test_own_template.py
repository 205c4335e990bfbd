"""What `int8gate init` proposes: a task, a decoder, a range, recipes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from data_folders import refused

from int8gate.model_zoo.registry import zoo
from int8gate.model_zoo.user_models.inspection import End, ModelFile
from int8gate.model_zoo.user_models.template import template
from int8gate.model_zoo.user_models.toml_file import read_zoo
from int8gate.tasks.registry import tasks


def found(*outputs, picture=(1, 3, 64, 96), format="onnx", entry: End | None = None) -> ModelFile:
    ends = tuple(End(f"output_{n}", shape, "float32") for n, shape in enumerate(outputs))
    entry = entry or End("image", picture, "float32")
    return ModelFile(format, (entry,), ends, entry.scale is not None)


def proposed(file: ModelFile, name: str = "gadget.onnx") -> dict:
    """The one table, as TOML reads it."""
    (table,) = tomllib.loads(template(Path(name), file))["models"].values()
    return table


OPEN = ""  # a key that is left to choose


@pytest.mark.parametrize(
    ("task", "decode", "outputs"),
    [
        ("classification", None, [(1, 5)]),
        ("classification", None, [(1, 5, 1, 1)]),
        ("segmentation", None, [(1, 4, 64, 96)]),
        ("super_resolution", None, [(1, 3, 128, 192)]),
        ("super_resolution", None, [(1, 128, 192, 3)]),
        ("keypoints", "heatmaps", [(1, 17, 16, 24)]),
        ("keypoints", "movenet", [(1, 1, 17, 3)]),
        ("pose", "movenet", [(1, 6, 17, 3)]),
        ("pose", OPEN, [(1, 17, 16, 24), (1, 34, 16, 24)]),
        ("detection", "corners", [(1, 330, 4), (1, 330, 2)]),
        ("detection", "corners", [(1, 330, 2), (1, 330, 4)]),
        ("detection", "corners", [(1, 330, 1, 4), (1, 330, 80)]),
        ("detection", "tf_detection", [(1, 10, 4), (1, 10), (1, 10), (1,)]),
        ("detection", "ctdet", [(1, 7, 16, 24), (1, 2, 16, 24), (1, 2, 16, 24)]),
        ("detection", OPEN, [(1, 16, 24, 7), (1, 16, 24, 2), (1, 16, 24, 2)]),  # channels last
        ("detection", "detr", [(1, 100, 92), (1, 100, 4)]),
        ("detection", "yolo", [(1, 84, 126)]),  # places of strides 8, 16 and 32
        ("detection", OPEN, [(1, 378, 85)]),  # of three anchors each: YOLOv5
        ("detection", OPEN, [(1, 18, 8, 12), (1, 18, 4, 6)]),  # raw heads
        (OPEN, None, [(1, 5), (1, 5)]),
        (OPEN, None, [(1, 512)]),  # features more often than classes
        (OPEN, None, [(1, 4, 16, 24)]),  # a map of no picture's size
        (OPEN, None, [(1, 3, 64, 96)]),  # a picture, or three classes
        (OPEN, None, [(1, 1, 64, 96)]),  # depth, or a mask
        (OPEN, None, [(1, 17, 64, 96)]),  # 17 classes, or keypoints
        (OPEN, None, [(1, 84, 2100)]),
        (OPEN, None, [(1, 1)]),
        (OPEN, None, [()]),
        (OPEN, None, [(1, None, 64)]),
    ],
    ids=range(29),
)
def test_the_outputs_tell_the_task_or_leave_it_open(task, decode, outputs):
    table = proposed(found(*outputs))
    assert (table["task"], table.get("decode")) == (task, decode)


LINES = [
    ((1, 3, 48, 320), (1, 40, 97)),
    ((1, 32, 100, 1), (1, 26, 37)),
    ((1, 3, 48, None), (1, None, 6625)),
]


@pytest.mark.parametrize(("picture", "output"), LINES, ids=range(3))
def test_steps_along_a_line_are_a_text(picture, output, tmp_path):
    file = found(output, picture=picture)
    table = proposed(file)
    assert (table["task"], table["decode"]) == ("text", "ctc")
    assert (table["classes"], table["blank"]) == (OPEN, OPEN)
    (tmp_path / "gadget.onnx").touch()
    text = template(Path("gadget.onnx"), file)
    assert f'accuracy = "{tasks()["text"].accuracy}"' in text
    (tmp_path / "models.toml").write_text(text)
    refused(lambda: read_zoo(tmp_path / "models.toml"), "still to be chosen", "a file with one a")


def named(*outputs: tuple[str, tuple, str]) -> dict:
    ends = tuple(End(*output) for output in outputs)
    return proposed(ModelFile("onnx", (End("image", (1, 3, 64, 96), "float32"),), ends))


def test_names_tell_what_shapes_do_not():
    pair = [("logits", (1, 300, 92), "float32"), ("pred_boxes", (1, 300, 4), "float32")]
    assert named(*pair)["decode"] == "corners"
    pair[0] = ("pred_logits", *pair[0][1:])
    assert named(*pair)["decode"] == "detr"
    assert named(("class_scores", (1, 512), "float32"))["task"] == "classification"
    assert named(("embedding", (1, 100), "float32"))["task"] == OPEN
    assert named(("detection_boxes:0", (1, 9, 4), "float32"), *pair)["decode"] == OPEN


@pytest.mark.parametrize("shape", [(1, 64, 96), (1, 1, 64, 96), (1, 64, 96, 1)])
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_a_map_of_class_numbers_is_a_segmentation(shape, dtype):
    table = named(("classes", shape, dtype))
    assert (table["task"], table["classes"]) == ("segmentation", OPEN)
    assert named(("classes", (1,), dtype))["task"] == OPEN


def test_no_line_that_may_be_false_stands_without_a_remark(tmp_path):
    """A guess says so, and what is open says what to choose from."""
    (tmp_path / "gadget.onnx").touch()
    for outputs in ([(1, 330, 4), (1, 330, 2)], [(1, 512)], [(1, 5)], [(1, 378, 85)]):
        text = template(Path("gadget.onnx"), found(*outputs))
        settled = ("file", "data", "recipes", "mean", "std", "scale", "[")
        for line in text.splitlines():
            if not line.startswith(("#", *settled)):
                assert "a guess" in line or "choose one of" in line, line
        assert "the next\n# three lines are a guess" in text


@pytest.mark.parametrize(
    ("outputs", "key", "choices"),
    [
        ([(1, 512)], "task", "classification, segmentation"),
        ([(1, 378, 85)], "decode", "corners, ctdet, detr"),
    ],
)
def test_what_is_left_open_is_asked_for(outputs, key, choices, tmp_path):
    (tmp_path / "gadget.onnx").touch()
    (tmp_path / "models.toml").write_text(template(Path("gadget.onnx"), found(*outputs)))
    said = f'{key} = "" is still to be chosen'
    refused(lambda: read_zoo(tmp_path / "models.toml"), "[models.gadget]", said, choices)


def test_the_keys_of_a_head_are_read(tmp_path):
    (tmp_path / "gadget.onnx").touch()
    text = template(Path("gadget.onnx"), found((1, 330, 4), (1, 330, 2)))
    (tmp_path / "models.toml").write_text(text)
    (model,) = read_zoo(tmp_path / "models.toml")
    told = {"box_order": "xyxy", "box_unit": "fraction", "background": "first"}
    assert model.head == told
    for wrong in ("box_order", "background"):
        changed = text.replace(f'{wrong} = "{told[wrong]}"', f'{wrong} = "zyx"')
        (tmp_path / "models.toml").write_text(changed)
        refused(lambda: read_zoo(tmp_path / "models.toml"), wrong, "'zyx'")
    (tmp_path / "models.toml").write_text(text.replace('"corners"', '"detr"'))
    refused(lambda: read_zoo(tmp_path / "models.toml"), 'decode = "corners"', "leave the key out")


def test_one_channel_of_any_size_is_enlarged():
    picture = (None, None, None, 1)
    file = found((None, None, None, 1), picture=picture, format="frozen_graph")
    assert proposed(file)["task"] == "super_resolution"
    several = found((None, None, None, 2), picture=picture, format="keras")
    assert proposed(several)["task"] == "segmentation"


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"),
    [("int8", 1 / 127.5, 0), ("int8", 1 / 255, -128), ("uint8", 1 / 128, 127), ("uint8", 1.0, 0)],
)
def test_the_range_of_a_quantized_input_feeds_bytes_as_they_are(dtype, scale, zero_point, tmp_path):
    entry = End("image", (1, 64, 96, 3), dtype, scale, zero_point)
    text = template(Path("gadget.tflite"), found((1, 5), format="tflite", entry=entry))
    assert f"scale {scale:.9g} and zero point {zero_point}" in text
    (tmp_path / "gadget.tflite").touch()
    (tmp_path / "models.toml").write_text(text)
    (own,) = read_zoo(tmp_path / "models.toml")
    pixels = np.arange(256, dtype=np.uint8)
    stored = np.rint(own.preprocessing.apply(pixels) / scale) + zero_point
    assert np.array_equal(stored, np.arange(256) - (128 if dtype == "int8" else 0))
    assert own.recipes == ("prequantized",)


def test_signed_units_are_about_minus_one_to_one():
    entry = End("image", (1, 64, 96, 3), "int8", 1 / 127.5, 0)
    low, high = proposed(found((1, 5), format="tflite", entry=entry))["range"]
    assert (low, high) == pytest.approx((-1, 1), abs=1 / 127)


@pytest.mark.parametrize("format", ["onnx", "keras", "saved_model"])
def test_bytes_that_the_gate_refuses_are_not_called_pixels_as_they_are(format):
    entry = End("image", (1, 64, 96, 3), "uint8")
    text = template(Path("gadget.onnx"), found((1, 5), format=format, entry=entry))
    assert "export the model without its Cast" in text
    assert "as they are" not in text


def test_other_whole_numbers_are_left_to_say():
    entry = End("image", (1, 64, 96, 3), "int32")
    table = proposed(found((1, 5), format="frozen_graph", entry=entry), "gadget.pb")
    assert table["range"] == OPEN
    assert not {"scale", "mean", "std"} & table.keys()


def test_bytes_of_a_float_graph_have_no_scale():
    entry = End("image", (None, None, None, 3), "uint8")
    table = proposed(found((1, 5), format="frozen_graph", entry=entry), "gadget.pb")
    assert table["recipes"] == ["tflite_int8"]
    assert not {"range", "scale", "mean", "std"} & table.keys()


def test_one_and_four_channels_say_what_makes_them():
    assert '"gray"' in template(Path("a.onnx"), found((1, 5), picture=(1, 1, 64, 96)))
    assert "preprocess" in proposed(found((1, 5), picture=(1, 4, 64, 96)))


def test_a_name_of_the_zoo_is_not_taken():
    for name in zoo():
        tables = tomllib.loads(template(Path(f"{name}.onnx"), found((1, 5))))["models"]
        assert not zoo().keys() & tables.keys()


@pytest.mark.parametrize("name", ['x\n[models.evil]\nfile = "y"\n#', "\x1b[2J", "a" * 10_000])
def test_names_of_a_file_stay_in_their_comment(name):
    entry = End(name, (1, 3, 64, 96), "float32")
    text = template(Path('ga"d\\get.onnx'), found((1, 5), entry=entry))
    (table,) = tomllib.loads(text)["models"].values()
    assert table["file"] == 'ga"d\\get.onnx'
    assert max(map(len, text.splitlines())) < 300
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("task", "inputs", "output"),
    [
        ("classification", [(None, 49, 10)], (None, 12)),
        ("anomaly", [(1, 640)], (1, 640)),
        ("regression", [(1, 12), (1, 1)], (1, 1)),
        ("regression", [(1, 30)], (1,)),
        (OPEN, [(1, 30)], (1, 4, 4)),
    ],
)
def test_a_model_of_arrays_gets_the_names_and_shapes_of_its_file(task, inputs, output):
    ends = [End(f"taken_{n}", shape, "float32") for n, shape in enumerate(inputs)]
    file = ModelFile("onnx", tuple(ends), (End("given", output, "float32"),))
    table = proposed(file)
    assert table["task"] == task
    assert table["data"] == "samples.npz"
    assert not table.keys() & {"scale", "mean", "std", "fit"}, "keys of pictures"
    text = template(Path("gadget.onnx"), file)
    for number, shape in enumerate(inputs):
        sides = ", ".join(map(str, ("n", *shape[1:])))
        assert f"#   taken_{number} ({sides}) float32" in text


@pytest.mark.parametrize(
    ("task", "tokens", "dtype", "output"),
    [
        ("language", (1, 128), "int32", (1, 128, 257)),
        ("language", (None, None), "int64", (None, None, 32000)),
        (OPEN, (1, 128), "int64", (1, 128, 9)),  # a tag for each token
        (OPEN, (1, 128), "float32", (1, 128, 257)),  # values, not tokens
        (OPEN, (1, 128), "int64", (1, 64, 257)),  # another text: a translation
        ("classification", (1, 128), "int64", (1, 257)),
    ],
)
def test_scores_of_a_vocabulary_for_each_token_are_a_language_model(task, tokens, dtype, output):
    entry = End("tokens", tokens, dtype)
    table = proposed(found(output, entry=entry))
    assert table["task"] == task
    if task == "language":
        rule = tasks()["language"].accuracy
        assert rule in template(Path("gadget.onnx"), found(output, entry=entry))
