"""The `.tflite` that is made of a model has the names of the model, in the order of its outputs."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models

from int8gate.model_zoo.user_models.declaration import OwnModel
from int8gate.model_zoo.user_models.inspection import inspect
from int8gate.model_zoo.user_models.resolve import resolve
from int8gate.model_zoo.weights import Weights
from int8gate.quantizers.network_export import export_keras
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.tflite.convert import convert, to_tflite
from int8gate.quantizers.toolchains.tflite.tensor_names import name_ends, named
from int8gate.runtimes.artifact import TFLITE
from int8gate.runtimes.litert import LiteRTSession

PICTURES = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (("boxes", "scores"), ["boxes", "scores"]),
        (("scores", "boxes"), ["output_0", "output_1"]),  # a session would sort them wrongly
    ],
)
def test_outputs_are_called_as_in_the_source(names, keys, tmp_path):
    import keras
    from ai_edge_litert.interpreter import Interpreter

    picture = keras.Input((8, 8, 3), name="picture")
    flat = keras.layers.Flatten()(picture)
    heads = [keras.layers.Dense(2 + n, name=name)(flat) for n, name in enumerate(names)]
    model, file = keras.Model(picture, heads), tmp_path / "heads.keras"
    model.save(file)
    found = inspect(file, "keras")
    spec = resolve(OwnModel("gadget", file, "models.toml", "other"), found)
    export_keras(spec, "compact", Weights("own", file), 0, tmp_path)
    expected = [np.asarray(output) for output in model(PICTURES)]
    for recipe in ("tflite_fp32", "tflite_fp16"):
        folder, after = tmp_path / recipe, tmp_path / f"{recipe}_named"
        folder.mkdir(), after.mkdir()
        if recipe == "tflite_fp32":
            to_tflite(tmp_path, folder)
        else:
            convert(tmp_path / "saved_model", RECIPES[recipe], None, folder)
        told = [[end.name for end in ends] for ends in (found.inputs, found.outputs)]
        described = name_ends(folder / TFLITE, *told, after)
        assert [end["name"] for end in described["outputs"]] == list(names)
        assert [end["name"] for end in described["inputs"]] == ["picture"]
        answers = LiteRTSession(after / TFLITE).predict(PICTURES)
        for answer, wanted in zip(answers, expected, strict=True):
            np.testing.assert_allclose(answer, wanted, rtol=1e-2, atol=1e-2)
        (signature,) = Interpreter(str(after / TFLITE)).get_signature_list().values()
        assert sorted(signature["outputs"]) == keys


@pytest.mark.parametrize("names", [("scores",), ("a", "b"), ()])
def test_a_file_without_a_signature_is_named_and_names_must_be_as_many(names, tmp_path):
    files = tiny_models.write_all(tmp_path)
    inner = LiteRTSession(files["int8"]).outputs[0].name
    (tmp_path / TFLITE).write_bytes(named(files["int8"].read_bytes(), ("image",), names))
    session = LiteRTSession(tmp_path / TFLITE)
    assert session.inputs[0].name == "image"
    assert session.outputs[0].name == ("scores" if len(names) == 1 else inner)
    pictures = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    before = LiteRTSession(files["int8"]).predict(pictures)
    assert np.array_equal(session.predict(pictures)[0], before[0])


def test_another_tensor_of_that_name_is_told_apart(tmp_path):
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    content = tiny_models.write_all(tmp_path)["fp32"].read_bytes()
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))
    whole.subgraphs[0].tensors[1].name = b"scores"
    builder = flatbuffers.Builder(len(content))
    builder.Finish(whole.Pack(builder), file_identifier=b"TFL3")
    found = named(bytes(builder.Output()), ("image",), ("scores",))
    tensors = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(found), 0)).subgraphs[0]
    assert [tensor.name for tensor in tensors.tensors].count(b"scores") == 1
