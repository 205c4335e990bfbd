"""The figures of pictures that the audit compares, and the distance of two sets of them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from scipy import ndimage, stats
from tiny_run import environment

from int8gate.calibration_data.audit.colours import FLAT, signed_figures
from int8gate.calibration_data.audit.domain import PATCH, THUMBNAIL, distances, figures

SETS = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 40), st.just(3)),
    elements=st.integers(-5, 5).map(float) | st.floats(-1e6, 1e6),
)
SHAPES = [(32, 32, 3), (40, 30, 1), (20, 24, 4), (24, 300, 2), (PATCH + 9, PATCH + 2, 3)]


@settings(max_examples=40)
@given(SETS, SETS)
def test_the_distance_is_that_of_scipy(own, scored):
    wanted = [
        stats.ks_2samp(mine, theirs, method="asymp").statistic
        for mine, theirs in zip(own.T, scored.T, strict=True)
    ]
    assert distances(own, scored) == pytest.approx(wanted, abs=1e-12)


def drawn(shape: tuple[int, ...]) -> np.ndarray:
    """Noise, steps, and pictures of one value, black ones among them."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (6, *shape), dtype=np.uint8)
    steps = np.broadcast_to(np.linspace(0, 255, shape[1])[:, None], (3, *shape)).astype(np.uint8)
    values = np.array([0, 7, 255], np.uint8)[:, None, None, None]
    return np.concatenate([noise, steps, np.broadcast_to(values, (3, *shape))])


def small_copy(picture: np.ndarray) -> np.ndarray:
    """As `figures` has it, of one picture: float32 (24, 24, channels)."""
    flat = picture if picture.shape[-1] == 3 else picture[..., 0]
    whole = Image.fromarray(np.ascontiguousarray(flat))
    small = whole.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(small, np.float32).reshape(THUMBNAIL, THUMBNAIL, -1)


def tints(small: np.ndarray) -> tuple[float, float]:
    red, green, blue = (small[..., place % small.shape[-1]].mean() for place in range(3))
    return red - blue, green - (red + blue) / 2


def roughness(grey: np.ndarray) -> float:
    return sum(np.abs(np.diff(grey, axis=axis)).mean() for axis in (0, 1))


def skewness(values: np.ndarray) -> float:
    return stats.skew(values, axis=None) if values.std() > FLAT else 0.0


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_figures_are_those_of_each_picture_alone(shape):
    pictures = drawn(shape)
    for picture, found, signed in zip(
        pictures, figures(pictures), signed_figures(pictures), strict=True
    ):
        small = small_copy(picture).astype(np.float64)
        grey = small.mean(-1)
        top, left = (max(0, (side - PATCH) // 2) for side in shape[:2])
        kept = picture if shape[-1] == 3 else picture[..., :1]
        patch = kept[top : top + PATCH, left : left + PATCH].mean(-1)
        contrast = grey.std() + 1
        wanted = [
            grey.mean(),
            np.log(contrast),
            np.log(np.ptp(small, axis=-1).mean() + 1),
            *tints(small),
            np.log((roughness(patch) + 0.5) / contrast),
            np.log((roughness(grey) + 0.5) / contrast),
            np.mean((patch <= 2) | (patch >= 253)),
        ]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
        detail = grey - ndimage.gaussian_filter(grey, 2)
        wanted = [grey.mean() - 127.5, *tints(small), skewness(grey), skewness(detail)]
        np.testing.assert_allclose(signed, wanted, rtol=1e-3, atol=1e-3)


def test_figures_of_a_picture_do_not_depend_on_the_others():
    pictures = drawn((32, 32, 3))
    for compared in (figures, signed_figures):
        alone = np.concatenate([compared(pictures[i : i + 1]) for i in range(len(pictures))])
        np.testing.assert_array_equal(compared(pictures), alone)


def test_the_audit_is_loaded_without_scipys_statistics():
    """They take longer to import than a set of some hundred pictures to be judged."""
    script = "import sys, int8gate.calibration_data.audit; print('scipy.stats' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr
