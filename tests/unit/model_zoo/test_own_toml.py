"""A team's own models in TOML: what is read, and what is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli_w
from data_folders import refused
from hypothesis import given
from hypothesis import strategies as st

from int8gate.calibration_data.preprocessing import PIXELS
from int8gate.model_zoo.user_models.declaration import Qat
from int8gate.model_zoo.user_models.toml_file import NEEDED, read_pyproject, read_zoo
from int8gate.model_zoo.user_models.toml_form import Table
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
        (LEAST + 'expect = "0.99 * float"', "expect: expected a table, found '0.99 * float'"),
        (LEAST + "pad = 256", "pad = 256, expected a pixel value, a whole number 0..255"),
        (LEAST + "channels = false", "channels = False, expected a whole number above 0"),
        (LEAST + "size = 224", "size = 224, expected a list of two whole numbers"),
        (LEAST + 'mean = "0.5"', "mean = '0.5', expected a number, or a list"),
        (LEAST + "range = [0, 1]\nstd = 2.0", "range stands beside std"),
        (LEAST + "range = [-1e308, 1e308]", "range = [-1e+308, 1e+308]: pixels 0..255 cannot"),
        (LEAST + "range = [0, 5e-324]", "range = [0.0, 5e-324]: pixels 0..255 cannot be spread"),
        (LEAST + "scale = 5e-324", "scale = 5e-324: expected a number above 0"),
        (LEAST + "std = 0.0", "above 0"),
        (LEAST + 'classes = ["a", "a"]', "expected a whole number, a list of names, each once, or"),
        (LEAST + 'preprocess = "hooks:prepare"', "preprocess needs range = [low, high]"),
        (LEAST + 'decode = "hooks.py"', "decode = 'hooks.py', expected module:function"),
        (LEAST + "channels = true", "channels = True"),
        (LEAST + 'decode = "ctdet"', "expected module:function for task classification"),
        (
            'file = "gadget.onnx"\ntask = "detection"\ndecode = "ctdt"',
            "module:function or one of corners",
        ),
        ('file = "gadget.onnx"\ntask = "clasification"', "expected one of classification"),
    ],
)
def test_what_is_wrong_is_named(zoo, text, words):
    refused(lambda: zoo(text), "models.toml, [models.gadget]", words)


QAT = 'task = "classification"\n[models.gadget.qat]\n'


def test_a_checkpoint_and_its_function_take_the_place_of_a_file(zoo, tmp_path):
    (tmp_path / "qat.pt").write_bytes(b"tensors")
    (model,) = zoo(QAT + 'network = "nets:prepared"\ncheckpoint = "qat.pt"\n')
    assert model.file == tmp_path / "qat.pt"
    assert model.qat == Qat("nets:prepared", tmp_path / "qat.pt")
    assert model.format == "torch_qat"
    assert model.hooks == {"qat.network": "nets:prepared"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (QAT + 'checkpoint = "gadget.onnx"', "qat: network is missing: add network = "),
        (QAT + 'network = "nets:prepared"', "qat: checkpoint is missing: add checkpoint = "),
        (QAT + 'network = "nets"\ncheckpoint = "gadget.onnx"', "module:function"),
        (QAT + 'network = "n:p"\ncheckpoint = "gadget.onnx"\nnetwrk = 1', "netwrk"),
        (
            'file = "gadget.onnx"\n' + QAT + 'network = "n:p"\ncheckpoint = "gadget.onnx"',
            "file = 'gadget.onnx' stands beside a table qat",
        ),
        (LEAST + "qat = {}", "qat = {}, expected network and checkpoint, or loss"),
        (
            QAT + 'network = "n:p"\ncheckpoint = "gadget.onnx"\nloss = "n:l"',
            "qat: loss is to train a float file with",
        ),
        ('task = "other"\n[models.gadget.qat]\nloss = "n:l"', "file is missing"),
        (LEAST + 'qat = "qat.pt"', "qat: expected a table, found 'qat.pt'"),
    ],
)
def test_what_is_wrong_with_a_qat_table_is_named(zoo, text, words):
    refused(lambda: zoo(text), "models.toml, [models.gadget]", words)


def test_a_loss_stands_beside_a_file(zoo):
    (model,) = zoo(LEAST + '[models.gadget.qat]\nloss = "nets:loss"\n')
    assert model.format == "onnx"
    assert (model.qat, model.train_loss) == (None, "nets:loss")
    assert model.hooks == {"qat.loss": "nets:loss"}


def test_a_checkpoint_that_is_not_there_is_named(zoo):
    with pytest.raises(FileNotFoundError, match=r"qat\.checkpoint: no .*absent\.pt"):
        zoo(QAT + 'network = "n:p"\ncheckpoint = "absent.pt"')


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
        ("[modls.gadget]\n", "unknown modls; did you mean models?"),
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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool]\nint8gate = 3", "[tool.int8gate]: expected a table, found 3"),
        ("[tool.int8gate]\nzoo = 'models.toml'", "zoo = 'models.toml', expected a list of files"),
        ("[tool.int8gate]\nzoo = ['']", "zoo = [''], expected a list of files"),
        ("[tool.int8gate]\nmodel = 1", "unknown model; did you mean models?"),
        ("[tool.int8gate.models]\na = 1", "[tool.int8gate]: models.a: expected a table, found 1"),
    ],
)
def test_settings_that_are_wrong_are_named(tmp_path, text, words):
    settings = tmp_path / "pyproject.toml"
    settings.write_text(text)
    refused(lambda: read_pyproject(settings), f"{settings}, [tool.int8gate]", words)


def test_a_number_that_python_does_not_read_is_of_a_file(tmp_path):
    (tmp_path / "models.toml").write_text(f"x = {'1' * 5000}")
    refused(lambda: read_zoo(tmp_path / "models.toml"), "models.toml is no TOML", "mend it there")


def sentence_of(content: dict, folder: Path) -> str | None:
    """What reading [models.gadget] ends with; None where it is read."""
    (folder / "gadget.onnx").touch()
    path = folder / "models.toml"
    path.write_text(tomli_w.dumps({"models": {"gadget": content}}), encoding="utf-8")
    try:
        read_zoo(path)
    except (ValueError, OSError) as error:
        return str(error).removeprefix(f"{path}, [models.gadget]: ")
    return None


NAMES = st.text(st.characters(codec="utf-8"), max_size=9)
LEAF = st.booleans() | st.integers() | st.floats() | NAMES | st.dates()
KINDS = {  # by the words of JSON Schema; it has none for a date or a time
    "boolean": st.booleans(),
    "integer": st.integers(),
    "number": st.floats(),
    "string": NAMES,
    "array": st.lists(LEAF | st.lists(LEAF, max_size=2), max_size=3),
    "object": st.dictionaries(NAMES, LEAF, max_size=2),
    "date": st.dates() | st.datetimes() | st.times(),
}


def kinds_of(schema: dict) -> set[str]:
    """What a key takes; a whole number stands for any number, a reference for a table."""
    kind = "object" if "$ref" in schema else schema.get("type")
    found = set().union(*map(kinds_of, schema.get("anyOf", [])), {kind})
    return found | ({"integer"} if "number" in found else set())


KINDS_OF_KEYS = {
    key: kinds_of(schema) for key, schema in Table.model_json_schema()["properties"].items()
}


@given(st.data(), st.sampled_from(list(KINDS_OF_KEYS)), st.sampled_from(list(KINDS)))
def test_no_value_is_taken_for_another_kind(tmp_path_factory, data, key, kind):
    """Whatever stands there is read or refused by its name, never a crash; another kind is refused
    before the model is looked for.
    """
    content = {"file": "gadget.onnx", "task": "other"} | {key: data.draw(KINDS[kind])}
    said = sentence_of(content, tmp_path_factory.mktemp("own"))
    if kind not in KINDS_OF_KEYS[key]:
        assert said is not None
        assert said.startswith((f"{key} = ", f"{key}: expected a table, found "))
    if said is not None:
        assert key in said
        assert "\n" not in said


@given(
    st.text(st.characters(codec="utf-8"), max_size=5).filter(lambda key: key not in KINDS_OF_KEYS)
)
def test_a_key_that_is_none_is_named_whatever_it_is(tmp_path_factory, key):
    said = sentence_of({key: 1}, tmp_path_factory.mktemp("own"))
    assert said.startswith(f"unknown {key if key.isprintable() else repr(key)}; ")
    assert "did you mean" in said or "known: file, task, " in said
    assert "\n" not in said


TEXT = NAMES.filter(str.strip)
TEXTS = st.lists(TEXT, min_size=1, max_size=3)
COUNT = st.integers(1, 2**63 - 1)
VALUES = {
    **dict.fromkeys(("labels", "layout", "fit", "interpolation", "colours"), TEXT),
    **dict.fromkeys(("inputs", "outputs", "recipes", "targets"), TEXTS),
    "size": st.lists(COUNT, min_size=2, max_size=2),
    "channels": COUNT,
    "classes": COUNT | st.lists(TEXT, min_size=1, max_size=3, unique=True),
    "crop": st.floats(allow_nan=False, allow_infinity=False),
    "pad": st.integers(0, 255),
    "enlarge": st.booleans(),
    "metric": st.just("hooks:METRIC"),
    "expect": st.dictionaries(NAMES, LEAF.filter(lambda value: value == value), max_size=2),
}


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_what_is_declared_is_what_is_read(tmp_path_factory, given_keys):
    folder = tmp_path_factory.mktemp("own")
    content = {"file": "gadget.onnx", "task": "other", **given_keys}
    assert sentence_of(content, folder) is None
    (model,) = read_zoo(folder / "models.toml")
    assert set(model.keys) == set(content)
    of_fit = ("fit", "interpolation", "colours", "crop", "pad", "enlarge")
    assert model.fit == {
        "kind" if key == "fit" else key: given_keys[key] for key in of_fit if key in given_keys
    }
    if isinstance(classes := given_keys.pop("classes", None), list):
        assert (model.classes, model.class_names) == (len(classes), tuple(classes))
    else:
        assert (model.classes, model.class_names) == (classes, None)
    for key, value in given_keys.items():
        if key not in of_fit:
            assert getattr(model, key) == (tuple(value) if isinstance(value, list) else value)
