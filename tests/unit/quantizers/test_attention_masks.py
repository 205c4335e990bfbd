"""A mask of attention weighs nothing in integers, and takes no range from the scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.tflite.attention_masks import MARGIN, _near, with_near_masks
from int8gate.quantizers.toolchains.tflite.convert import quantize
from int8gate.quantizers.toolchains.tflite.ranges import activations
from int8gate.runtimes.artifact import TFLITE
from int8gate.runtimes.litert import LiteRTSession

SIDE = 8


def softmax(values: np.ndarray) -> np.ndarray:
    raised = np.exp(values - values.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


@given(st.floats(-30, 0), st.floats(0, 30), st.floats(-5, 5), st.sampled_from([-1e4, -1e9, -3e38]))
def test_a_nearer_mask_weighs_as_little(low, high, bias, deep):
    """Whatever the scores between low and high: no weight changes by more than the margin's."""
    mask = np.where(np.tri(SIDE) > 0, bias, deep).astype(np.float32)
    near, least = _near(mask.reshape(-1), low, high)
    scores = np.random.default_rng(0).uniform(low, high, (SIDE, SIDE))
    found = softmax(np.maximum(scores + near.reshape(SIDE, SIDE), least))
    expected = softmax(scores + mask.astype(np.float64))
    assert np.abs(found - expected).max() < SIDE * np.exp(-MARGIN)
    assert near.min() >= least - high - 1e-3


@pytest.mark.parametrize("mask", [[0.0, 1.0, -3.0], [-1e9, -1e9, -1e9]])
def test_a_bias_is_no_mask(mask):
    assert _near(np.array(mask, np.float32), -4.0, 4.0) is None


@pytest.fixture(scope="module", params=[-1.0, -1e9])
def masked(request, tmp_path_factory):
    """A float file of a softmax over scores with that mask above the diagonal."""
    import tensorflow as tf

    mask = tf.constant(np.where(np.tri(SIDE) > 0, 0, request.param), tf.float32)
    taken = tf.TensorSpec((1, SIDE, SIDE), tf.float32)
    function = tf.function(lambda x: tf.nn.softmax(x * 2.0 + mask), input_signature=[taken])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    path = tmp_path_factory.mktemp("mask") / TFLITE
    path.write_bytes(converter.convert())
    return request.param, path


def test_scores_keep_their_steps(masked, tmp_path):
    deep, path = masked
    model = path.read_bytes()
    scores = np.random.default_rng(0).uniform(-2, 2, (20, SIDE, SIDE)).astype(np.float32)
    taken, multiplied, added, given = activations(model)
    ranges = {taken: (-2.0, 2.0), multiplied: (-4.0, 4.0), added: (-4.0 + deep, 4.0)}
    ranges[given] = (0.0, 1.0)
    same, changed = with_near_masks(model, ranges)
    if deep == -1:
        assert (same, changed) == (model, ranges)
    else:
        assert changed == ranges | {added: (-4.0 - MARGIN, 4.0)}
    quantize(path, RECIPES["tflite_int8"], ranges, (-2.0, 2.0), tmp_path)
    real, found = (LiteRTSession(p).predict(scores)[0] for p in (path, tmp_path / TFLITE))
    assert np.abs(real - found).max() < 0.05
