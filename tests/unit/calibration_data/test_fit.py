"""From a picture to the network's frame: pixels, boxes, keypoints and masks go the same way."""

from __future__ import annotations

import numpy as np
import pytest
from data_folders import pixels, refused
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from int8gate.calibration_data.fit import IGNORED, Fit

sides = st.integers(24, 90)
sizes = st.tuples(sides, sides)
fits = st.builds(
    lambda size, kind, crop, pad: Fit(
        size, kind, crop if kind == "crop" else 1.0, pad if kind == "letterbox" else 0
    ),
    sizes,
    st.sampled_from(["stretch", "crop", "letterbox"]),
    st.floats(0.5, 1),
    st.integers(0, 255),
)


@st.composite
def rectangles(draw, least: int = 8):
    """A picture's size, and [top, left, bottom, right] of a rectangle in it."""
    size = draw(sizes)
    top, left = (draw(st.integers(0, side - least)) for side in size)
    bottom = draw(st.integers(top + least, size[0]))
    right = draw(st.integers(left + least, size[1]))
    return size, np.array([top, left, bottom, right])


def drawn(size, box, inside=255, outside=0) -> Image.Image:
    picture = np.full(size, outside, np.uint8)
    picture[box[0] : box[2], box[1] : box[3]] = inside
    return Image.fromarray(picture)


def grey(fit: Fit, kind: str = "bilinear") -> Fit:
    return Fit(fit.size, fit.kind, fit.crop, fit.pad, kind, "gray")


def shown_part(fit: Fit, size) -> tuple[slice, slice]:
    """Rows and columns of the frame that show the picture, not padding."""
    place = fit.place(size)
    begin = np.maximum(0, place.shift)
    end = np.minimum(fit.size, np.add(place.shift, place.resized))
    return tuple(slice(b, e) for b, e in zip(begin, end, strict=True))


@given(fits, sizes, st.sampled_from(["rgb", "bgr", "gray"]))
def test_every_picture_becomes_a_frame(fit, size, colours):
    chosen = Fit(fit.size, fit.kind, fit.crop, fit.pad, colours=colours)
    mode = "L" if colours == "gray" else "RGB"
    assert chosen.mode == mode
    frame = chosen.frame(Image.fromarray(pixels(1, (*size, 3))).convert(mode))
    assert frame.shape == (*fit.size, chosen.channels)
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous


@given(fits, sizes, st.integers(0, 255))
def test_a_flat_picture_stays_flat_and_padding_is_as_declared(fit, size, level):
    frame = grey(fit).frame(Image.new("L", size[::-1], level))[..., 0]
    rows, columns = shown_part(fit, size)
    assert (frame[rows, columns] == level).all()
    padded = np.ones(fit.size, bool)
    padded[rows, columns] = False
    assert (frame[padded] == fit.pad).all()
    assert fit.kind == "letterbox" or not padded.any()


@given(sizes, sizes, st.sampled_from(["bilinear", "bicubic", "nearest"]))
def test_stretch_is_pillows_resize(size, wanted, interpolation):
    picture = Image.fromarray(pixels(2, (*size, 3)))
    filters = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "nearest": Image.NEAREST}
    expected = np.asarray(picture.resize(wanted[::-1], filters[interpolation]))
    frame = Fit(wanted, "stretch", interpolation=interpolation).frame(picture)
    np.testing.assert_array_equal(frame, expected)


@given(sizes, sides, st.floats(0.6, 1))
def test_crop_is_resizing_the_short_side_and_cutting_the_centre(size, wanted, crop):
    """torchvision: ``Resize(round(wanted / crop))``, ``CenterCrop(wanted)``, on whole pictures."""
    picture = Image.fromarray(pixels(3, (*size, 3)))
    short, (height, width) = round(wanted / crop), size
    if height <= width:
        resized = (short, int(short * width / height))
    else:
        resized = (int(short * height / width), short)
    top, left = (round((side - wanted) / 2.0) for side in resized)
    whole = np.asarray(picture.resize(resized[::-1], Image.BILINEAR))
    found = Fit((wanted, wanted), "crop", crop).frame(picture)
    np.testing.assert_array_equal(found, whole[top : top + wanted, left : left + wanted])


