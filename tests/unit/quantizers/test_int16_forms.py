"""Operators that have no int16 form, written as ones that do: the same function, all integers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_folders import refused
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.model_zoo.registry import zoo
from int8gate.quantizers import stages
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.tflite import convert as tflite
from int8gate.quantizers.toolchains.tflite.collector import close, collect
from int8gate.quantizers.toolchains.tflite.int16_forms import with_int16_forms
from int8gate.runtimes.artifact import TFLITE
from int8gate.runtimes.litert import LiteRTSession
from int8gate.runtimes.tflite_graph import read_graph
from int8gate.runtimes.tflite_integers import float_operators

SIDE = (6, 5)


def save(function, shape: tuple[int, ...], folder: Path) -> Path:
    """A SavedModel of `function` for inputs (1, *shape)."""
    import tensorflow as tf

    module = tf.Module()
    module.serve = tf.function(
        lambda image: {"output": function(image)},
        input_signature=[tf.TensorSpec((1, *shape), tf.float32, name="image")],
    )
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


def float_file(function, shape: tuple[int, ...], folder: Path) -> Path:
    saved = save(function, shape, folder / "saved_model")
    tflite.convert(saved, RECIPES["tflite_fp32"], None, folder)
    return folder / TFLITE


def enlarge(image):
    """ESPCN's shape: tanh, a PReLU, sub-pixels; the weights leave traces of every layer."""
    import tensorflow as tf

    rng = np.random.default_rng(0)

    def convolved(x, out: int):
        kernel = rng.normal(0, 0.5, (3, 3, int(x.shape[-1]), out)).astype(np.float32)
        return tf.nn.conv2d(x, kernel, 1, "SAME") + rng.normal(0, 0.1, out).astype(np.float32)

    x = tf.tanh(convolved(image, 6))
    x = convolved(x, 8)
    slopes = rng.uniform(-0.5, 0.8, (1, 1, 8)).astype(np.float32)
    x = tf.nn.relu(x) + (-slopes) * tf.nn.relu(-x)
    return tf.nn.depth_to_space(convolved(x, 12), 2)


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("enlarge")
    return float_file(enlarge, (*SIDE, 1), folder)


def operators(path: Path) -> set[str]:
    return {operator.opcode for operator in read_graph(path).operators}


def test_the_forms_compute_the_same(network, tmp_path):
    assert {"PRELU", "DEPTH_TO_SPACE"} <= operators(network)
    written = tmp_path / TFLITE
    written.write_bytes(with_int16_forms(network.read_bytes()))
    assert not {"PRELU", "DEPTH_TO_SPACE"} & operators(written)
    images = np.random.default_rng(1).normal(size=(5, *SIDE, 1)).astype(np.float32)
    (expected,), (found,) = (LiteRTSession(path).predict(images) for path in (network, written))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=6, deadline=None)
@given(st.integers(2, 3), st.integers(1, 3), st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_pixels_are_laid_out_as_depth_to_space_does(tmp_path_factory, block, channels, side):
    import tensorflow as tf

    def shuffled(image):
        return tf.nn.depth_to_space(image, block) * 2.0

    shape = (*side, block * block * channels)
    path = float_file(shuffled, shape, tmp_path_factory.mktemp("shuffled"))
    assert "DEPTH_TO_SPACE" in operators(path)
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    (expected,) = LiteRTSession(path).predict(image)
    path.write_bytes(with_int16_forms(path.read_bytes()))
    assert "DEPTH_TO_SPACE" not in operators(path)
    np.testing.assert_array_equal(LiteRTSession(path).predict(image)[0], expected)


def test_a_model_without_them_keeps_its_bytes(tmp_path):
    import tensorflow as tf

    path = float_file(lambda image: tf.nn.relu(image) * 2.0, (4, 4, 3), tmp_path)
    assert with_int16_forms(path.read_bytes()) == path.read_bytes()


@pytest.mark.parametrize("source", ["saved_model", TFLITE])
def test_int16x8_takes_them_and_computes_in_integers(source, network, tmp_path):
    images = np.random.default_rng(1).uniform(0, 1, (20, *SIDE, 1)).astype(np.float32)
    np.save(tmp_path / "samples.npy", images)
    recipe, samples = RECIPES["tflite_int16x8"], tmp_path / "samples.npy"
    tflite.convert(network.parent / source, recipe, samples, tmp_path)
    assert not float_operators(read_graph(tmp_path / TFLITE))
    session = LiteRTSession(tmp_path / TFLITE)
    assert [spec.dtype for spec in session.inputs + session.outputs] == ["int16", "int16"]
    (expected,), (found,) = (
        LiteRTSession(path).predict(images) for path in (network, tmp_path / TFLITE)
    )
    assert np.square(expected).mean() > 1000 * np.square(found - expected).mean()


def test_single_operators_of_an_8_bit_file_take_the_forms_too(network, tmp_path):
    """A PReLU and the sub-pixels behind it have 16 bits, the rest has 8."""
    images = np.random.default_rng(1).uniform(0, 1, (20, *SIDE, 1)).astype(np.float32)
    np.save(tmp_path / "samples.npy", images)
    found = collect(network, tmp_path / "samples.npy")
    close()
    ranges = {name: (float(each.minimum), float(each.maximum)) for name, each in found.items()}
    wide = [o.outputs[0].name for o in read_graph(network).operators if o.opcode != "TANH"][1:]
    chosen = RECIPES["tflite_int8"].with_widths("mixed", {"int16": wide})
    tflite.quantize(network, chosen, ranges, None, tmp_path)
    graph = read_graph(tmp_path / TFLITE)
    assert not float_operators(graph)
    assert not {"PRELU", "DEPTH_TO_SPACE"} & operators(tmp_path / TFLITE)
    assert {o.dtype for o in graph.operators if o.opcode in ("RELU", "MUL")} == {"int16"}
    plain = tmp_path / "plain"
    plain.mkdir()
    tflite.quantize(network, RECIPES["tflite_int8"], ranges, None, plain)
    real, mixed, narrow = (
        LiteRTSession(path).predict(images)[0]
        for path in (network, tmp_path / TFLITE, plain / TFLITE)
    )
    assert np.square(real - mixed).mean() < np.square(real - narrow).mean()


@pytest.mark.parametrize("name", ["tflite_fp16", "tflite_dynamic_int8"])
def test_a_float_file_is_refused_by_recipes_that_start_from_tensorflow(name):
    spec = replace(zoo()["fsrcnn"], name="gadget", source_format="tflite", own=object())
    stages.check_route(spec, RECIPES["tflite_int16x8"])
    stages.check_route(spec, RECIPES["tflite_int8"])
    refused(lambda: stages.check_route(spec, RECIPES[name]), "gadget", "float .tflite", name)
