"""Pictures and masks of a user's folder: what is read how, what is refused with what words."""

from __future__ import annotations

import io
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from data_folders import SIZE, load, load_all, pixels, refused, write, write_masked
from hypothesis import given, settings
from hypothesis import strategies as st

COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
QUARTERS = COLOURS.repeat(32, 0).repeat(32, 1)  # 64x64


def evaluation(root: Path) -> Path:
    """Where a picture goes that is to be in the evaluation split for certain."""
    write(root / "calibration" / "a" / "other.png", 4321)
    return root / "evaluation" / "a"


def image_of(root: Path, channels: int = 3, size=SIZE) -> np.ndarray:
    samples = load(root, "classification", channels=channels, size=size)
    assert len(samples) == 1
    return samples.image(0)


def masked(root: Path, mask: np.ndarray, **options) -> list:
    return load_all(write_masked(root, 10, mask), "segmentation", **options)


@pytest.mark.parametrize("suffix", ["png", "PNG", "bmp", "webp", "tif", "tiff", "jpg", "JPEG"])
def test_formats(suffix, tmp_path):
    write(evaluation(tmp_path) / f"x.{suffix}", np.full((40, 50, 3), (10, 200, 90), np.uint8))
    assert np.abs(image_of(tmp_path).astype(int) - (10, 200, 90)).max() <= 6  # JPEG, WebP


def test_grey_and_colour(tmp_path):
    write(evaluation(tmp_path) / "x.png", QUARTERS)
    grey = image_of(tmp_path, channels=1)
    assert grey.shape == (32, 32, 1)
    luma = [grey[8, 8, 0], grey[8, 24, 0], grey[24, 8, 0], grey[24, 24, 0]]
    np.testing.assert_allclose(luma, [76, 150, 29, 255], atol=1)  # ITU-R 601
    write(evaluation(tmp_path) / "x.png", pixels(1, (40, 40)))
    colour = image_of(tmp_path)
    assert colour.shape == (32, 32, 3)
    assert (colour == colour[..., :1]).all()


