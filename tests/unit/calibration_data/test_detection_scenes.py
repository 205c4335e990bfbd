"""Scenes for detectors: exact boxes, one owner for every digit and tile, the same for everyone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate import calibration_data
from int8gate.calibration_data.synthetic.detection_scenes import (
    CLASS_OF_DIGIT,
    CLASSES,
    EASY,
    HARD,
    INK,
    MOST_OBJECTS,
    DetectionScenes,
)
from int8gate.tasks import registry

LOADED = ("calibration", "evaluation")
SIZES = ((96, 96), (80, 112))
indices = st.integers(0, 299)
# On a flat background, without noise, what differs from it is ink and nothing else.
CLEAN = replace(EASY, contrast=(120, 120), noise=(0, 0), texture=(0, 0))


def loaded(split: str, size=(96, 96), channels: int = 3):
    return calibration_data.load("detection", split, size, channels)


def real_rows(label: np.ndarray) -> np.ndarray:
    return label[label[:, 0] >= 0]


@given(indices, st.sampled_from(SIZES))
@settings(max_examples=40, deadline=None)
def test_boxes_bound_the_ink_exactly(index, size):
    image, label = DetectionScenes("train", size, 3, 300, CLEAN).sample(index)
    pixels = image.astype(float)
    background = np.median(pixels.reshape(-1, 3), axis=0)
    strength = np.linalg.norm(pixels - background, axis=-1)
    unclear = 0.05  # rounding to whole grey levels
    outside = np.ones(size, bool)
    for _, *box in real_rows(label):
        corners = np.multiply(box, [*size, *size])
        np.testing.assert_allclose(corners, np.rint(corners), atol=1e-4)
        top, left, bottom, right = np.rint(corners).astype(int)
        inside = strength[top:bottom, left:right]
        coverage = inside / inside.max()
        for edge in (coverage[0], coverage[-1], coverage[:, 0], coverage[:, -1]):
            assert edge.max() > INK - unclear
        around = np.s_[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1]
        ring = strength[around] / inside.max()
        outside[top:bottom, left:right] = False
        assert (ring[outside[around]] < INK + unclear).all()
    assert strength[outside].max() < 0.9 * strength.max()


@given(indices, st.sampled_from(LOADED), st.sampled_from(SIZES))
@settings(max_examples=40, deadline=None)
def test_labels_are_boxes_inside_the_scene_that_do_not_overlap(index, split, size):
    from int8gate.model_zoo.boxes import iou

    image, label = DetectionScenes(split, size, 3, 300).sample(index)
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8
    assert label.shape == (MOST_OBJECTS, 5)
    assert label.dtype == np.float32
    rows = real_rows(label)
    assert len(rows) >= 1
    assert (label[len(rows) :] == -1).all(), "padding comes last"
    assert set(rows[:, 0]) <= set(range(len(CLASSES)))
    assert (rows[:, 1:3] < rows[:, 3:]).all()
    assert (rows[:, 1:] >= 0).all()
    assert (rows[:, 1:] <= 1).all()
    overlaps = iou(rows[:, 1:], rows[:, 1:])
    assert (overlaps[~np.eye(len(rows), dtype=bool)] == 0).all()


@given(indices, st.integers(300, 5000))
@settings(max_examples=15, deadline=None)
def test_a_scene_depends_on_its_number_alone(index, other_count):
    one = DetectionScenes("evaluation", (64, 64), 3, 300)
    other = DetectionScenes("evaluation", (64, 64), 3, other_count)
    other.sample((index + 1) % 300)
    for ours, theirs in zip(one.sample(index), other.sample(index), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("split", LOADED)
def test_sources_share_neither_digit_nor_tile(split):
    from int8gate.calibration_data.synthetic.picture_sources import tiles

    drawn = loaded(split)
    owned = drawn._digits_of_sources
    assert len(np.unique(owned)) == owned.size
    assert drawn.sources.max() + 1 == len(owned) <= len(tiles(split))


def test_evaluation_is_large_enough_to_tell():
    evaluation = loaded("evaluation")
    assert len(evaluation) >= 1000
    assert len(np.unique(evaluation.sources)) >= 350
    assert len(loaded("calibration")) >= 100


def test_classes_and_counts_are_balanced():
    _, labels = next(DetectionScenes("evaluation", (64, 64), 3, 500).batches(500))
    classes = labels[..., 0]
    shares = np.bincount(classes[classes >= 0].astype(int)) / (classes >= 0).sum()
    assert registry.scenes()["detection"].classes == len(CLASSES) == len(shares)
    np.testing.assert_allclose(shares, np.bincount(CLASS_OF_DIGIT) / 10, atol=0.05)
    assert np.bincount((classes >= 0).sum(1), minlength=MOST_OBJECTS + 1)[1:].min() > 25


def test_grey_scenes_show_what_coloured_ones_show():
    grey, label = loaded("evaluation", channels=1).sample(5)
    coloured, same_label = loaded("evaluation").sample(5)
    assert grey.shape == (96, 96, 1)
    np.testing.assert_array_equal(label, same_label)
    luminance = coloured @ [0.299, 0.587, 0.114]
    assert np.abs(grey[..., 0] - luminance).max() <= 1


def test_digests_tell_sets_apart():
    sets = [
        DetectionScenes(split, size, channels, count, style)
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
    assert sets[0] == DetectionScenes("calibration", (64, 64), 3, 100)