@given(sizes, sizes)
def test_letterbox_keeps_the_proportions_and_shows_everything(size, wanted):
    place = Fit(wanted, "letterbox").place(size)
    assert np.max(np.divide(place.resized, wanted)) == 1, "one side fills the frame"
    ideal = min(wanted[0] / size[0], wanted[1] / size[1])
    np.testing.assert_allclose(place.resized, np.multiply(size, ideal), atol=0.5 + 1e-9)
    spare = np.subtract(wanted, place.resized)
    np.testing.assert_array_equal(place.shift, spare // 2)
    frame = Fit(wanted, "letterbox", pad=114).frame(Image.fromarray(pixels(4, (*size, 3))))
    rows, columns = shown_part(Fit(wanted, "letterbox"), size)
    picture = Image.fromarray(pixels(4, (*size, 3)))
    expected = np.asarray(picture.resize(place.resized[::-1], Image.BILINEAR))
    np.testing.assert_array_equal(frame[rows, columns], expected)


@given(fits, rectangles())
def test_boxes_follow_the_picture(fit, rectangle):
    size, box = rectangle
    picture = grey(fit).frame(drawn(size, box))[..., 0].astype(float) / 255
    rows, columns = shown_part(fit, size)
    frame = np.zeros(fit.size)
    frame[rows, columns] = picture[rows, columns]  # padding may be bright
    top, left, bottom, right = fit.boxes(box, size) * np.tile(fit.size, 2)
    assume(bottom - top > 4 and right - left > 4)
    bright_rows, bright_columns = (np.flatnonzero(frame.max(axis) > 0.5) for axis in (1, 0))
    found = [bright_rows[0], bright_columns[0], bright_rows[-1] + 1, bright_columns[-1] + 1]
    np.testing.assert_allclose(found, [top, left, bottom, right], atol=0.75)


@given(fits, rectangles(), st.randoms(use_true_random=False))
def test_points_follow_the_picture(fit, rectangle, random):
    """The middle of a rectangle is where the middle of its light is."""
    size, box = rectangle
    middle = (box[:2] + box[2:] - 1) / 2
    frame = grey(fit).frame(drawn(size, box))[..., 0].astype(float)
    edges = fit.boxes(box, size)
    assume((edges[:2] > 0.03).all() and (edges[2:] < 0.97).all())  # nothing of it is cut off
    rows, columns = shown_part(fit, size)
    light = frame[rows, columns]
    assume(light[[0, -1]].max() == 0 and light[:, [0, -1]].max() == 0)  # nor blurs over the edge
    y = (np.arange(rows.start, rows.stop) * light.sum(1)).sum() / light.sum()
    x = (np.arange(columns.start, columns.stop) * light.sum(0)).sum() / light.sum()
    points, inside = fit.points(middle[None], size)
    np.testing.assert_allclose(points[0], [y, x], atol=0.1)
    assert inside.all()


@given(fits, rectangles())
def test_masks_follow_the_picture_and_hold_no_new_class(fit, rectangle):
    size, box = rectangle
    mask = fit.mask(drawn(size, box, inside=7, outside=3))
    rows, columns = shown_part(fit, size)
    assert set(np.unique(mask[rows, columns])) <= {3, 7}
    padded = np.ones(fit.size, bool)
    padded[rows, columns] = False
    assert (mask[padded] == IGNORED).all()
    frame = grey(fit, "nearest").frame(drawn(size, box))[..., 0]
    np.testing.assert_array_equal(mask[rows, columns] == 7, frame[rows, columns] == 255)


@given(fits, rectangles())
def test_boxes_and_points_agree(fit, rectangle):
    """A corner of a box is half a pixel beyond the middle of its pixel."""
    size, box = rectangle
    corners, inside = fit.points(box.reshape(2, 2) - 0.5, size)
    found = fit.boxes(box, size).reshape(2, 2) * fit.size
    within = (corners + 0.5 >= 0) & (corners + 0.5 <= fit.size)
    np.testing.assert_allclose(found[within], (corners + 0.5)[within], atol=1e-9)
    assert ((found >= 0) & (found <= fit.size)).all()
    np.testing.assert_array_equal(inside, within.all(axis=1))


def test_colour_orders():
    picture = Image.fromarray(pixels(5, (20, 30, 3)))
    red_first = Fit((20, 30)).frame(picture)
    np.testing.assert_array_equal(red_first, np.asarray(picture))
    np.testing.assert_array_equal(Fit((20, 30), colours="bgr").frame(picture), red_first[..., ::-1])


def test_too_thin():
    """The whole resized picture would be 256 x 5 million pixels."""
    assert Fit((224, 224), "crop", 0.875).hides((20, 400_000))
    assert not Fit((224, 224), "crop", 0.875).hides((200, 2_000)), "a panorama"
    assert not Fit((224, 224)).hides((20, 400_000))
    assert not Fit((224, 224), "letterbox").hides((20, 400_000))


def test_too_small():
    assert not Fit((64, 64), "letterbox").is_too_small((10, 32))
    assert Fit((64, 64), "letterbox").is_too_small((31, 31))
    assert Fit((64, 64), "crop").is_too_small((31, 500))
    assert Fit((64, 64)).is_too_small((500, 31))
    assert not Fit((64, 64), enlarge=True).is_too_small((1, 1))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": (0, 4)}, "size = [0, 4]"),
        ({"size": (4, 4, 3)}, "[height, width]"),
        ({"size": (4.5, 4)}, "size = [4.5, 4]"),
        ({"kind": "squash"}, "fit = 'squash'"),
        ({"crop": 0.5}, 'crop = 0.5 beside fit = "stretch"'),
        ({"kind": "crop", "crop": 1.5}, "crop = 1.5"),
        ({"kind": "crop", "crop": float("nan")}, "crop = nan"),
        ({"kind": "letterbox", "pad": 256}, "pad = 256"),
        ({"pad": 3}, 'pad = 3 beside fit = "stretch"'),
        ({"interpolation": "cubic"}, '"bicubic"'),
        ({"colours": "yuv"}, "colours = 'yuv'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_by_its_key(options, said):
    refused(lambda: Fit(**{"size": (4, 4)} | options), said)