def test_palette_transparency_and_two_levels(tmp_path):
    from PIL import Image

    picture = Image.fromarray(QUARTERS)
    for mode in ("P", "RGBA", "CMYK", "1", "LA"):
        folder = evaluation(tmp_path / mode)
        folder.mkdir(parents=True)
        picture.convert(mode).save(folder / "x.tif")
        assert image_of(tmp_path / mode).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda stored: stored),
        (2, lambda stored: stored[:, ::-1]),
        (3, lambda stored: stored[::-1, ::-1]),
        (4, lambda stored: stored[::-1]),
        (5, lambda stored: stored.swapaxes(0, 1)),
        (6, lambda stored: np.rot90(stored, -1)),
        (7, lambda stored: stored.swapaxes(0, 1)[::-1, ::-1]),
        (8, lambda stored: np.rot90(stored)),
    ],
    ids=[f"orientation{number}" for number in range(1, 9)],
)
def test_phones_store_pictures_lying(orientation, turned, tmp_path):
    """EXIF 2.32, tag 0x0112: which corner of the scene the first stored pixel is."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = QUARTERS.repeat(2, 1)  # 128 wide, 64 high
    write(evaluation(tmp_path) / "x.jpg", stored, exif=exif, quality=95)
    upright = turned(stored)
    found = image_of(tmp_path, size=upright.shape[:2])
    expected = upright.astype(int)[16::32, 16::32]
    assert np.abs(found[16::32, 16::32].astype(int) - expected).max() <= 12


def test_wide_picture_is_cropped_not_squeezed(tmp_path):
    wide = np.zeros((64, 192, 3), np.uint8)
    wide[:, 64:128] = 255
    write(evaluation(tmp_path) / "x.png", wide)
    assert image_of(tmp_path, size=(64, 64)).min() == 255


def test_more_than_8_bits_are_refused_not_clipped(tmp_path):
    for name, content in {
        "deep": np.full((40, 40), 30000, np.uint16),
        "real": np.full((40, 40), 0.5, np.float32),
        "long": np.full((40, 40), 7, np.int32),
    }.items():
        file = write(evaluation(tmp_path / name) / "x.tif", content)
        refused(lambda n=name: image_of(tmp_path / n), str(file), "8 bits", "save it")


def test_text_renamed_to_picture(tmp_path):
    folder = evaluation(tmp_path)
    for content in (b"not a picture at all\n" * 50, b""):
        file = write(folder / "x.jpg", 1)
        file.write_bytes(content)
        refused(lambda: image_of(tmp_path), str(file), "not a picture", "replace or remove")


def test_truncated_picture(tmp_path):
    for suffix in ("jpg", "png"):
        file = write(evaluation(tmp_path / suffix) / f"x.{suffix}", 1)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        refused(lambda s=suffix: image_of(tmp_path / s), str(file), "truncated", "remove")


def test_picture_that_claims_to_be_huge(tmp_path):
    """A header of 60000x60000 in a file of some bytes would take 10 GB to unpack."""
    file = write(evaluation(tmp_path) / "x.png", 1)
    content = bytearray(file.read_bytes())
    content[16:24] = (60000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    file.write_bytes(content)
    refused(lambda: image_of(tmp_path), str(file), "exceeds limit", "replace or remove")


def test_picture_too_small(tmp_path):
    folder = evaluation(tmp_path)
    file = write(folder / "x.png", pixels(1, (16, 20, 3)))
    assert image_of(tmp_path).shape == (32, 32, 3)
    refused(
        lambda: image_of(tmp_path, size=(34, 34)),
        *(file.name, "20x16", "the network's 34x34", "below 17x17", "replace or remove", "enlarge"),
    )
    write(file, pixels(1, (40, 15, 3)))
    refused(lambda: image_of(tmp_path), "15x40", "the network's 32x32")


def test_picture_that_went_away(tmp_path):
    file = write(evaluation(tmp_path) / "x.png", 1)
    samples = load(tmp_path, "classification")
    file.unlink()
    refused(lambda: samples.image(0), str(file), "cannot be read")


def encoded(kind: str) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels(3)).save(file, kind)
    return file.getvalue()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP"]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    st.floats(0.01, 1),
)
def test_a_damaged_picture_is_read_or_named(kind, changes, kept):
    content = bytearray(encoded(kind))
    for place, value in changes:
        content[int(place * (len(content) - 1))] = value
    with tempfile.TemporaryDirectory() as folder:
        file = evaluation(Path(folder)) / f"x.{kind.lower()}"
        file.parent.mkdir(parents=True)
        file.write_bytes(content[: round(kept * len(content))])
        try:
            assert image_of(Path(folder)).shape == (32, 32, 3)
        except ValueError as error:
            assert str(error).startswith(str(file))  # noqa: PT017


def test_mask_keeps_its_class_numbers(tmp_path):
    """No class between two others appears at their border, whatever the sizes; 255 stays."""
    mask = np.zeros((40, 40), np.uint8)
    mask[:, 13:] = 10
    mask[27:] = 255
    for size in ((32, 32), (33, 47), (80, 64)):
        for _, label in masked(tmp_path, mask, size=size, classes=11):
            assert label.shape == size
            assert set(np.unique(label)) == {0, 10, 255}


@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16"])
def test_masks_with_one_number_per_pixel(mode, tmp_path):
    from PIL import Image

    write_masked(tmp_path, 10)
    for file in (tmp_path / "masks").iterdir():
        if mode in ("L", "1"):
            mask = Image.new(mode, (40, 40), 1)
        elif mode == "P":
            mask = Image.new(mode, (40, 40), 1)
            mask.putpalette([0, 0, 0, 200, 30, 30])
        else:
            mask = Image.fromarray(np.ones((40, 40), np.uint16))
        mask.save(file)
    for _, label in load_all(tmp_path, "segmentation", classes=2):
        assert (label == 1).all()


@pytest.mark.parametrize("shape", [(40, 40, 3), (40, 40, 4), (40, 40, 2)])
def test_colour_mask_is_refused(shape, tmp_path):
    refused(
        lambda: masked(tmp_path, np.ones(shape, np.uint8)),
        *(str(tmp_path / "masks"), "colours", "class numbers", "convert it"),
    )


def test_mask_of_another_size(tmp_path):
    refused(
        lambda: masked(tmp_path, np.zeros((40, 39), np.uint8)),
        *(str(tmp_path / "masks"), "39x40", "40x40", "replace"),
    )


def test_mask_beyond_the_classes(tmp_path):
    mask = np.full((40, 40), 255, np.uint8)
    mask[3, 4] = 11
    refused(
        lambda: masked(tmp_path, mask, classes=11),
        *(str(tmp_path / "masks"), "class number 11", "0..10", "255", "mend"),
    )
    assert len(masked(tmp_path, mask, classes=12)) == 10
    assert len(masked(tmp_path, mask)) == 10
    refused(lambda: masked(tmp_path, np.full((40, 40), 300, np.uint16)), "300", "0..254")


def test_damaged_mask_is_named(tmp_path):
    write_masked(tmp_path, 10)
    for file in (tmp_path / "masks").iterdir():
        file.write_bytes(file.read_bytes()[:20])
    refused(lambda: load_all(tmp_path, "segmentation"), str(tmp_path / "masks"), "remove")
