"""`Session`: one set of checks for every runtime, arrays by position and by name."""

from __future__ import annotations

import numpy as np
import pytest
from data_folders import refused
from onnx_files import cnn as onnx_cnn
from onnx_files import save
from tiny_models import write_all

from int8gate.runtimes.artifact import TensorSpec
from int8gate.runtimes.session import UNKNOWN, Session
from int8gate.runtimes.sessions import open_session

LEFT, RIGHT = TensorSpec("left", (1, 2), "float32"), TensorSpec("right", (1, 2), "int8", 0.5, 1)


class Difference(Session):
    """A runtime of a few lines: left - right and their product, in reals."""

    def __init__(self, inputs=(LEFT, RIGHT)):
        outputs = [TensorSpec(name, (1, 2), "float32") for name in ("difference", "product")]
        super().__init__("difference.bin", inputs, outputs)
        self._set = {}

    def set_input(self, position, value):
        self._set[position] = value

    def invoke(self):
        left, right = (self.inputs[n].dequantize(self._set[n]) for n in (0, 1))
        self._results = [left - right, left * right]

    def get_outputs(self):
        return self._results


BATCHES = {"right": np.array([[1, 2], [3, -4], [0, 0.5]]), "left": np.arange(6.0).reshape(3, 2)}


def test_a_runtime_of_three_methods_quantizes_and_goes_by_names():
    found = Difference().predict_named(BATCHES)
    assert list(found) == ["difference", "product"]
    np.testing.assert_array_equal(found["difference"], BATCHES["left"] - BATCHES["right"])
    by_position = Difference().predict(BATCHES["left"], BATCHES["right"])
    np.testing.assert_array_equal(by_position[1], found["product"])


def test_other_names_are_refused():
    session = Difference()
    refused(lambda: session.predict_named({"left": BATCHES["left"]}), "left, right", "got left")
    refused(lambda: session.predict_named(BATCHES | {"x": 0}), "got right, left, x")
    same = Difference((LEFT, LEFT))
    refused(lambda: same.predict_named({"left": BATCHES["left"]}), "inputs of one name")


def test_an_open_side_takes_any_length_and_another_rank_is_refused():
    free = TensorSpec("left", (1, UNKNOWN), "float32")
    session = Difference((free, free))
    one = np.ones((1, 5), np.float32)
    np.testing.assert_array_equal(session.run([one, one])[0], np.zeros((1, 5)))
    refused(lambda: session.run([one, one[0]]), "difference.bin", "got (5,)")


@pytest.mark.parametrize("kind", ["tflite", "onnx", "pt2", "saved_model"])
def test_every_runtime_checks_alike(kind, tmp_path):
    session = open_session(FILES[kind](tmp_path))
    (spec,) = session.inputs
    value = np.random.default_rng(0).random(spec.shape).astype(spec.dtype)
    stored = session.run([value])
    (named,) = session.predict_named({spec.name: value}).values()
    np.testing.assert_array_equal(named, stored[0])
    assert session.outputs[0].shape == stored[0].shape
    refused(lambda: session.run([value.astype("float16")]), "got float16", kind=TypeError)
    refused(lambda: session.run([value[..., :1]]), "takes shape")
    refused(lambda: session.predict(value, value), "takes 1 inputs, got 2")


def _saved_model(folder):
    import tensorflow as tf

    module = tf.Module()
    taken = tf.TensorSpec((1, 4, 4, 3), tf.float32, name="image")
    module.serve = tf.function(lambda image: {"sum": image + 1.0}, input_signature=[taken])
    tf.saved_model.save(module, str(folder / "saved"), {"serving_default": module.serve})
    return folder / "saved"


def _program(folder):
    import torch

    program = torch.export.export(torch.nn.ReLU().eval(), (torch.zeros(1, 3, 4, 4),))
    torch.export.save(program, folder / "model.pt2")
    return folder / "model.pt2"


FILES = {
    "tflite": lambda folder: write_all(folder)["fp32"],
    "onnx": lambda folder: save(onnx_cnn(), folder / "model.onnx"),
    "pt2": _program,
    "saved_model": _saved_model,
}
