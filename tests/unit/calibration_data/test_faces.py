"""Scenes for face detectors: what a label bounds, who owns what, the same for everyone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate import calibration_data
from int8gate.calibration_data.synthetic.faces import (
    EASY,
    HARD,
    MOST_FACES,
    SHARES,
    FaceScenes,
    crops,
)
from int8gate.calibration_data.synthetic.picture_sources import SPLITS, tiles

LOADED = ("calibration", "evaluation")
SIZES = ((96, 96), (80, 112))
indices = st.integers(0, 299)
# On a flat background, without noise, what differs from it was pasted.
CLEAN = replace(EASY, noise=(0, 0), texture=(0, 0))


def loaded(split: str, size=(96, 96), channels: int = 3):
    return calibration_data.load("faces", split, size, channels)


def real_rows(label: np.ndarray) -> np.ndarray:
    return label[label[:, 0] >= 0]


@given(indices, st.sampled_from(LOADED), st.sampled_from(SIZES))
@settings(max_examples=30, deadline=None)
def test_labels_are_boxes_inside_the_scene_that_do_not_overlap(index, split, size):
    from int8gate.model_zoo.boxes import iou

    image, label = FaceScenes(split, size, 3, 300).sample(index)
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8
    assert label.shape == (MOST_FACES, 5)
    assert label.dtype == np.float32
    rows = real_rows(label)
    assert len(rows) >= 1
    assert (label[len(rows) :] == -1).all(), "padding comes last"
    assert (rows[:, 0] == 0).all()
    assert (rows[:, 1:3] < rows[:, 3:]).all()
    assert (rows[:, 1:] >= 0).all()
    assert (rows[:, 1:] <= 1).all()
    overlaps = iou(rows[:, 1:], rows[:, 1:])
    assert (overlaps[~np.eye(len(rows), dtype=bool)] == 0).all()


@given(indices, st.sampled_from(SIZES))
@settings(max_examples=30, deadline=None)
def test_boxes_hold_what_was_pasted(index, size):
    """Inside a box the picture differs from the flat background; nothing but faces and other
    cut-outs, which have no box, does so outside.
    """
    image, label = FaceScenes("evaluation", size, 1, 300, CLEAN).sample(index)
    background = np.bincount(image.ravel()).argmax()
    differs = np.abs(image[..., 0].astype(int) - background) > 1
    for _, *box in real_rows(label):
        corners = np.multiply(box, [*size, *size])
        np.testing.assert_allclose(corners, np.rint(corners), atol=1e-4)
        top, left, bottom, right = np.rint(corners).astype(int)
        ellipse = np.pi / 4
        assert differs[top:bottom, left:right].mean() > 0.6 * ellipse
        edge = differs[max(top - 2, 0) : top, left:right]
        assert not edge.size or edge.mean() < 0.5


@given(indices, st.integers(300, 5000))
@settings(max_examples=15, deadline=None)
def test_a_scene_depends_on_its_number_alone(index, other_count):
    one = FaceScenes("evaluation", (64, 64), 3, 300)
    other = FaceScenes("evaluation", (64, 64), 3, other_count)
    other.sample((index + 1) % 300)
    for ours, theirs in zip(one.sample(index), other.sample(index), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_no_crop_is_in_two_splits():
    owned = {split: [crop.tobytes() for part in crops(split) for crop in part] for split in SPLITS}
    together = [crop for part in owned.values() for crop in part]
    assert len(set(together)) == len(together)
    for split, share in SHARES.items():
        faces, others = crops(split)
        assert len(faces) == share
        assert share >= len(others) >= share // 2


@pytest.mark.parametrize("split", LOADED)
def test_a_source_owns_its_tile(split):
    drawn = loaded(split)
    assert drawn.sources.max() + 1 == min(len(tiles(split)), len(drawn))
    assert len(drawn.sources) == len(drawn)


def test_evaluation_is_large_enough_to_tell():
    evaluation = loaded("evaluation")
    assert len(evaluation) >= 1000
    assert len(np.unique(evaluation.sources)) >= 400
    assert len(loaded("calibration")) >= 100


def test_every_number_of_faces_is_common():
    _, labels = next(FaceScenes("evaluation", (64, 64), 3, 300).batches(300))
    counts = np.bincount((labels[..., 0] >= 0).sum(1), minlength=MOST_FACES + 1)
    assert counts[0] == 0
    assert counts[1:].min() > 30


def test_colour_gives_nothing_away():
    """Every pixel has the scene's tone: the ratio of its channels is the same everywhere."""
    image, _ = loaded("evaluation").sample(5)
    pixels = image.reshape(-1, 3).astype(float)
    clear = pixels[(pixels.min(1) > 60) & (pixels.max(1) < 255)]
    ratios = clear / clear.mean(1, keepdims=True)
    assert len(clear) > 500
    assert np.ptp(ratios, axis=0).max() < 0.03  # rounding to whole grey levels


def test_grey_scenes_show_the_same_faces():
    grey, label = loaded("evaluation", channels=1).sample(5)
    _, same_label = loaded("evaluation").sample(5)
    assert grey.shape == (96, 96, 1)
    np.testing.assert_array_equal(label, same_label)


def test_digests_tell_sets_apart():
    sets = [
        FaceScenes(split, size, channels, count, style)
        for split, size, channels, count, style in (
            ("calibration", (64, 64), 3, 100, HARD),
            ("evaluation", (64, 64), 3, 100, HARD),
            ("calibration", (64, 80), 3, 100, HARD),
            ("calibration", (64, 64), 1, 100, HARD),
            ("calibration", (64, 64), 3, 101, HARD),
            ("calibration", (64, 64), 3, 100, EASY),
        )
    ]
    assert len({scenes.digest() for scenes in sets}) == len(sets)
    assert sets[0] == FaceScenes("calibration", (64, 64), 3, 100)
