"""The audit of a calibration set: preprocessing and domain against those of evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from audit_sets import faults, kinds, scenes, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.calibration_data.audit import DETECTORS, Audited, AuditSet
from int8gate.calibration_data.audit.network_inputs import values_of

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
WAYS = {
    "pixels": lambda pixels: pixels.astype(np.float32),
    "unit": unit,
    "signed": lambda pixels: unit(pixels) * 2 - 1,
    "normalized": lambda pixels: (unit(pixels) - MEAN) / STD,
    "means": lambda pixels: pixels - np.float32([123.68, 116.779, 103.939]),
}


def halved(inputs: np.ndarray) -> np.ndarray:
    """Resized after scaling: no longer a whole grey level."""
    return (inputs[:, ::2, ::2] + inputs[:, 1::2, 1::2] * 2 / 3) * 0.6


def sets(own, scored=None, with_pictures=False):
    """Disjoint halves of scenes, preprocessed by the functions."""
    parts = scenes("evaluation", 200)[::2], scenes("evaluation", 200)[1::2]
    return tuple(
        AuditSet(part if with_pictures else None, np.ascontiguousarray(how(part), np.float32))
        for part, how in zip(parts, (own, scored or own), strict=True)
    )


def found(*arguments, **options) -> set[str]:
    """What the detector of preprocessing alone finds."""
    audited = Audited(*sets(*arguments, **options), classes=None, value_range=None, minimum=1)
    return {finding.kind for finding in DETECTORS["preprocessing"](audited)}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("with_pictures", [True, False], ids=["pictures", "inputs"])
def test_equal_preprocessing(name, with_pictures):
    assert found(WAYS[name], with_pictures=with_pictures) == set()
    assert found(lambda p: WAYS[name](p).transpose(0, 3, 1, 2)) == set()
    assert found(lambda p: halved(WAYS[name](p))) == set()


@pytest.mark.parametrize("own", WAYS)
@pytest.mark.parametrize("scored", WAYS)
def test_another_scale_or_mean(own, scored):
    if own != scored:
        said = found(WAYS[own], WAYS[scored])
        assert said & {"input_scale", "input_mean"}, said


def test_scales_are_named():
    finding = kinds(*sets(WAYS["pixels"], WAYS["signed"]))["input_scale"]
    assert finding.severity == "error"
    assert "0..255" in finding.evidence
    assert "-1..1" in finding.evidence


@pytest.mark.parametrize("mean", [0.3, 0.5, 20, 104])
def test_a_mean_that_is_a_little_off(mean):
    own = sets(lambda p: p.astype(np.float32) - np.float32(mean))[0]
    assert "input_mean" in faults(own, sets(WAYS["pixels"])[1])


@settings(max_examples=30, deadline=None)
@given(st.floats(-200, 200), st.floats(0.1, 300))
def test_a_lattice_tells_scale_and_mean_exactly(mean, std):
    pixels = scenes()[:40, :, :, :1].astype(np.float64)
    values = values_of(((pixels - mean) / std).astype(np.float32), None)[0]
    assert values.spacing is not None
    np.testing.assert_allclose(values.spacing * std, 1, rtol=1e-3)
    assert abs((values.phase + mean + 0.5) % 1 - 0.5) < 0.05


@pytest.mark.parametrize("name", ["unit", "normalized"])
def test_colours_in_another_order(name):
    assert "channel_order" in found(lambda p: WAYS[name](p)[..., ::-1], WAYS[name])
    swapped = found(lambda p: WAYS[name](p)[..., ::-1], WAYS[name], with_pictures=True)
    assert "channel_order" in swapped


def test_pictures_decoded_in_another_order():
    one, other = scenes("evaluation", 200)[::2], scenes("evaluation", 200)[1::2]
    assert "channel_order" in faults(np.ascontiguousarray(one[..., ::-1]), other)
    assert "channel_order" not in faults(one, other)
    grey = np.repeat(one[..., :1], 3, axis=-1)
    assert "channel_order" not in faults(grey, grey[:, ::-1])


def test_another_layout():
    nchw = lambda p: unit(p).transpose(0, 3, 1, 2)  # noqa: E731
    finding = kinds(*sets(nchw, unit))["wrong_layout"]
    assert "NCHW" in finding.evidence
    assert "NHWC" in finding.evidence
    assert "wrong_layout" in found(unit, nchw)


@pytest.mark.parametrize("to_nchw", [True, False])
def test_axes_that_were_renamed_instead_of_moved(to_nchw):
    def moved(pixels):
        return unit(pixels).transpose(0, 3, 1, 2)

    def reshaped_to_nchw(pixels):
        return unit(pixels).reshape(moved(pixels).shape)

    def reshaped_to_nhwc(pixels):
        return moved(pixels).reshape(pixels.shape)

    own, scored = (reshaped_to_nchw, moved) if to_nchw else (reshaped_to_nhwc, unit)
    assert "wrong_layout" in found(own, scored)


def test_another_size():
    assert found(halved, unit) == {"input_shape"}


def test_values_beyond_what_is_declared():
    own = AuditSet(None, WAYS["signed"](scenes()))
    assert "input_range" in faults(own, value_range=(0, 1))
    assert "input_range" in faults(own, value_range=(0, 255))
    assert "input_range" not in faults(own, value_range=(-1, 1))
    assert "input_range" in faults(AuditSet(None, unit(scenes())), value_range=(0, 255))


DOMAINS = {
    "dark": lambda p: (p * 0.3).astype(np.uint8),
    "bright": lambda p: (p * 0.4 + 150).astype(np.uint8),
    "faint": lambda p: (p * 0.2 + 100).astype(np.uint8),
    "grey": lambda p: np.repeat(p[..., :1], 3, axis=-1),
    "noisy": lambda p: np.clip(p + np.random.default_rng(0).normal(0, 50, p.shape), 0, 255).astype(
        np.uint8
    ),
}


@pytest.mark.parametrize("change", DOMAINS.values(), ids=list(DOMAINS))
def test_pictures_of_another_kind(change):
    one, other = scenes("evaluation", 200)[::2], scenes("evaluation", 200)[1::2]
    finding = kinds(change(one), other)["domain_mismatch"]
    assert finding.severity == "warning"
    assert "medians" in finding.evidence


def test_pictures_of_the_same_kind():
    one, other = scenes("evaluation", 200)[::2], scenes("evaluation", 200)[1::2]
    assert "domain_mismatch" not in faults(one, other)
    assert "domain_mismatch" not in faults(scenes(), other), "the scenes' own splits"
