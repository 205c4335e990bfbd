"""A team's own models in TOML: what is read, and what is refused in a sentence."""

from __future__ import annotations

import pytest
from data_folders import refused
from hypothesis import given
from hypothesis import strategies as st

from int8gate.calibration_data.preprocessing import PIXELS
from int8gate.model_zoo.user_models.toml_file import KEYS, NEEDED, read_pyproject, read_zoo
from int8gate.tasks.registry import tasks

LEAST = 'file = "gadget.onnx"\ntask = "classification"\n'


@pytest.fixture
def zoo(tmp_path):
    """Writes a TOML beside a model file and reads it."""
    (tmp_path / "gadget.onnx").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "saved_model.pb").touch()

    def read(text: str, head: str = "[models.gadget]\n"):
        path = tmp_path / "models.toml"
        path.write_text(head + text)
        return read_zoo(path)

    return read


def test_two_lines_are_enough(zoo, tmp_path):
    (model,) = zoo(LEAST)
    assert (model.name, model.task, model.format) == ("gadget", "classification", "onnx")
    assert model.file == tmp_path / "gadget.onnx"
    assert model.preprocessing == PIXELS
    assert model.data is None
    assert model.size is None


def test_every_key_is_read(zoo, tmp_path):
    (model,) = zoo(
        LEAST
        + """data = "pictures"
labels = "csv"
size = [64, 48]
channels = 3
classes = ["cat", "dog"]
layout = "nchw"
fit = "crop"
crop = 0.875
interpolation = "bicubic"
colours = "bgr"
pad = 114
scale = "1/255"
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
decode = "hooks:decode"
metric = "hooks:METRIC"
inputs = ["image:0"]
outputs = ["scores:0"]
recipes = ["onnx_int8", "onnx_int8_mse"]
targets = ["host_cpu"]
expect = { accuracy = "0.97 * float" }
"""
    )
    assert model.data == tmp_path / "pictures"
    assert model.size == (64, 48)
    assert (model.classes, model.class_names) == (2, ("cat", "dog"))
    assert model.fit == {
        "kind": "crop",
        "crop": 0.875,
        "interpolation": "bicubic",
        "colours": "bgr",
        "pad": 114,
    }
    assert model.preprocessing.mean[0] == pytest.approx(0.485 * 255)
    assert model.preprocessing.std[2] == pytest.approx(0.225 * 255)
    assert model.recipes == ("onnx_int8", "onnx_int8_mse")
    assert model.targets == ("host_cpu",)
    assert (model.inputs, model.outputs) == (("image:0",), ("scores:0",))
    assert (model.decode, model.metric) == ("hooks:decode", "hooks:METRIC")
    assert model.expect == {"accuracy": "0.97 * float"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "file is missing"),
        ('file = "gadget.onnx"', "task is missing"),
        ('file = "models.toml"\ntask = "other"', "of no kind that is read"),
        (LEAST + 'recipe = ["onnx_int8"]', "did you mean recipes"),
        (LEAST + "size = 224", "size = 224: expected a list of two numbers"),
        (LEAST + 'mean = "0.5"', "expected a number, or a list"),
        (LEAST + "range = [0, 1]\nstd = 2.0", "range stands beside std"),
        (LEAST + "std = 0.0", "above 0"),
        (LEAST + 'classes = ["a", "a"]', "expected a whole number, a list of names, or"),
        (LEAST + 'preprocess = "hooks:prepare"', "preprocess needs range = [low, high]"),
        (LEAST + 'decode = "hooks.py"', "expected text module:function"),
        (LEAST + "channels = true", "channels = True"),
        (LEAST + 'decode = "ctdet"', "expected, of task classification, module:function"),
        (
            'file = "gadget.onnx"\ntask = "detection"\ndecode = "ctdt"',
            "of task detection, corners",
        ),
        ('file = "gadget.onnx"\ntask = "clasification"', "expected one of classification"),
    ],
)
def test_what_is_wrong_is_named(zoo, text, words):
    refused(lambda: zoo(text), "models.toml, [models.gadget]", words)


@pytest.mark.parametrize("task", [name for name, task in tasks().items() if task.heads])
def test_known_heads_stand_by_their_name(zoo, task):
    for name in tasks()[task].heads:
        lines = f'file = "gadget.onnx"\ntask = "{task}"\ndecode = "{name}"\n'
        (model,) = zoo(lines + 'classes = ["a"]\nblank = "first"\n' * (name in NEEDED))
        assert model.decode == name
        assert model.hooks == {}


def test_hooks_are_listed_by_their_keys(zoo):
    text = LEAST + 'decode = "heads:decode"\npreprocess = "heads:prepare"\nrange = [0, 1]\n'
    (model,) = zoo(text)
    assert model.hooks == {"decode": "heads:decode", "preprocess": "heads:prepare"}


@pytest.mark.parametrize("name", ["2nd", "a-b", '"a b"', '"../x"'])
def test_a_name_that_is_none_is_refused(zoo, name):
    refused(lambda: zoo(LEAST, f"[models.{name}]\n"), "a name has letters")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("[modls.gadget]\n", "unknown key modls"),
        ("[models\n", "no TOML"),
        ("models = 3\n", "models"),
    ],
)
def test_what_is_no_table_is_refused(zoo, head, words):
    refused(lambda: zoo("", head), "models.toml", words)


def test_a_file_that_is_not_there_is_named(zoo):
    with pytest.raises(
        FileNotFoundError, match=r"\[models.gadget\]: file: no .*gadgt.onnx, did you"
    ):
        zoo('file = "gadgt.onnx"\ntask = "other"')


def test_a_saved_model_is_a_folder(zoo):
    (model,) = zoo('file = "folder"\ntask = "other"')
    assert model.format == "saved_model"


def test_a_pyproject_holds_tables_or_names_files(zoo, tmp_path):
    zoo(LEAST)
    settings = tmp_path / "pyproject.toml"
    settings.write_text(
        '[project]\nname = "x"\n[tool.int8gate]\nzoo = ["models.toml"]\n'
        '[tool.int8gate.models.other_one]\nfile = "folder"\ntask = "other"\n'
    )
    assert [model.name for model in read_pyproject(settings)] == ["gadget", "other_one"]
    settings.write_text("[project]\nname = 'x'\n")
    assert read_pyproject(settings) == []


def sentence_of(path) -> str | None:
    """What reading the file ends with; None where it is read."""
    try:
        read_zoo(path)
    except (ValueError, OSError) as error:
        return str(error)
    return None


@given(st.sampled_from(sorted(KEYS)), st.sampled_from(["{}", "[[]]", "1979-05-27", "nan", "''"]))
def test_no_value_is_taken_for_another_kind(tmp_path_factory, key, value):
    """Whatever stands there, it is read or refused by its name, never a crash."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "gadget.onnx").touch()
    lines = {"file": '"gadget.onnx"', "task": '"other"'} | {key: value}
    text = "".join(f"{name} = {told}\n" for name, told in lines.items())
    (folder / "models.toml").write_text(f"[models.gadget]\n{text}")
    said = sentence_of(folder / "models.toml")
    assert said is None or f"{key} = " in said or f"{key}: " in said
