"""What a quantized input gets of every pixel: the level that the code on a device feeds.

The expected levels are computed in exact fractions, from the numbers that a declaration gives.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from data_folders import refused
from hypothesis import example, given
from hypothesis import strategies as st

from int8gate.calibration_data.preprocessing import (
    EDGETPU,
    PIXELS,
    SIGNED_UNIT,
    UNIT,
    Preprocessing,
)
from int8gate.runtimes.artifact import SAME, TensorSpec

BYTES = np.arange(256, dtype=np.uint8)
LEAST = {"int8": -128, "uint8": 0}
IMAGENET = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
GREY_IMAGENET = Preprocessing(0.449 * 255, 0.226 * 255)
CAFFE_BGR = Preprocessing((103.939, 116.779, 123.68), 1.0)
USUAL = {
    "0..255": PIXELS,
    "0..1": UNIT,
    "-1..1": SIGNED_UNIT,
    "(p - 127) / 128": EDGETPU,
    "one mean of ImageNet": GREY_IMAGENET,
    "ImageNet's means": IMAGENET,
    "Caffe's means": CAFFE_BGR,
}
EXACT = {  # means and deviations as they are written, not as a float holds them
    "one mean of ImageNet": [("114.495", "57.63")],
    "ImageNet's means": [("123.675", "58.395"), ("116.28", "57.12"), ("103.53", "57.375")],
    "Caffe's means": [("103.939", "1"), ("116.779", "1"), ("123.68", "1")],
}


def reals(name: str) -> list[list[Fraction]]:
    """What each pixel 0..255 becomes in each channel."""
    declared = USUAL[name]
    pairs = EXACT.get(name, [(declared.mean, declared.std)])
    return [[(p - Fraction(mean)) / Fraction(std) for p in range(256)] for mean, std in pairs]


def quantization(name: str, dtype: str) -> tuple[Fraction, int]:
    """Scale and zero point that a converter gives the range; a half goes away from zero."""
    values = [value for channel in reals(name) for value in channel]
    low, high = min(*values, Fraction(0)), max(*values, Fraction(0))
    if dtype == "int16":
        return max(-low, high) / 32767, 0
    scale = (high - low) / 255
    zero_point = LEAST[dtype] - low / scale
    return scale, int(math.copysign(math.floor(abs(zero_point) + Fraction(1, 2)), zero_point))


def spec_of(scale, zero_point: int, dtype: str) -> TensorSpec:
    return TensorSpec("image", (1,), dtype, float(np.float32(scale)), zero_point)


def every_pixel(preprocessing: Preprocessing) -> np.ndarray:
    """Each of 256 pixels in each channel, (256, channels), as a network takes them."""
    return preprocessing.apply(np.repeat(BYTES[:, None], preprocessing.channels or 1, axis=1))


def possible(level: Fraction) -> set[int]:
    """The nearest whole number, of two the upper one; both where float32 cannot tell them apart."""
    from_half = abs(level - math.floor(level) - Fraction(1, 2))
    if 0 < from_half <= 2 * abs(level) * Fraction(SAME):
        return {math.floor(level), math.floor(level) + 1}
    return {math.floor(level + Fraction(1, 2))}


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("name", USUAL)
def test_every_pixel_of_the_usual_ranges_gets_its_nearest_level(name, dtype):
    scale, zero_point = quantization(name, dtype)
    limits = np.iinfo(dtype)
    found = spec_of(scale, zero_point, dtype).quantize(every_pixel(USUAL[name]))
    assert found.dtype == dtype
    ambiguous = 0
    for channel, stored in zip(reals(name), found.T.tolist(), strict=True):
        for real, level in zip(channel, stored, strict=True):
            expected = possible(real / scale)
            ambiguous += len(expected) - 1
            assert level in {min(max(e + zero_point, limits.min), limits.max) for e in expected}
    assert ambiguous <= (20 if dtype == "int16" else 0)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("name", ["0..255", "0..1", "-1..1"])
def test_a_device_feeds_pixels_as_they_are_or_minus_128(name, dtype):
    preprocessing = USUAL[name]
    spec = spec_of(*quantization(name, dtype), dtype)
    fed = spec.quantize(every_pixel(preprocessing), preprocessing.uniform_range)
    assert fed.ravel().tolist() == (BYTES.astype(int) + LEAST[dtype]).tolist()


@given(
    st.sampled_from(["int8", "uint8"]),
    st.one_of(st.floats(0, 255), st.integers(0, 510).map(lambda twice: twice / 2)),
    st.floats(1e-3, 1e3),
    st.sampled_from([math.floor, math.ceil]),
)
@example("int8", 127.5, 127.5, math.floor)
@example("uint8", 127.5, 127.5, math.ceil)
def test_where_pixels_are_levels_each_gets_its_own(dtype, mean, std, rounded):
    """Whichever way a zero point halfway between two was rounded."""
    preprocessing = Preprocessing(mean, std)
    place = Fraction(mean) + LEAST[dtype]
    halfway = abs(place - math.floor(place) - Fraction(1, 2)) < Fraction(1, 10**6)
    zero_point = rounded(place) if halfway else round(place)
    spec = spec_of(Fraction(1) / Fraction(std), zero_point, dtype)
    fed = spec.quantize(every_pixel(preprocessing), preprocessing.uniform_range)
    assert fed.ravel().tolist() == (BYTES.astype(int) + LEAST[dtype]).tolist()


@given(
    st.sampled_from(["int8", "uint8", "int16"]),
    st.floats(1e-6, 1e4),
    st.integers(-300, 300),
    st.booleans(),
)
def test_halves_go_up_in_float32_too(dtype, scale, level, is_float32):
    spec = spec_of(np.float32(scale), 0 if dtype != "uint8" else 128, dtype)
    real = (level + 0.5) * spec.scale
    stored = spec.quantize(np.array([np.float32(real) if is_float32 else real]))
    limits = np.iinfo(dtype)
    assert stored == np.clip(level + 1 + spec.zero_point, limits.min, limits.max)


def test_a_range_of_other_levels_rounds_as_any_value():
    """Pixels of 0..1 in a tensor that calibration gave 0..0.9: no byte is its level."""
    spec = spec_of(Fraction(9, 10) / 255, -128, "int8")
    real = every_pixel(UNIT)
    np.testing.assert_array_equal(spec.quantize(real, UNIT.uniform_range), spec.quantize(real))
    assert spec.quantize(real).max() == 127


@given(st.sampled_from(["uint8", "int8", "int32", "int64"]), st.integers(0, 127))
def test_an_integer_input_without_a_scale_takes_whole_numbers(dtype, whole):
    spec = TensorSpec("ids", (1,), dtype)
    stored = spec.quantize(np.array([whole], np.float32))
    assert (stored.dtype, stored.tolist()) == (dtype, [whole])
    refused(
        lambda: spec.quantize(np.array([whole + 0.5])), "ids", dtype, "whole numbers", "as they are"
    )
    refused(lambda: spec.quantize(np.array([np.nan])), "ids", dtype)
    refused(lambda: spec.quantize(np.array([1e30])), "ids", dtype)
