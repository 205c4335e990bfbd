"""What a calibration set is refused for, and the preprocessing that its samples go through."""

from __future__ import annotations

import numpy as np
import pytest
from data_folders import refused
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from int8gate import calibration_data
from int8gate.calibration_data.preprocessing import PIXELS, SIGNED_UNIT, UNIT, Preprocessing
from int8gate.calibration_data.sample_set import MINIMUM_SAMPLES, check_calibration

SHAPE = (8, 8, 3)
DECLARED = [PIXELS, UNIT, SIGNED_UNIT]
preprocessings = st.builds(Preprocessing, st.floats(-255, 255), st.floats(0.5, 255))


def samples(preprocessing: Preprocessing = UNIT, count: int = 100) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (count, *SHAPE), np.uint8)
    return preprocessing.apply(pixels)


def check(batch: np.ndarray, preprocessing: Preprocessing = UNIT, **options) -> None:
    check_calibration(batch, "NAME", options.pop("shape", SHAPE), preprocessing.range, **options)


@pytest.mark.parametrize("preprocessing", DECLARED, ids=["pixels", "unit", "signed_unit"])
def test_clean_samples_pass(preprocessing):
    check(samples(preprocessing), preprocessing)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_the_scenes_pass(task):
    drawn = calibration_data.load(task, "calibration", (32, 32), 1)
    images, _ = next(drawn.batches(100))
    for preprocessing in DECLARED:
        check(preprocessing.apply(images), preprocessing, shape=(32, 32, 1))


@pytest.mark.parametrize("value", [-np.inf, np.inf, np.nan], ids=str)
@pytest.mark.parametrize("place", [0, 57, 99])
def test_values_that_are_not_finite(value, place):
    """One -inf in the samples segfaults TensorFlow's converter (tensorflow issue 120295)."""
    batch = samples()
    batch[place, 3, 2, 1] = value
    refused(
        lambda: check(batch), f"sample {place} holds {value}", "1 of 100", "not finite", "remove"
    )


def test_every_sample_that_is_not_finite_is_counted():
    batch = samples()
    batch[[20, 30, 40]] = np.nan
    refused(lambda: check(batch), "sample 20", "3 of 100")


def test_too_few_samples_and_the_override():
    assert MINIMUM_SAMPLES == 100
    batch = samples(count=99)
    refused(
        lambda: check(batch),
        *("NAME has 99 samples", "at least 100", "--min-calibration-samples 99"),
    )
    check(batch, minimum=99)
    refused(lambda: check(batch, minimum=200), "at least 200")
    for minimum in (0, 100):
        refused(lambda m=minimum: check(batch[:0], minimum=m), "0 samples")


@pytest.mark.parametrize("shape", [(8, 9, 3), (8, 8, 1), (3, 8, 8), (8, 8)], ids=str)
def test_samples_of_another_shape(shape):
    batch = np.random.default_rng(0).random((100, *shape), np.float32)
    refused(lambda: check(batch), f"NAME has samples of shape {shape}", f"takes {SHAPE}", "resize")


@pytest.mark.parametrize(
    ("given", "declared"),
    [(PIXELS, UNIT), (PIXELS, SIGNED_UNIT), (SIGNED_UNIT, UNIT)],
    ids=["pixels_as_unit", "pixels_as_signed", "signed_as_unit"],
)
def test_samples_of_another_preprocessing(given, declared):
    low, high = declared.range
    refused(
        lambda: check(samples(given), declared),
        *("NAME spans", f"gives {low:g}..{high:g}", "not preprocessed as inference"),
    )


def test_samples_preprocessed_twice():
    """0..1 where 0..255 is declared lies within the range, and calibrates it to nothing."""
    refused(lambda: check(samples(UNIT), PIXELS), "spans only 0..1 of the 0..255", "twice")
    refused(lambda: check(samples(SIGNED_UNIT), PIXELS), "spans only -1..1 of the 0..255", "twice")
    refused(lambda: check(SIGNED_UNIT.apply(samples(UNIT)), SIGNED_UNIT), "spans only", "twice")


def test_constant_samples():
    for value in (0.0, 0.5, 1.0):
        batch = np.full((100, *SHAPE), value, np.float32)
        refused(lambda b=batch: check(b), f"spans only {value:g}..{value:g}", "constant")


def test_rounding_beyond_the_range_is_no_fault():
    batch = samples()
    batch[0, 0, 0] = -0.005, 1.005, 0.5
    check(batch)


@given(preprocessings)
def test_range_is_what_the_extreme_pixels_become(preprocessing):
    low, high = preprocessing.range
    found = preprocessing.apply(np.array([0, 255], np.uint8))
    np.testing.assert_allclose(found, [low, high], rtol=1e-5, atol=1e-5)
    assert found.dtype == np.float32


@given(preprocessings, arrays(np.uint8, (2, 3, 4, 1)))
def test_every_pixel_stays_in_the_range_and_comes_back(preprocessing, pixels):
    before = pixels.copy()
    found = preprocessing.apply(pixels)
    assert found.shape == pixels.shape
    assert found.dtype == np.float32
    low, high = preprocessing.range
    slack = 1e-5 * max(1, abs(low), abs(high))
    assert found.min() >= low - slack
    assert found.max() <= high + slack
    back = np.rint(found.astype(np.float64) * preprocessing.std + preprocessing.mean)
    np.testing.assert_array_equal(back, pixels)
    np.testing.assert_array_equal(pixels, before)


def test_the_three_preprocessings_by_their_numbers():
    pixels = np.array([0, 51, 255], np.uint8)
    np.testing.assert_array_equal(PIXELS.apply(pixels), [0, 51, 255])
    np.testing.assert_allclose(UNIT.apply(pixels), [0, 0.2, 1], rtol=1e-6)
    np.testing.assert_allclose(SIGNED_UNIT.apply(pixels), [-1, -0.6, 1], rtol=1e-6)
    assert (PIXELS.range, UNIT.range, SIGNED_UNIT.range) == ((0, 255), (0, 1), (-1, 1))
    assert f"{UNIT.range[0]:g}" == "0", "people read it: no negative zero"
