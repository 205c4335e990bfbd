"""Preprocessing that a user declares: per channel, by scale, by range."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from data_folders import pixels, refused
from hypothesis import given
from hypothesis import strategies as st

from int8gate.calibration_data.preprocessing import (
    EDGETPU,
    PIXELS,
    SIGNED_UNIT,
    UNIT,
    Preprocessing,
    declared_preprocessing,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of pixels 0..1
levels = st.floats(-300, 300)
deviations = st.floats(0.01, 300)


def per_channel(count: int):
    return st.builds(Preprocessing, st.tuples(*[levels] * count), st.tuples(*[deviations] * count))


def test_the_zoos_constants_compute_what_they_did():
    """Bit for bit: cached samples and trained weights are of this arithmetic."""
    everything = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    for constant in (PIXELS, UNIT, SIGNED_UNIT, EDGETPU):
        before = (everything.astype(np.float32) - constant.mean) / constant.std
        np.testing.assert_array_equal(constant.apply(everything), before.astype(np.float32))
        assert constant.is_uniform
        assert constant.range == (
            -constant.mean / constant.std,
            (255 - constant.mean) / constant.std,
        )
    assert repr(SIGNED_UNIT) == "Preprocessing(mean=127.5, std=127.5)"
    assert PIXELS.is_identity
    assert not UNIT.is_identity


@given(per_channel(3), st.integers(0, 99))
def test_each_channel_has_its_own_numbers(preprocessing, seed):
    image = pixels(seed, (2, 5, 4, 3))
    found = preprocessing.apply(image)
    assert found.dtype == np.float32
    for channel in range(3):
        alone = Preprocessing(preprocessing.mean[channel], preprocessing.std[channel])
        np.testing.assert_array_equal(found[..., channel], alone.apply(image[..., channel]))
        np.testing.assert_allclose(preprocessing.channel_ranges[channel], alone.range)
    low, high = preprocessing.range
    slack = 1e-4 * max(1, abs(low), abs(high))
    assert found.min() >= low - slack
    assert found.max() <= high + slack
    extremes = preprocessing.apply(np.array([[0] * 3, [255] * 3], np.uint8))
    np.testing.assert_allclose([extremes.min(), extremes.max()], [low, high], rtol=1e-4, atol=1e-3)


def test_which_one_scale_can_express():
    assert Preprocessing((1, 1, 1), 2.0).is_uniform
    assert not Preprocessing((1, 2, 1), 2.0).is_uniform
    assert not Preprocessing(0.0, (1, 2, 1)).is_uniform
    assert Preprocessing((0, 0, 0), (1, 1, 1)).is_identity


def test_imagenets_numbers():
    found = declared_preprocessing(MEAN, STD, "1/255")
    image = pixels(7, (6, 5, 3))
    expected = (image / 255 - MEAN) / STD
    np.testing.assert_allclose(found.apply(image), expected, atol=1e-5)
    same = declared_preprocessing(list(MEAN), list(STD), 1 / 255)
    assert same == found
    assert eval(repr(found)) == found, "the name in cache keys says everything"
    assert pickle.loads(pickle.dumps(found)) == found


@given(st.floats(-200, 200), st.floats(0.1, 400))
def test_a_range_is_what_the_extreme_pixels_become(low, width):
    found = declared_preprocessing(value_range=(low, low + width))
    np.testing.assert_allclose(found.range, (low, low + width), rtol=1e-9, atol=1e-9)


def test_usual_declarations_are_the_zoos_constants():
    assert declared_preprocessing() == PIXELS
    assert declared_preprocessing(value_range=(0, 1)) == UNIT
    assert declared_preprocessing(value_range=[-1, 1]) == SIGNED_UNIT
    assert declared_preprocessing(value_range=(0, 255)) == PIXELS
    assert declared_preprocessing(127.5, 127.5) == SIGNED_UNIT
    assert declared_preprocessing(scale="1/255") == UNIT
    assert f"{declared_preprocessing(value_range=(0, 1)).range[0]:g}" == "0"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mean": MEAN, "std": STD}, 'add scale = "1/255"'),
        ({"mean": 0.5, "std": 0.5}, 'add scale = "1/255"'),
        ({"value_range": (0, 1), "scale": 2.0}, "range stands beside scale"),
        ({"value_range": (0, 1), "mean": 1, "std": 2}, "range stands beside mean and std"),
        ({"value_range": (1, 0)}, "range = [1.0, 0.0]"),
        ({"value_range": (0, 1, 2)}, "[low, high]"),
        ({"std": 0}, "std = 0"),
        ({"std": (1, -1)}, "above 0"),
        ({"mean": (1, 2), "std": (1, 2, 3)}, "mean has 2 numbers and std 3"),
        ({"mean": float("nan")}, "mean = nan"),
        ({"mean": "grey"}, "mean = 'grey'"),
        ({"mean": []}, "mean = []"),
        ({"mean": True}, "mean = True"),
        ({"scale": 0}, "scale = 0"),
        ({"scale": "1/0"}, "scale = '1/0'"),
        ({"scale": "much"}, "scale = 'much'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_by_its_key(options, said):
    refused(lambda: declared_preprocessing(**options), said)


def test_pictures_of_other_channels():
    declared = Preprocessing((1, 2, 3), (1, 1, 1))
    refused(lambda: declared.apply(pixels(1, (4, 4, 1))), "3 numbers", "1 channels")
