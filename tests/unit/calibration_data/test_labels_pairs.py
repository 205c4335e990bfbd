"""Super-resolution pairs of a user's folder, and masks in every fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_folders import pixels, refused, write, write_masked

from int8gate.calibration_data.fit import Fit
from int8gate.calibration_data.folders import open_data
from int8gate.calibration_data.synthetic.super_resolution import degrade, luminance
from int8gate.validation.metrics.registry import metric

FIT = Fit((24, 16))


def write_pairs(root: Path, count: int, size=(26, 20), grey: bool = False) -> Path:
    """low/N.png is high/N.png reduced; `size` (height, width) is the low one's."""
    for number in range(count):
        large = pixels(number, (2 * size[0], 2 * size[1], 3))
        large = luminance(large)[..., None] if grey else large
        small = degrade(large)
        write(root / "low" / f"{number}.png", small[..., 0] if grey else small)
        write(root / "high" / f"{number}.png", large[..., 0] if grey else large)
    return root


def test_pairs_are_cut_alike_and_never_resized(tmp_path):
    write_pairs(tmp_path, 10)
    samples = open_data(tmp_path, "super_resolution", "evaluation", FIT)
    assert samples.labels == "pairs"
    for index, (path, _) in enumerate(samples.samples):
        image, label = samples.sample(index)
        assert (image.shape, image.dtype) == ((24, 16, 3), np.uint8)
        assert (label.shape, label.dtype) == ((48, 32, 1), np.uint8)
        large = pixels(int(path.stem), (52, 40, 3))
        np.testing.assert_array_equal(image, degrade(large)[1:25, 2:18])
        np.testing.assert_array_equal(label[..., 0], luminance(large)[2:50, 4:36])
    images, labels = next(samples.batches(4))
    metric("psnr").sample_statistics(labels.astype(np.float32), labels)  # raises if it does not fit
    turned = open_data(tmp_path, "super_resolution", "evaluation", Fit((24, 16), colours="bgr"))
    np.testing.assert_array_equal(turned.image(0), images[0, ..., ::-1])


@pytest.mark.parametrize("grey", [False, True])
def test_networks_of_luminance(grey, tmp_path):
    write_pairs(tmp_path, 10, size=(24, 16), grey=grey)
    fit = Fit((24, 16), colours="gray")
    samples = open_data(tmp_path, "super_resolution", "evaluation", fit)
    image, label = samples.sample(0)
    large = pixels(int(samples.samples[0].picture.stem), (48, 32, 3))
    np.testing.assert_array_equal(label[..., 0], luminance(large))
    assert image.shape == (24, 16, 1)
    reduced = degrade(luminance(large)[..., None])
    apart = np.abs(image.astype(int) - reduced)
    assert apart.max() <= (0 if grey else 2), "luminance of the reduced, or reduced luminance"


@pytest.mark.parametrize("shape", [(52, 41), (26, 20), (78, 60)])
def test_the_factor_is_checked(shape, tmp_path):
    write_pairs(tmp_path, 3)
    for number in range(3):
        write(tmp_path / "high" / f"{number}.png", pixels(9 + number, (*shape, 3)))
    samples = open_data(tmp_path, "super_resolution", "evaluation", FIT)
    refused(
        lambda: samples.sample(0),
        *("high", f"{shape[1]}x{shape[0]}", "20x26", "2 times", "40x52"),
    )


def test_pairs_that_are_not_whole(tmp_path):
    write_pairs(tmp_path, 5)
    (tmp_path / "high" / "3.png").unlink()

    def opened(fit: Fit = FIT):
        return open_data(tmp_path, "super_resolution", "evaluation", fit)

    refused(opened, "low/3.png", "no picture of its name in high/", "add")
    (tmp_path / "low" / "3.png").unlink()
    refused(lambda: opened(Fit((27, 16))).sample(0), "20x26", "takes 16x27", "never enlarged")
    write(tmp_path / "high" / "extra.png", 1)
    refused(opened, "high/extra.png", "in low/")
    refused(
        lambda: open_data(tmp_path / "low", "super_resolution", "evaluation", FIT, "pairs"),
        *("needs low/ and high/", "no low/"),
    )


@pytest.mark.parametrize("kind", ["stretch", "crop", "letterbox"])
def test_masks_in_every_fit(kind, tmp_path):
    write_masked(tmp_path, 10)  # pictures of colour 10 N, masks of class N
    fit = Fit((32, 48), kind)
    samples = open_data(tmp_path, "segmentation", "evaluation", fit, classes=10)
    assert samples.labels == "masks"
    for image, label in map(samples.sample, range(len(samples))):
        number = label[16, 24]
        assert label.shape == (32, 48)
        shows = label != 255
        assert (label[shows] == number).all()
        assert (image[shows] == 10 * number).all()
        assert shows.all() == (kind != "letterbox")
        assert shows.sum() == (32 * 32 if kind == "letterbox" else 32 * 48)
