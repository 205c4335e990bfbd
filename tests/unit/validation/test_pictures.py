"""Generated pictures: what they show, how close they are to float's, their row in the report."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from data_folders import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sample_records import sample_results
from skimage.metrics import peak_signal_noise_ratio

from int8gate.calibration_data.synthetic.picture_sources import digits
from int8gate.reporting import html
from int8gate.reporting.picture_rows import picture_rows
from int8gate.validation import gates, to_float
from int8gate.validation.metrics.digit_reading import read
from int8gate.validation.metrics.registry import metric
from int8gate.validation.picture_strip import strips

READS_AS = metric("reads_as")


def shown(
    split: str = "train", side: int = 32, count: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Digits as pictures (n, side, side, 1) in 0..1, each of 8x8 pixels repeated; and labels."""
    pictures, labels = (each[:count] for each in digits(split)[:2])
    return pictures.repeat(side // 8, axis=1).repeat(side // 8, axis=2)[..., None], labels


@pytest.mark.parametrize("side", [8, 32, 512])
def test_digits_are_read_at_any_size(side):
    pictures, labels = shown(side=side, count=60 if side == 512 else 200)
    assert np.mean(read(pictures) == labels) > 0.96
    coloured = pictures.repeat(3, axis=-1)
    assert (read(coloured) == read(pictures)).all()


def test_a_picture_of_another_digit_and_noise_do_not_read_as_the_prompt():
    pictures, labels = shown()
    rows = READS_AS.sample_statistics(pictures, (labels + 1) % 10)
    assert READS_AS.score(rows) < 0.03
    noise = np.random.default_rng(0).random((400, 32, 32, 1))
    wanted = np.arange(400) % 10
    assert READS_AS.score(READS_AS.sample_statistics(noise, wanted)) < 0.2
    assert READS_AS.chance(wanted) == pytest.approx(0.1)


@pytest.mark.parametrize("shape", [(2, 30, 32, 1), (2, 32, 32), (2, 10)])
def test_what_is_no_picture_is_refused(shape):
    refused(lambda: read(np.zeros(shape)), str(shape), "multiples of 8")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pictures_that_are_not_finite_are_refused(value):
    pictures = np.zeros((2, 32, 32, 1))
    pictures[1, 3, 4] = value
    with pytest.raises(ValueError, match=r"(?i)nan|infinity"):
        read(pictures)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), noise=st.floats(0.002, 0.3), channels=st.sampled_from([1, 3])
)
def test_psnr_is_that_of_scikit_image(seed, noise, channels):
    rng = np.random.default_rng(seed)
    real = np.rint(rng.random((3, 16, 16, channels)) * 255) / 255
    found = np.rint(np.clip(real + rng.normal(0, noise, real.shape), 0, 1) * 255) / 255
    rows = to_float.picture_psnr(real, found)
    wanted = [
        np.mean(
            [
                peak_signal_noise_ratio(one[..., c], other[..., c], data_range=1)
                for c in range(channels)
            ]
        )
        for one, other in zip(real, found, strict=True)
    ]
    np.testing.assert_allclose(rows[:, 0] / rows[:, 1], wanted, rtol=1e-9)


def test_equal_pictures_have_a_finite_psnr_and_an_ssim_of_one():
    pictures, _ = (each[:3] for each in shown())
    assert (to_float.picture_psnr(pictures, pictures)[:, 0] > 70).all()
    np.testing.assert_allclose(to_float.picture_ssim(pictures, pictures)[:, 0], 1)


def test_pictures_of_other_shapes_are_refused():
    one, other = np.zeros((2, 32, 32, 1)), np.zeros((2, 16, 16, 1))
    refused(lambda: to_float.picture_psnr(one, other), "(2, 32, 32, 1)", "(2, 16, 16, 1)")


@pytest.mark.parametrize(
    ("lower", "upper", "status"),
    [(25.0, 27.0, None), (24.9, 25.1, "inconclusive"), (20.0, 24.99, "failed")],
)
def test_the_interval_of_the_psnr_decides(lower, upper, status):
    psnr = {"value": (lower + upper) / 2, "lower_95": lower, "upper_95": upper, "samples": 200}
    result = gates.picture_gate(psnr, 25.0, "net-onnx_int8")
    assert (result and result.status) == status
    if result:
        assert f"{psnr['value']:.2f} dB" in result.message
        assert "25 dB or more" in result.message


def test_a_strip_holds_the_pictures_side_by_side():
    pictures, _ = shown()
    levels = np.rint(pictures[:4] * 255).astype(np.uint8)
    entry = strips({"float": levels, "quantized": 255 - levels})
    assert entry["count"] == 4
    with Image.open(io.BytesIO(base64.b64decode(entry["float"]))) as strip:
        np.testing.assert_array_equal(np.asarray(strip), np.concatenate(levels[..., 0], axis=1))
    with Image.open(io.BytesIO(base64.b64decode(entry["quantized"]))) as strip:
        assert strip.size == (4 * 32, 32)
    large = np.zeros((2, 512, 512, 3), np.uint8)
    with Image.open(io.BytesIO(base64.b64decode(strips({"float": large})["float"]))) as strip:
        assert strip.size[1] <= 96
    assert strips({}) is None


def test_the_report_shows_both_rows():
    results, levels = sample_results(), np.zeros((2, 8, 8, 1), np.uint8)
    case = results["cases"][0]
    case["accuracy"] = (case["accuracy"] or {}) | {
        "pictures": strips({"float": levels, "quantized": levels})
    }
    page = html.render(results)
    assert page.count("data:image/png;base64,") == 2
    assert "as float draws them" in page


@pytest.mark.parametrize("content", ['"><script>', "", 7, None, "abc def"])
def test_what_is_no_base64_is_not_shown(content):
    record = {"accuracy": {"pictures": {"count": 1, "float": content, "quantized": "QUJD"}}}
    assert picture_rows(record) == []
