"""The audit of a calibration set: negatives of the pictures that are scored."""

from __future__ import annotations

import numpy as np
import pytest
from audit_sets import faults, scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from int8gate.calibration_data.audit import AuditSet
from int8gate.calibration_data.audit.colours import inverted, signed_figures

PICTURES = arrays.arrays(np.uint8, (2, 24, 24, 3))


def halves() -> tuple[np.ndarray, np.ndarray]:
    every = scenes("evaluation", 300)
    return every[::2], every[1::2]


def found(own: np.ndarray, scored: np.ndarray | None) -> list:
    return list(inverted(AuditSet(own), None if scored is None else AuditSet(scored)))


def test_negatives_are_named_with_their_brightness():
    own, scored = halves()
    (finding,) = found(255 - own, scored)
    assert (finding.kind, finding.severity) == ("inverted_pictures", "warning")
    assert "255 - pixel" in finding.cure
    assert f"against {np.median(scored.mean((1, 2, 3))):.0f}" in finding.evidence


def test_it_does_not_matter_which_set_is_the_negative():
    own, scored = halves()
    assert found(own, 255 - scored)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p,
        lambda p: p // 3,
        lambda p: p // 3 + 160,
        lambda p: p[..., ::-1],
        lambda p: p[:, ::-1],
        lambda p: np.repeat(p[..., :1], 3, -1),
        lambda p: np.random.default_rng(0).integers(0, 256, p.shape, np.uint8),
    ],
    ids=["same", "dark", "bright", "bgr", "upside down", "grey", "noise"],
)
def test_other_pictures_are_no_negatives(change):
    own, scored = halves()
    assert not found(change(own), scored)


def test_neither_are_both_sets_inverted_alike_nor_a_few():
    own, scored = halves()
    assert not found(255 - own, 255 - scored)
    assert not found((255 - own)[:20], scored)
    assert not found(255 - own, None)
    assert "inverted_pictures" not in faults(scenes(), scored), "the scenes' own splits"


@settings(max_examples=25, deadline=None)
@given(PICTURES, st.booleans())
def test_figures_change_their_sign(pictures, is_grey):
    pictures = pictures[..., :1] if is_grey else pictures
    ours, theirs = signed_figures(pictures), signed_figures(255 - pictures)
    assert ours.shape == (2, 5)
    np.testing.assert_allclose(ours, -theirs, atol=0.05)
